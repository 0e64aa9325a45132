"""The record of an API key in the table of keys, and whether a key's text is valid by it.

An item of the table, whose key is `id`:

    id              the handle, `key_<id>`
    hash            SHA-256 of the key's text
    earlier_hash    that of the text before the last rotation, while it is still valid
    earlier_until   when it becomes invalid
    name            for people
    labels          JSON object of texts
    policy          JSON object, see `KeyPolicy.as_json`
    created, expires, revoked

Moments are texts in ISO 8601, in UTC. What a record does not have has no attribute.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.keys.key_text import KeyText

Attributes = Mapping[str, Mapping[str, Any]]
"""An item in DynamoDB's own form: name → {type: value}."""

_NO_DIGEST = "0" * 64  # of no text that anybody knows


class Rejection(StrEnum):
    """Why a request has no valid key. The value is a sentence for people.

    That a key has expired, or was revoked or replaced, is told only to who has its secret.
    """

    NO_KEY = "there is no API key: send it as `Authorization: Bearer <key>` or as `x-api-key`"
    SEVERAL_KEYS = "the headers have several API keys: send one"
    MALFORMED = "this is not an API key of this bridge, or a character of it is wrong"
    UNKNOWN = "there is no such API key"
    EXPIRED = "the API key has expired"
    REVOKED = "the API key was revoked"
    REPLACED = "the API key was replaced by another one"
    UNREADABLE = "the API key was written by another version of the bridge"


class UnreadableRecord(ValueError):
    """The item has another form: another version of the bridge wrote it."""


class KeyRecord(NamedTuple):
    """What the bridge knows of a key. `digest` and `earlier_digest` are those of `KeyText`; moments are in UTC."""

    key_id: str
    digest: str
    name: str
    created: datetime
    labels: Mapping[str, str] = MappingProxyType({})
    policy: KeyPolicy = KeyPolicy()
    expires: datetime | None = None
    revoked: datetime | None = None
    earlier_digest: str | None = None
    earlier_until: datetime | None = None

    @property
    def caller(self) -> Caller:
        """Who sends a request with this key."""
        return Caller(self.key_id, self.labels, self.policy)

    def rotated(self, new: KeyText, *, keep_until: datetime | None) -> "KeyRecord":
        """Returns the record with another text. Until `keep_until`, the present text is valid as well; None: not at
        all. Of the texts before, none is valid.
        """
        earlier = self.digest if keep_until else None
        return self._replace(digest=new.digest, earlier_digest=earlier, earlier_until=keep_until)

    def as_attributes(self) -> dict[str, dict[str, str]]:
        """Returns the item."""
        moments = {
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
            "earlier_until": self.earlier_until,
        }
        texts = {
            "id": self.key_id,
            "hash": self.digest,
            "earlier_hash": self.earlier_digest,
            "name": self.name,
            "labels": orjson.dumps(dict(self.labels)).decode(),
            "policy": orjson.dumps(self.policy.as_json()).decode(),
            **{name: moment.astimezone(UTC).isoformat() for name, moment in moments.items() if moment is not None},
        }
        return {name: {"S": text} for name, text in texts.items() if text is not None}

    @classmethod
    def from_attributes(cls, item: Attributes) -> "KeyRecord":
        """Returns the record of an item. Raises `UnreadableRecord`."""
        try:
            return cls(
                key_id=item["id"]["S"],
                digest=item["hash"]["S"],
                name=item["name"]["S"],
                labels=_labels(item["labels"]["S"]),
                policy=KeyPolicy.from_json(orjson.loads(item["policy"]["S"])),
                created=_moment(item, "created"),
                expires=_moment_or_none(item, "expires"),
                revoked=_moment_or_none(item, "revoked"),
                earlier_digest=item["earlier_hash"]["S"] if "earlier_hash" in item else None,
                earlier_until=_moment_or_none(item, "earlier_until"),
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
            raise UnreadableRecord("the record of an API key has another form") from exc


def check(record: KeyRecord | None, key: KeyText, now: datetime) -> Caller | Rejection:
    """Returns the caller whose key this is, or why it is rejected. `record` is None where the table has none.

    It takes the same time whether there is a record, and wherever the digests differ.
    """
    digest = key.digest
    is_current = _is_same(digest, record and record.digest)
    is_earlier = _is_same(digest, record and record.earlier_digest)
    if record is None or not (is_current or is_earlier):
        return Rejection.UNKNOWN
    if record.revoked is not None:
        return Rejection.REVOKED
    if not is_current and (record.earlier_until is None or now >= record.earlier_until):
        return Rejection.REPLACED
    return Rejection.EXPIRED if record.expires is not None and now >= record.expires else record.caller


def _is_same(digest: str, stored: str | None) -> bool:
    return hmac.compare_digest(digest.encode(), (stored or _NO_DIGEST).encode())


def _labels(text: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in orjson.loads(text).items()}


def _moment_or_none(item: Attributes, name: str) -> datetime | None:
    return _moment(item, name) if name in item else None


def _moment(item: Attributes, name: str) -> datetime:
    moment = datetime.fromisoformat(item[name]["S"])
    if moment.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    return moment

"""Provider records in DynamoDB: one item per provider, key `provider_id`, with what is not None of its record.

aiodynamo signs, finds credentials and names errors. Its client is left alone: it repeats what must not be repeated, and
importing it takes as long again. An item that nothing has written to for a week is of a provider that is no longer
configured.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import orjson
from aiodynamo.credentials import ContainerMetadataCredentials, Credentials, EnvironmentCredentials
from aiodynamo.errors import AIODynamoError, ConditionalCheckFailed, ExpiredToken, exception_from_response
from aiodynamo.http.types import Request, RequestFailed, Response
from aiodynamo.sign import signed_dynamo_request
from yarl import URL

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import FAILURES, Connections, Reply
from sekha_llm_bridge.resilience.breaker import Breaker, BreakerState, Credit, Lease, Source
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import StoreUnavailable, Written

Attributes = dict[str, dict[str, Any]]
"""DynamoDB's own form of an item: name → {type: value}."""

_BATCH = 100  # keys in one BatchGetItem
_OK = 200
_ROUNDS = 3  # unprocessed keys come back under load
_LONGEST_S = 2.0  # a request waits less, but then it cancels
_KEPT = timedelta(days=7)


class DynamoProviderStore:
    """A `ProviderStore` on a table."""

    def __init__(self, table: str, connections: Connections, clock: Clock) -> None:
        self._table = table
        self._connections = connections
        self._clock = clock
        self._region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
        self._endpoint = _endpoint(self._region)
        self._credentials = _credentials()

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`: one BatchGetItem for each hundred providers."""
        records = {}
        with _translated():
            for batch in _batches(provider_ids):
                for item in await self._items(batch):
                    records[item["provider_id"]["S"]] = ProviderRecord(_check(item), _breaker(item))
        return records

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> Written:
        """See `ProviderStore.add_failure`: one UpdateItem with ADD."""
        written = _attributes(after)
        last = {name: written[name] for name in ("last_failure", "cause", "failed_in")}
        update = _Update(self._table, provider_id)
        update.require_epoch(before)
        return await self._write(update.adding("failure_count", 1).setting({**last, **self._expiry()}))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> Written:
        """See `ProviderStore.replace`: one UpdateItem of the attributes that differ."""
        old, new = _attributes(before), _attributes(after)
        update = _Update(self._table, provider_id)
        update.require_epoch(before).require_lease(before)
        if before.failure_count:
            update.require("failure_count", ">=", old["failure_count"])
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        return await self._write(update.setting({**changed, **self._expiry()}).removing(old.keys() - new.keys()))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`: one UpdateItem."""
        found = _check_attributes(result)
        update = _Update(self._table, result.provider_id).setting({**found, **self._expiry()})
        await self._write(update.removing(_CHECK_ATTRIBUTES - found.keys()))

    async def _write(self, update: "_Update") -> Written:
        with _translated():
            try:
                answer = await self._call("UpdateItem", update.payload())
            except ConditionalCheckFailed as exc:
                return Written(done=False, breaker=_breaker(exc.args[0].get("Item", {})))
            return Written(done=True, breaker=_breaker(answer["Attributes"]))

    async def _items(self, batch: list[str]) -> list[Attributes]:
        keys = [{"provider_id": {"S": provider_id}} for provider_id in batch]
        wanted: Any = {self._table: {"Keys": keys, "ConsistentRead": True}}
        found: list[Attributes] = []
        for _ in range(_ROUNDS):
            answer = await self._call("BatchGetItem", {"RequestItems": wanted})
            found += answer["Responses"].get(self._table, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return found
        raise StoreUnavailable("DynamoDB left keys unprocessed")

    async def _call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """One signed request; never repeated, because an addition that was made must not be made again."""
        key = await self._credentials.get_key(self._fetch)
        if key is None:
            raise StoreUnavailable("there are no AWS credentials in the environment")
        signed = signed_dynamo_request(
            key=key, payload=payload, action=action, region=self._region, endpoint=self._endpoint
        )
        reply = await self._exchange("POST", str(signed.url), signed.body, signed.headers)
        if reply.status == _OK:
            return dict(orjson.loads(reply.content))
        error = exception_from_response(reply.status, reply.content)
        if isinstance(error, ExpiredToken):
            self._credentials.invalidate()
        raise error

    async def _fetch(self, request: Request) -> Response:
        """What aiodynamo fetches credentials by."""
        try:
            reply = await self._exchange(request.method, request.url, request.body, request.headers or {})
        except FAILURES as exc:
            raise RequestFailed(exc) from exc
        return Response(reply.status, reply.content)

    async def _exchange(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        sent = {name.lower(): value for name, value in headers.items()}
        return await self._connections.exchange(method, url, content=content, headers=sent, timeout_s=_LONGEST_S)

    def _expiry(self) -> Attributes:
        return {"expires_at": {"N": str(int((self._clock.now() + _KEPT).timestamp()))}}


class _Update:
    """An UpdateItem in the making. Every name goes through a placeholder: `state` is one of many reserved words."""

    def __init__(self, table: str, provider_id: str) -> None:
        self._fixed = {"TableName": table, "Key": {"provider_id": {"S": provider_id}}}
        self._names: dict[str, str] = {}
        self._values: Attributes = {}
        self._clauses: dict[str, list[str]] = {}
        self._conditions: list[str] = []

    def setting(self, attributes: Attributes) -> "_Update":
        """Each attribute gets its value."""
        for name, value in attributes.items():
            self._clause("SET", f"{self._name(name)} = {self._value(f'new_{name}', value)}")
        return self

    def removing(self, names: Iterable[str]) -> "_Update":
        """Each attribute goes."""
        for name in sorted(names):
            self._clause("REMOVE", self._name(name))
        return self

    def adding(self, name: str, number: int) -> "_Update":
        """The attribute grows by a number, from 0 where it is not there."""
        self._clause("ADD", f"{self._name(name)} {self._value(f'more_{name}', {'N': str(number)})}")
        return self

    def require_epoch(self, before: Breaker) -> "_Update":
        """Nothing is written in another epoch. The first one may not have been written down."""
        name = self._name("epoch")
        is_same = f"{name} = {self._value('old_epoch', {'N': str(before.epoch)})}"
        self._conditions.append(f"({is_same} OR attribute_not_exists({name}))" if before.epoch == 0 else is_same)
        return self

    def require_lease(self, before: Breaker) -> "_Update":
        """Nothing is written when another holds the lease."""
        if before.lease is None:
            self._conditions.append(f"attribute_not_exists({self._name('lease_token')})")
            return self
        return self.require("lease_token", "=", {"S": before.lease.token})

    def require(self, name: str, comparison: str, value: dict[str, Any]) -> "_Update":
        """Nothing is written unless the attribute compares so."""
        self._conditions.append(f"{self._name(name)} {comparison} {self._value(f'old_{name}', value)}")
        return self

    def payload(self) -> dict[str, Any]:
        """The request, as DynamoDB takes it; it answers with the item as it then is, or as it is instead."""
        expression = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in self._clauses.items())
        conditions = {"ConditionExpression": " AND ".join(self._conditions)} if self._conditions else {}
        return {
            **self._fixed,
            **conditions,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": self._values,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _clause(self, verb: str, part: str) -> None:
        self._clauses.setdefault(verb, []).append(part)

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: dict[str, Any]) -> str:
        self._values[f":{name}"] = value
        return f":{name}"


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever else is not an answer, or none that can be read, is as good as none."""
    try:
        yield
    except (AIODynamoError, RequestFailed, TimeoutError, ValueError, KeyError, TypeError, *FAILURES) as exc:
        raise StoreUnavailable(f"DynamoDB did not do as asked ({type(exc).__name__})") from exc


def _credentials() -> Credentials:
    """A function restored from a snapshot is given its keys by an endpoint, any other by its environment. aiodynamo's
    own chain of both is not used: while it looks, it cannot be cancelled.
    """
    if "AWS_CONTAINER_CREDENTIALS_FULL_URI" in os.environ:
        return ContainerMetadataCredentials()
    return EnvironmentCredentials()


def _endpoint(region: str) -> URL:
    """Where DynamoDB is; in China its name has another ending, and the local stack has one of its own."""
    for variable in ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"):
        if configured := os.environ.get(variable):
            return URL(configured)
    ending = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return URL(f"https://dynamodb.{region}.{ending}/")


def _batches(provider_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(dict.fromkeys(provider_ids))
    while batch := list(islice(rest, _BATCH)):
        yield batch


_CHECK_ATTRIBUTES = frozenset({"check_healthy", "check_ms", "checked_at", "check_error", "check_conclusive"})


def _check_attributes(result: CheckResult) -> Attributes:
    """What is not None of a check's result."""
    found: Attributes = {
        "check_healthy": {"BOOL": result.healthy},
        "checked_at": {"S": result.checked_at.isoformat()},
        "check_conclusive": {"BOOL": result.conclusive},
    }
    if result.latency_ms is not None:
        found["check_ms"] = {"N": str(result.latency_ms)}
    if result.error is not None:
        found["check_error"] = {"S": result.error}
    return found


def _check(item: Attributes) -> CheckResult | None:
    if "checked_at" not in item:
        return None
    return CheckResult(
        provider_id=item["provider_id"]["S"],
        healthy=item["check_healthy"]["BOOL"],
        latency_ms=int(item["check_ms"]["N"]) if "check_ms" in item else None,
        checked_at=datetime.fromisoformat(item["checked_at"]["S"]),
        error=item["check_error"]["S"] if "check_error" in item else None,
        conclusive=item["check_conclusive"]["BOOL"],
    )


def _attributes(breaker: Breaker) -> Attributes:
    """What is not None of a breaker."""
    numbers = {"epoch": breaker.epoch, "failure_count": breaker.failure_count, "success_count": breaker.success_count}
    texts = {"state": breaker.state, "cause": breaker.cause, "failed_in": breaker.failed_in, "checks": breaker.checks}
    moments = {"retry_at": breaker.retry_at, "last_failure": breaker.last_failure}
    if breaker.lease is not None:
        texts["lease_token"] = breaker.lease.token
        moments["lease_until"] = breaker.lease.until
    texts |= {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
    return {
        **{name: {"N": str(number)} for name, number in numbers.items()},
        **{name: {"S": str(text)} for name, text in texts.items()},
    }


def _breaker(item: Attributes) -> Breaker:
    """The other way round; what an item does not have yet is as in a breaker that nothing has happened to."""
    token = _text(item, "lease_token")
    until = _moment(item, "lease_until")
    return Breaker(
        state=BreakerState(_text(item, "state") or BreakerState.CLOSED),
        epoch=_number(item, "epoch"),
        failure_count=_number(item, "failure_count"),
        success_count=_number(item, "success_count"),
        retry_at=_moment(item, "retry_at"),
        lease=Lease(token, until) if token and until else None,
        last_failure=_moment(item, "last_failure"),
        cause=_text(item, "cause") or "",
        failed_in=Source(_text(item, "failed_in") or Source.REQUEST),
        checks=Credit(_text(item, "checks") or Credit.TRUSTED),
    )


def _text(item: Attributes, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _number(item: Attributes, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _moment(item: Attributes, name: str) -> datetime | None:
    text = _text(item, name)
    return datetime.fromisoformat(text) if text else None

"""A call of the bridge's HTTP API as a value: what is sent, and how the answer becomes a reply. No I/O."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

from sekha_llm_bridge.errors import InvalidRequest

T = TypeVar("T")

Usd = float | str | Decimal
"""An amount in USD. A text or a `Decimal` is sent exactly."""


class Call(NamedTuple, Generic[T]):
    """One call. `parse` makes the reply from the JSON and the id of the answer; it raises an ordinary exception of
    Python, such as KeyError, where the JSON has another shape.

    `is_free`: repeating the call costs nothing and changes nothing. `takes_503`: a 503 with one of these sets of
    fields is a reply.
    """

    method: str
    path: str
    parse: Callable[[Any, str | None], T]
    content: bytes | None = None
    is_free: bool = False
    takes_503: Sequence[frozenset[str]] = ()


def get(path: str, parse: Callable[[Any, str | None], T], *, takes_503: Sequence[frozenset[str]] = ()) -> Call[T]:
    """Returns a call that reads."""
    return Call("GET", path, parse, None, is_free=True, takes_503=takes_503)


def post(
    path: str, fields: Mapping[str, Any], parse: Callable[[Any, str | None], T], *, is_free: bool = False
) -> Call[T]:
    """Returns a call that sends `fields` as JSON, without those that are None. Raises `InvalidRequest` for a value that
    JSON does not have.
    """
    sent = {name: value for name, value in fields.items() if value is not None}
    return Call("POST", path, parse, json_bytes(sent), is_free=is_free)


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """Returns the fields as JSON. Raises `InvalidRequest`, whose `param` names the field that cannot be sent."""
    try:
        return _encoded(fields)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidRequest(f"the request cannot be sent as JSON: {exc}", param=_fault(fields)) from exc


def sent_usd(amount: Usd | None) -> float | str | None:
    """Returns an amount as it is sent: a `Decimal` as text, which the bridge reads exactly."""
    return str(amount) if isinstance(amount, Decimal) else amount


def usd_of(amount: float | str | None) -> Decimal | None:
    """Returns an amount that the bridge sent. A JSON number is read by its shortest form, as the bridge wrote it."""
    return None if amount is None else Decimal(str(amount))


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _fault(fields: Mapping[str, Any]) -> str | None:
    for name, value in fields.items():
        try:
            _encoded(value)
        except (TypeError, ValueError, RecursionError):
            return name
    return None

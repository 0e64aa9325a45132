"""Keys as JSON, and as tables for people. Neither has a key's hash."""

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from sekha_llm_bridge.access.caller import KeyPolicy
from sekha_llm_bridge.access.keys.record import Attributes, KeyRecord, UnreadableRecord
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.keys.moments import moment_text
from sekha_llm_bridge.cli.tables import MISSING, print_table, usd

_COLUMNS = (("key", False), ("name", False), ("state", False), ("labels", False), ("limits", False), ("created", False))
_UNREADABLE = "written by another version of the bridge"


def as_json(record: KeyRecord, now: datetime) -> dict[str, Any]:
    """Returns the key's object. Amounts are texts, in USD; moments are ISO 8601; what it does not have is null."""
    return {
        "id": record.key_id,
        "name": record.name,
        "state": state_of(record, now),
        "labels": dict(record.labels),
        "created": _iso(record.created),
        "expires": _iso(record.expires),
        "revoked": _iso(record.revoked),
        "old_key_valid_until": _iso(_old_key_end(record, now)),
        "policy": {**KeyPolicy()._asdict(), **record.policy.as_json()},
    }


def items_as_json(items: list[Attributes], now: datetime) -> list[dict[str, Any]]:
    """Returns the objects of all keys, the oldest first. One that cannot be read has its id and its state only."""
    unreadable = [{"id": _id(item), "state": "unreadable"} for item in items if _record(item) is None]
    return [*unreadable, *(as_json(record, now) for record in _records(items))]


def print_keys(console: Console, items: list[Attributes], now: datetime) -> None:
    """Prints a table of all keys, the oldest first."""
    unreadable = [_id(item) for item in items if _record(item) is None]
    rows = [(key_id, MISSING, _UNREADABLE, MISSING, MISSING, MISSING) for key_id in unreadable]
    print_table(console, _COLUMNS, [*rows, *(_row(record, now) for record in _records(items))])


def print_key(console: Console, record: KeyRecord, now: datetime) -> None:
    """Prints all that is known of a key, a line each."""
    facts = {
        "key": record.key_id,
        "name": record.name or MISSING,
        "state": _state_text(record, now),
        "created": moment_text(record.created),
        "labels": _labels_text(record) or MISSING,
    }
    if end := _old_key_end(record, now):
        facts["its old key"] = f"valid until {moment_text(end)}"
    facts |= limits_of(record.policy) or {"limits": "none"}
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(printable(f"{name:<{width}}  {value}"))


def limits_of(policy: KeyPolicy) -> dict[str, str]:
    """Returns the limits of a policy that are set: name → value."""
    limits = {
        "models": ", ".join(policy.models),
        "tasks": ", ".join(policy.tasks),
        "cost per request": _usd(policy.max_cost_per_request_usd),
        "budget per day": _usd(policy.daily_usd),
        "budget per month": _usd(policy.monthly_usd),
        "requests per minute": _count(policy.requests_per_minute),
        "tokens per minute": _count(policy.tokens_per_minute),
        "requests at once": _count(policy.concurrent_requests),
        "Chroma tenant": policy.chroma_tenant or "",
        "Chroma database": policy.chroma_database or "",
        "storing embeddings": "" if policy.may_store else "not allowed",
    }
    return {name: value for name, value in limits.items() if value}


def state_of(record: KeyRecord, now: datetime) -> str:
    """Returns `valid`, `expired` or `revoked`."""
    if record.revoked:
        return "revoked"
    return "expired" if record.expires and now >= record.expires else "valid"


def _state_text(record: KeyRecord, now: datetime) -> str:
    if record.revoked:
        return f"revoked at {moment_text(record.revoked)}"
    if record.expires is None:
        return "valid"
    if now >= record.expires:
        return f"expired at {moment_text(record.expires)}"
    return f"valid until {moment_text(record.expires)}"


def _row(record: KeyRecord, now: datetime) -> tuple[str, ...]:
    limits = ", ".join(f"{name} {value}" for name, value in limits_of(record.policy).items())
    return (
        record.key_id,
        record.name or MISSING,
        _state_text(record, now),
        _labels_text(record) or MISSING,
        limits or MISSING,
        moment_text(record.created),
    )


def _labels_text(record: KeyRecord) -> str:
    return ", ".join(f"{name}={value}" for name, value in record.labels.items())


def _old_key_end(record: KeyRecord, now: datetime) -> datetime | None:
    """Returns until when the key from before the last rotation is valid; None when it is not."""
    end = record.earlier_until if record.earlier_digest else None
    return end if end and end > now and state_of(record, now) == "valid" else None


def _records(items: list[Attributes]) -> list[KeyRecord]:
    found = [record for record in map(_record, items) if record is not None]
    return sorted(found, key=lambda record: (record.created, record.key_id))


def _record(item: Attributes) -> KeyRecord | None:
    try:
        return KeyRecord.from_attributes(item)
    except UnreadableRecord:
        return None


def _id(item: Attributes) -> str:
    return str(item["id"]["S"])


def _usd(amount: Any) -> str:
    return "" if amount is None else f"${usd(amount)}"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None

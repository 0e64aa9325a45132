"""A provider's record as DynamoDB keeps it: names and types of its attributes, both ways.

What is None is not there. What cannot be read, because another version wrote it, is as good as not there: one item must
not keep the others from being read.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sekha_llm_bridge.aws import Attributes
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.resilience.breaker import Breaker, BreakerState, CheckTrust, Lease, PermitSource
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord

CHECK_ATTRIBUTES = frozenset({"check_healthy", "check_ms", "checked_at", "check_error", "check_conclusive"})
T = TypeVar("T")


def record_of(item: Attributes) -> ProviderRecord:
    """Everything that an item says of its provider."""
    return ProviderRecord(_readable(item, _check), breaker_of(item))


def breaker_of(item: Attributes) -> Breaker:
    """A breaker; what an item does not have yet is as in one that nothing has happened to."""
    return _readable(item, _breaker) or Breaker()


def check_attributes(result: CheckResult) -> Attributes:
    """What is not None of a check's result."""
    found: dict[str, Mapping[str, Any]] = {
        "check_healthy": {"BOOL": result.is_healthy},
        "checked_at": {"S": result.checked_at.isoformat()},
        "check_conclusive": {"BOOL": result.is_conclusive},
    }
    if result.latency_ms is not None:
        found["check_ms"] = {"N": str(result.latency_ms)}
    if result.error is not None:
        found["check_error"] = {"S": result.error}
    return found


def breaker_attributes(breaker: Breaker) -> Attributes:
    """What is not None of a breaker."""
    numbers = {"epoch": breaker.epoch, "failure_count": breaker.failure_count, "success_count": breaker.success_count}
    texts = {
        "state": breaker.state,
        "cause": breaker.cause,
        "failure_source": breaker.failure_source,
        "check_trust": breaker.check_trust,
    }
    moments = {"retry_at": breaker.retry_at, "last_failure": breaker.last_failure}
    if breaker.lease is not None:
        texts["lease_token"] = breaker.lease.token
        moments["lease_until"] = breaker.lease.until
    texts |= {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
    return {
        **{name: {"N": str(number)} for name, number in numbers.items()},
        **{name: {"S": str(text)} for name, text in texts.items()},
    }


def _readable(item: Attributes, read: Callable[[Attributes], T]) -> T | None:
    try:
        return read(item)
    except (KeyError, TypeError, ValueError) as exc:
        provider_id = item.get("provider_id", {}).get("S")
        logger().warning("unreadable record", extra={"provider": provider_id, "kind": type(exc).__name__})
        return None


def _check(item: Attributes) -> CheckResult | None:
    if "checked_at" not in item:
        return None
    return CheckResult(
        provider_id=item["provider_id"]["S"],
        is_healthy=item["check_healthy"]["BOOL"],
        latency_ms=_number(item, "check_ms") if "check_ms" in item else None,
        checked_at=datetime.fromisoformat(item["checked_at"]["S"]),
        error=_text(item, "check_error"),
        is_conclusive=item.get("check_conclusive", {"BOOL": True})["BOOL"],
    )


def _breaker(item: Attributes) -> Breaker:
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
        failure_source=PermitSource(_text(item, "failure_source") or PermitSource.REQUEST),
        check_trust=CheckTrust(_text(item, "check_trust") or CheckTrust.TRUSTED),
    )


def _text(item: Attributes, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _number(item: Attributes, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _moment(item: Attributes, name: str) -> datetime | None:
    text = _text(item, name)
    return datetime.fromisoformat(text) if text else None

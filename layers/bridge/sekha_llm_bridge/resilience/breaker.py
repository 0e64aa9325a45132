"""One provider's circuit breaker as a pure state machine: state × event × now → the next state, and what to write.

    closed ── failure_threshold failures in a row, or one that waiting does not mend ──▶ open
    open ── timeout_secs later, a probe takes the lease ──▶ half-open
    half-open ── success_threshold successful probes ──▶ closed;  one that fails ──▶ open

Every change of state, and every change of who holds the lease, raises the epoch. Whoever calls a provider holds a
`Permit` of the epoch in which it was granted, so a late result changes nothing that is newer. The stores write a step
only where the epoch and the lease are still those that it was decided by.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import assert_never

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome


class BreakerState(StrEnum):
    """Closed lets requests through, open does not, half-open lets one probe through at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class PermitSource(StrEnum):
    """Who calls the provider: a user's request, or the scheduled check with a free call."""

    REQUEST = "request"
    CHECK = "check"


class CheckTrust(StrEnum):
    """What a check's word is worth: a provider may list its models while it answers no chat, or the other way round.

    A breaker that checks alone have closed is `on_trial` until a request succeeds. Where requests fail again instead,
    checks have `misled`: the last of the successes that close it must be a request's. They have misled as well where
    they alone had opened it and a request then succeeds: their failures count for nothing, until one succeeds.
    """

    TRUSTED = "trusted"
    ON_TRIAL = "on_trial"
    MISLED = "misled"


class Write(Enum):
    """How a step gets into the store: not at all, as one failure more, or as a change of what it was decided by."""

    NOTHING = "nothing"
    ADD_FAILURE = "add_failure"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to probe, until it is given back or its time is up; `token` tells its holder from all others."""

    token: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is stored of one breaker. A provider that has no record has this one.

    `failure_count` is of consecutive failures; it stays while the breaker is open, and closing resets it.
    `success_count` is of probes since it opened. `retry_at` is when an open one may be probed. `last_failure` and
    `cause` (its code) are of the last failure that counted; `failure_source` says whether any of them was a request's.
    """

    state: BreakerState = BreakerState.CLOSED
    epoch: int = 0
    failure_count: int = 0
    success_count: int = 0
    retry_at: datetime | None = None
    lease: Lease | None = None
    last_failure: datetime | None = None
    cause: str = ""
    failure_source: PermitSource = PermitSource.REQUEST
    checks: CheckTrust = CheckTrust.TRUSTED


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call a provider once; whoever holds it reports a outcome. A probe's has the `token` of its lease."""

    provider_id: str
    source: PermitSource
    epoch: int
    token: str | None = None

    @property
    def is_probe(self) -> bool:
        """Whether nobody else may call the provider until its outcome is known, or its lease has ended."""
        return self.token is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """No call now; in `retry_after_s` seconds it may be different. `cause` is the code of the last failure."""

    state: BreakerState
    retry_after_s: float
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """The state that follows, and how it is to be written."""

    after: Breaker
    write: Write


def refusal(breaker: Breaker, source: PermitSource, now: datetime) -> Refusal | None:
    """Why the provider may not be called now; None where it may, be it for one probe only. Where only checks have
    failed, a request need not wait: it may meet with something else.
    """
    match breaker.state:
        case BreakerState.CLOSED:
            return None
        case BreakerState.OPEN:
            is_hearsay = source is PermitSource.REQUEST and breaker.failure_source is PermitSource.CHECK
            waits_until = None if is_hearsay else breaker.retry_at
        case BreakerState.HALF_OPEN:
            waits_until = breaker.lease.until if breaker.lease else None
        case _ as never:
            assert_never(never)
    left_s = 0.0 if waits_until is None else (waits_until - now).total_seconds()
    return Refusal(breaker.state, left_s, breaker.cause) if left_s > 0 else None


def request_permit(breaker: Breaker, source: PermitSource, lease: Lease, now: datetime) -> Step | Refusal:
    """Somebody wants to call the provider, and would probe under that lease."""
    if (refused := refusal(breaker, source, now)) is not None:
        return refused
    if breaker.state is BreakerState.CLOSED:
        return Step(breaker, Write.NOTHING)
    successes = breaker.success_count if breaker.state is BreakerState.HALF_OPEN else 0
    probing = replace(breaker, state=BreakerState.HALF_OPEN, lease=lease, retry_at=None, success_count=successes)
    return _turn(probing)


def permit(breaker: Breaker, provider_id: str, source: PermitSource) -> Permit:
    """The permit of whoever has asked, and was not refused; `breaker` is as that step left it."""
    return Permit(provider_id, source, breaker.epoch, breaker.lease.token if breaker.lease else None)


def record_outcome(
    breaker: Breaker, held: Permit, outcome: CallOutcome, now: datetime, rules: CircuitBreakerConfig, *, cause: str = ""
) -> Step:
    """Whoever held a permit reports. `cause` is the failure's code."""
    is_late = held.epoch != breaker.epoch or held.token != (breaker.lease.token if breaker.lease else None)
    if is_late or breaker.state is BreakerState.OPEN:
        return Step(breaker, Write.NOTHING)
    if held.source is PermitSource.CHECK and not _is_believed(breaker, outcome):
        outcome = CallOutcome.NEUTRAL
    if breaker.state is BreakerState.CLOSED:
        return _while_closed(breaker, held.source, outcome, now, rules, cause)
    return _after_probe(breaker, held.source, outcome, now, rules, cause)


def _is_believed(breaker: Breaker, outcome: CallOutcome) -> bool:
    """Whether a check's word is taken: a key that may chat need not be allowed to list the models."""
    if outcome is CallOutcome.REJECTION:
        return False
    return outcome is not CallOutcome.FAILURE or breaker.checks is not CheckTrust.MISLED


def open_if_due(breaker: Breaker, now: datetime, rules: CircuitBreakerConfig) -> Step:
    """Opens a closed breaker whose failures have reached the threshold; `breaker` is as the last one left it."""
    if breaker.state is not BreakerState.CLOSED or breaker.failure_count < rules.failure_threshold:
        return Step(breaker, Write.NOTHING)
    return _open(breaker, now, rules)


def _while_closed(
    breaker: Breaker, source: PermitSource, outcome: CallOutcome, now: datetime, rules: CircuitBreakerConfig, cause: str
) -> Step:
    failed = _failed(breaker, source, now, cause)
    match outcome:
        case CallOutcome.SUCCESS:
            return _proven(breaker, source)
        case CallOutcome.FAILURE:
            return Step(failed, Write.ADD_FAILURE)
        case CallOutcome.REJECTION:
            return _open(failed, now, rules)
        case CallOutcome.NEUTRAL:
            return Step(breaker, Write.NOTHING)
        case _ as never:
            assert_never(never)


def _proven(breaker: Breaker, source: PermitSource) -> Step:
    """A success resets the count, but a check's only what checks alone have counted: where chats fail now and then, the
    list of models that answers every minute must not keep the breaker from opening.
    """
    after = breaker
    if source is PermitSource.REQUEST or breaker.failure_source is PermitSource.CHECK:
        after = replace(after, failure_count=0)
    if breaker.checks is (CheckTrust.ON_TRIAL if source is PermitSource.REQUEST else CheckTrust.MISLED):
        after = replace(after, checks=CheckTrust.TRUSTED)
    return Step(after, Write.NOTHING if after == breaker else Write.REPLACE)


def _after_probe(
    breaker: Breaker, source: PermitSource, outcome: CallOutcome, now: datetime, rules: CircuitBreakerConfig, cause: str
) -> Step:
    match outcome:
        case CallOutcome.SUCCESS:
            return _one_success_more(breaker, source, rules)
        case CallOutcome.FAILURE | CallOutcome.REJECTION:
            return _open(_failed(breaker, source, now, cause), now, rules)
        case CallOutcome.NEUTRAL:
            return _turn(replace(breaker, lease=None))
        case _ as never:
            assert_never(never)


def _one_success_more(breaker: Breaker, source: PermitSource, rules: CircuitBreakerConfig) -> Step:
    successes = breaker.success_count + 1
    is_believed = source is PermitSource.REQUEST or breaker.checks is not CheckTrust.MISLED
    if successes < rules.success_threshold or not is_believed:
        return _turn(replace(breaker, lease=None, success_count=min(successes, rules.success_threshold - 1)))
    checks = CheckTrust.ON_TRIAL
    if source is PermitSource.REQUEST:
        checks = CheckTrust.MISLED if breaker.failure_source is PermitSource.CHECK else CheckTrust.TRUSTED
    closed = replace(breaker, state=BreakerState.CLOSED, failure_count=0, success_count=0, cause="", checks=checks)
    return _turn(replace(closed, lease=None))


def _failed(breaker: Breaker, source: PermitSource, now: datetime, cause: str) -> Breaker:
    count = breaker.failure_count + 1
    only_checks = source is PermitSource.CHECK and (count == 1 or breaker.failure_source is PermitSource.CHECK)
    failure_source = PermitSource.CHECK if only_checks else PermitSource.REQUEST
    return replace(breaker, failure_count=count, last_failure=now, cause=cause, failure_source=failure_source)


def _open(failed: Breaker, now: datetime, rules: CircuitBreakerConfig) -> Step:
    """`failed` has the failure that opens it."""
    checks = failed.checks
    if checks is CheckTrust.ON_TRIAL:
        checks = CheckTrust.MISLED if failed.failure_source is PermitSource.REQUEST else CheckTrust.TRUSTED
    retry_at = now + timedelta(seconds=rules.timeout_secs)
    opened = replace(failed, state=BreakerState.OPEN, retry_at=retry_at, success_count=0, checks=checks)
    return _turn(replace(opened, lease=None))


def _turn(after: Breaker) -> Step:
    return Step(replace(after, epoch=after.epoch + 1), Write.REPLACE)

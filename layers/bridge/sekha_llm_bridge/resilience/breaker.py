"""The circuit breaker of one provider as a pure state machine: state, event and time give a `Transition`.

    closed    ── failure_threshold consecutive failures, or one rejected key ──▶ open
    open      ── timeout_secs later, a probe acquires the lease ───────────────▶ half-open
    half-open ── success_threshold successful probes ──────────────────────────▶ closed
    half-open ── a failed probe ───────────────────────────────────────────────▶ open

Every change of the state or of the lease increases the epoch. A `Permit` has the epoch in which it was granted, so a
late outcome changes nothing. The stores write a transition only if the stored epoch and lease are still those that the
transition was decided by.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import assert_never

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome


class BreakerState(StrEnum):
    """Closed admits all calls, open admits none, half-open admits one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class PermitSource(StrEnum):
    """The caller of the provider: a user's request, or the scheduled check with a free call."""

    REQUEST = "request"
    CHECK = "check"


class CheckTrust(StrEnum):
    """Whether outcomes of scheduled checks agree with those of requests.

    A check lists the provider's models. A provider may list its models although its chats fail, and the reverse.
    While checks are distrusted, their failures are ignored, and their successes cannot close the breaker.

        event                                                   trusted      unconfirmed  distrusted
        a request succeeds while the breaker is closed          trusted      trusted      distrusted
        a check succeeds while the breaker is closed            trusted      unconfirmed  trusted
        the breaker opens; a request was among the failures     trusted      distrusted   distrusted
        the breaker opens; only checks failed                   trusted      trusted      distrusted
        a check closes the breaker                              unconfirmed  (1)          (2)
        a request closes the breaker that requests opened       trusted      (1)          trusted
        a request closes the breaker that only checks opened    distrusted   (1)          distrusted

    (1) Cannot happen: opening ends `unconfirmed`. (2) Cannot happen: the breaker stays half-open.
    """

    TRUSTED = "trusted"
    UNCONFIRMED = "unconfirmed"
    DISTRUSTED = "distrusted"


class WriteKind(Enum):
    """How a transition is stored: not at all, as one more failure, or as changed fields."""

    NOTHING = "nothing"
    ADD_FAILURE = "add_failure"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive right to probe until it is released or `until` has passed. `token` is unique for each holder."""

    token: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Breaker:
    """The stored fields of one breaker. The default is the breaker of a provider without a record.

    `failure_count` counts consecutive failures; it is kept while the breaker is open, and closing resets it.
    `success_count` counts successful probes since the breaker opened. An open breaker may be probed from `retry_at`.
    `last_failure` and `cause` (an error code) are those of the last counted failure. `failure_source` is `CHECK` if
    all counted failures are those of checks.
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
    check_trust: CheckTrust = CheckTrust.TRUSTED


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to call a provider once. Its holder reports the outcome. A probe's permit has its lease's `token`."""

    provider_id: str
    source: PermitSource
    epoch: int
    token: str | None = None

    @property
    def is_probe(self) -> bool:
        """Returns whether this is the only permitted call until its outcome is reported or its lease ends."""
        return self.token is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call is not permitted; ask again in `retry_after_s` seconds. `cause` is the code of the last failure."""

    state: BreakerState
    retry_after_s: float
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """The next breaker, and how to store it."""

    after: Breaker
    write: WriteKind


def refusal(breaker: Breaker, source: PermitSource, now: datetime) -> Refusal | None:
    """Returns why the provider may not be called now, or None if it may be called, perhaps by a single probe.

    If only checks have failed, a request may probe at once: its own call may succeed.
    """
    match breaker.state:
        case BreakerState.CLOSED:
            return None
        case BreakerState.OPEN:
            only_checks_failed = source is PermitSource.REQUEST and breaker.failure_source is PermitSource.CHECK
            blocked_until = None if only_checks_failed else breaker.retry_at
        case BreakerState.HALF_OPEN:
            blocked_until = breaker.lease.until if breaker.lease else None
        case _ as never:
            assert_never(never)
    remaining_s = 0.0 if blocked_until is None else (blocked_until - now).total_seconds()
    return Refusal(breaker.state, remaining_s, breaker.cause) if remaining_s > 0 else None


def request_permit(breaker: Breaker, source: PermitSource, lease: Lease, now: datetime) -> Transition | Refusal:
    """Returns the transition that permits a call, or a refusal. If the call is a probe, it acquires `lease`."""
    if (refused := refusal(breaker, source, now)) is not None:
        return refused
    if breaker.state is BreakerState.CLOSED:
        return Transition(breaker, WriteKind.NOTHING)
    successes = breaker.success_count if breaker.state is BreakerState.HALF_OPEN else 0
    probing = replace(breaker, state=BreakerState.HALF_OPEN, lease=lease, retry_at=None, success_count=successes)
    return _with_next_epoch(probing)


def make_permit(breaker: Breaker, provider_id: str, source: PermitSource) -> Permit:
    """Returns the permit for a call, given the breaker after `request_permit`."""
    return Permit(provider_id, source, breaker.epoch, breaker.lease.token if breaker.lease else None)


def record_outcome(
    breaker: Breaker,
    permit: Permit,
    outcome: CallOutcome,
    now: datetime,
    rules: CircuitBreakerConfig,
    *,
    cause: str = "",
) -> Transition:
    """Returns the transition for the outcome of a permitted call. `cause` is the failure's error code."""
    is_late = permit.epoch != breaker.epoch or permit.token != (breaker.lease.token if breaker.lease else None)
    if is_late or breaker.state is BreakerState.OPEN:
        return Transition(breaker, WriteKind.NOTHING)
    if permit.source is PermitSource.CHECK and _is_ignored(breaker, outcome):
        outcome = CallOutcome.NEUTRAL
    if breaker.state is BreakerState.CLOSED:
        return _record_while_closed(breaker, permit.source, outcome, now, rules, cause)
    return _record_probe(breaker, permit.source, outcome, now, rules, cause)


def _is_ignored(breaker: Breaker, outcome: CallOutcome) -> bool:
    """Returns whether a check's outcome is ignored. A key that may chat is not always allowed to list the models."""
    is_distrusted_failure = outcome is CallOutcome.FAILURE and breaker.check_trust is CheckTrust.DISTRUSTED
    return outcome is CallOutcome.REJECTION or is_distrusted_failure


def open_if_due(breaker: Breaker, now: datetime, rules: CircuitBreakerConfig) -> Transition:
    """Opens a closed breaker if its failures have reached the threshold."""
    if breaker.state is not BreakerState.CLOSED or breaker.failure_count < rules.failure_threshold:
        return Transition(breaker, WriteKind.NOTHING)
    return _open(breaker, now, rules)


def _record_while_closed(
    breaker: Breaker, source: PermitSource, outcome: CallOutcome, now: datetime, rules: CircuitBreakerConfig, cause: str
) -> Transition:
    failed = _with_failure(breaker, source, now, cause)
    match outcome:
        case CallOutcome.SUCCESS:
            return _record_success(breaker, source)
        case CallOutcome.FAILURE:
            return Transition(failed, WriteKind.ADD_FAILURE)
        case CallOutcome.REJECTION:
            return _open(failed, now, rules)
        case CallOutcome.NEUTRAL:
            return Transition(breaker, WriteKind.NOTHING)
        case _ as never:
            assert_never(never)


def _record_success(breaker: Breaker, source: PermitSource) -> Transition:
    """Resets the failure count after a success while closed. A check's success resets only failures of checks.

    Otherwise the list of models, which answers every minute, would keep the breaker closed while some chats fail.
    """
    after = breaker
    if source is PermitSource.REQUEST or breaker.failure_source is PermitSource.CHECK:
        after = replace(after, failure_count=0)
    if breaker.check_trust is (CheckTrust.UNCONFIRMED if source is PermitSource.REQUEST else CheckTrust.DISTRUSTED):
        after = replace(after, check_trust=CheckTrust.TRUSTED)
    return Transition(after, WriteKind.NOTHING if after == breaker else WriteKind.REPLACE)


def _record_probe(
    breaker: Breaker, source: PermitSource, outcome: CallOutcome, now: datetime, rules: CircuitBreakerConfig, cause: str
) -> Transition:
    match outcome:
        case CallOutcome.SUCCESS:
            return _record_probe_success(breaker, source, rules)
        case CallOutcome.FAILURE | CallOutcome.REJECTION:
            return _open(_with_failure(breaker, source, now, cause), now, rules)
        case CallOutcome.NEUTRAL:
            return _with_next_epoch(replace(breaker, lease=None))
        case _ as never:
            assert_never(never)


def _record_probe_success(breaker: Breaker, source: PermitSource, rules: CircuitBreakerConfig) -> Transition:
    successes = breaker.success_count + 1
    may_close = source is PermitSource.REQUEST or breaker.check_trust is not CheckTrust.DISTRUSTED
    if successes < rules.success_threshold or not may_close:
        successes = min(successes, rules.success_threshold - 1)
        return _with_next_epoch(replace(breaker, lease=None, success_count=successes))
    check_trust = CheckTrust.UNCONFIRMED
    if source is PermitSource.REQUEST:
        check_trust = CheckTrust.DISTRUSTED if breaker.failure_source is PermitSource.CHECK else CheckTrust.TRUSTED
    closed = replace(breaker, state=BreakerState.CLOSED, failure_count=0, success_count=0, cause="")
    return _with_next_epoch(replace(closed, lease=None, check_trust=check_trust))


def _with_failure(breaker: Breaker, source: PermitSource, now: datetime, cause: str) -> Breaker:
    count = breaker.failure_count + 1
    only_checks = source is PermitSource.CHECK and (count == 1 or breaker.failure_source is PermitSource.CHECK)
    failure_source = PermitSource.CHECK if only_checks else PermitSource.REQUEST
    return replace(breaker, failure_count=count, last_failure=now, cause=cause, failure_source=failure_source)


def _open(failed: Breaker, now: datetime, rules: CircuitBreakerConfig) -> Transition:
    """Opens a breaker; `failed` includes the failure that opens it."""
    check_trust = failed.check_trust
    if check_trust is CheckTrust.UNCONFIRMED:
        check_trust = CheckTrust.DISTRUSTED if failed.failure_source is PermitSource.REQUEST else CheckTrust.TRUSTED
    retry_at = now + timedelta(seconds=rules.timeout_secs)
    opened = replace(failed, state=BreakerState.OPEN, retry_at=retry_at, success_count=0, check_trust=check_trust)
    return _with_next_epoch(replace(opened, lease=None))


def _with_next_epoch(after: Breaker) -> Transition:
    return Transition(replace(after, epoch=after.epoch + 1), WriteKind.REPLACE)

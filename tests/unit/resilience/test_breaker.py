"""The breaker's state machine: the transition for every event in every state."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest

from sekha_llm_bridge.config.models import CircuitBreakerConfig
from sekha_llm_bridge.errors import CallOutcome
from sekha_llm_bridge.resilience.breaker import (
    Breaker,
    BreakerState,
    CheckTrust,
    Lease,
    Permit,
    PermitSource,
    Refusal,
    Transition,
    WriteKind,
    make_permit,
    open_if_due,
    record_outcome,
    request_permit,
)
from tests.fakes.clock import FakeClock

RULES = CircuitBreakerConfig(failure_threshold=5, timeout_secs=60, success_threshold=3)
NOW = FakeClock().now()
BEFORE = NOW - timedelta(minutes=7)
SECOND = timedelta(seconds=1)
OFFERED = Lease("offered", NOW + timedelta(seconds=30))
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
REQUEST, CHECK = PermitSource.REQUEST, PermitSource.CHECK
TRUSTED, UNCONFIRMED, DISTRUSTED = CheckTrust.TRUSTED, CheckTrust.UNCONFIRMED, CheckTrust.DISTRUSTED


# All states that differ in behaviour; the names describe them.


def failed(count: int, *, by: PermitSource = REQUEST) -> dict[str, Any]:
    """Returns the fields of a breaker with failures."""
    return {"failure_count": count, "last_failure": BEFORE, "cause": "old", "failure_source": by}


CLOSED_STATES = {
    f"closed {count} {check_trust} by_{by}": Breaker(CLOSED, 7, check_trust=check_trust, **failed(count, by=by))
    for count, check_trust, by in product((0, 3, 5), CheckTrust, PermitSource)
}
RETRY_TIMES = {"early": NOW + SECOND, "due": NOW, "past": NOW - SECOND}
OPEN_STATES = {
    f"open {due} {check_trust} by_{by}": Breaker(
        OPEN, 7, retry_at=RETRY_TIMES[due], check_trust=check_trust, **failed(5, by=by)
    )
    for due, check_trust, by in product(RETRY_TIMES, (TRUSTED, DISTRUSTED), PermitSource)
}
LEASES = {
    "live": Lease("mine", NOW + SECOND),
    "ending": Lease("mine", NOW),
    "expired": Lease("mine", NOW - SECOND),
    "free": None,
}
HALF_OPEN_STATES = {
    f"half_open {lease} {successes} {check_trust} by_{by}": Breaker(
        HALF_OPEN, 7, success_count=successes, lease=LEASES[lease], check_trust=check_trust, **failed(5, by=by)
    )
    for lease, successes, check_trust, by in product(LEASES, (0, 2), (TRUSTED, DISTRUSTED), PermitSource)
}
STATES = CLOSED_STATES | OPEN_STATES | HALF_OPEN_STATES

HOLDERS = ("own", "late", "early", "other")
EVENTS = [
    *(f"request_permit {source}" for source in PermitSource),
    *(f"{outcome.value} {source} {holder}" for outcome, source, holder in product(CallOutcome, PermitSource, HOLDERS)),
    "open_if_due",
]


@dataclass(frozen=True)
class Row:
    """The transition for the states and events that match two patterns. `after` has the fields that change.

    `has_next_epoch` says whether the epoch increases. `refused_s` is the time in a refusal.
    """

    states: str
    events: str
    write: WriteKind = WriteKind.NOTHING
    has_next_epoch: bool = False
    after: dict[str, Any] | None = None
    more_failures: int = 0
    refused_s: float | None = None

    def covers(self, state: str, event: str) -> bool:
        return bool(re.fullmatch(self.states, state) and re.fullmatch(self.events, event))

    def result(self, before: Breaker) -> Transition | Refusal:
        if self.refused_s is not None:
            return Refusal(before.state, self.refused_s, "old")
        failures = before.failure_count + self.more_failures
        epoch = 8 if self.has_next_epoch else 7
        return Transition(
            replace(before, **{"epoch": epoch, "failure_count": failures, **(self.after or {})}), self.write
        )


def fails(failure_source: PermitSource) -> dict[str, Any]:
    return {"last_failure": NOW, "cause": "new", "failure_source": failure_source}


OPENED = {
    "state": OPEN,
    "retry_at": NOW + timedelta(seconds=60),
    "success_count": 0,
    "lease": None,
}
CLOSES = {"state": CLOSED, "failure_count": 0, "success_count": 0, "lease": None, "cause": ""}
PROBES = {"state": HALF_OPEN, "lease": OFFERED, "retry_at": None}
LEASED = "half_open (live|ending|expired)"


def change(states: str, events: str, after: dict[str, Any], *, more_failures: int = 0) -> Row:
    """Returns a row that changes the state or the lease."""
    return Row(states, events, WriteKind.REPLACE, has_next_epoch=True, after=after, more_failures=more_failures)


def update(states: str, events: str, after: dict[str, Any]) -> Row:
    """Returns a row that changes other fields."""
    return Row(states, events, WriteKind.REPLACE, after=after)


def count(states: str, events: str, failure_source: PermitSource) -> Row:
    """Returns a row that adds a failure."""
    return Row(states, events, WriteKind.ADD_FAILURE, after=fails(failure_source), more_failures=1)


TABLE = [
    # Permits. If only checks failed, a request may probe at once.
    Row("closed .*", "request_permit .*"),
    Row("open early .* by_request", "request_permit .*", refused_s=1),
    Row("open early .* by_check", "request_permit check", refused_s=1),
    change("open early .* by_check", "request_permit request", PROBES),
    change("open (due|past) .*", "request_permit .*", PROBES),
    Row("half_open live .*", "request_permit .*", refused_s=1),
    change("half_open (ending|expired|free) .*", "request_permit .*", PROBES),
    # An outcome with another epoch or another lease is ignored.
    Row(".*", ".* (late|early|other)"),
    # Closed: outcomes of requests.
    Row("closed .*", "neutral .* own"),
    Row("closed 0 (trusted|distrusted) .*", "success request own"),
    update("closed 0 unconfirmed .*", "success request own", {"check_trust": TRUSTED}),
    update("closed [35] (trusted|distrusted) .*", "success request own", {"failure_count": 0}),
    update("closed [35] unconfirmed .*", "success request own", {"failure_count": 0, "check_trust": TRUSTED}),
    count("closed .*", "failure request own", REQUEST),
    change("closed . trusted .*", "rejection request own", {**OPENED, **fails(REQUEST)}, more_failures=1),
    change(
        "closed . (unconfirmed|distrusted) .*",
        "rejection request own",
        {**OPENED, **fails(REQUEST), "check_trust": DISTRUSTED},
        more_failures=1,
    ),
    # Closed: outcomes of checks. A success resets only failures of checks; failures of distrusted checks are ignored.
    Row("closed 0 (trusted|unconfirmed) .*", "success check own"),
    Row("closed [35] (trusted|unconfirmed) by_request", "success check own"),
    update("closed [35] (trusted|unconfirmed) by_check", "success check own", {"failure_count": 0}),
    update("closed 0 distrusted .*", "success check own", {"check_trust": TRUSTED}),
    update("closed [35] distrusted by_request", "success check own", {"check_trust": TRUSTED}),
    update("closed [35] distrusted by_check", "success check own", {"failure_count": 0, "check_trust": TRUSTED}),
    count("closed 0 (trusted|unconfirmed) .*", "failure check own", CHECK),
    count("closed [35] (trusted|unconfirmed) by_check", "failure check own", CHECK),
    count("closed [35] (trusted|unconfirmed) by_request", "failure check own", REQUEST),
    Row("closed . distrusted .*", "failure check own"),
    Row("closed .*", "rejection check own"),
    # Closed: whether the count has reached the threshold.
    Row("closed [03] .*", "open_if_due"),
    change("closed 5 (trusted|distrusted) .*", "open_if_due", OPENED),
    change("closed 5 unconfirmed by_request", "open_if_due", {**OPENED, "check_trust": DISTRUSTED}),
    change("closed 5 unconfirmed by_check", "open_if_due", {**OPENED, "check_trust": TRUSTED}),
    # Open: no permit has this epoch, so every outcome is ignored.
    Row("open .*", ".* own"),
    Row("open .*", "open_if_due"),
    # Half-open: outcomes of the lease's holder. An expired lease counts until another probe acquires it.
    change(f"{LEASED} 0 .*", "success .* own", {"lease": None, "success_count": 1}),
    change(f"{LEASED} 2 .* by_request", "success request own", {**CLOSES, "check_trust": TRUSTED}),
    change(f"{LEASED} 2 .* by_check", "success request own", {**CLOSES, "check_trust": DISTRUSTED}),
    change(f"{LEASED} 2 trusted .*", "success check own", {**CLOSES, "check_trust": UNCONFIRMED}),
    change(f"{LEASED} 2 distrusted .*", "success check own", {"lease": None}),
    change(f"{LEASED} .*", "(failure|rejection) request own", {**OPENED, **fails(REQUEST)}, more_failures=1),
    change(f"{LEASED} . trusted by_check", "failure check own", {**OPENED, **fails(CHECK)}, more_failures=1),
    change(f"{LEASED} . trusted by_request", "failure check own", {**OPENED, **fails(REQUEST)}, more_failures=1),
    change(f"{LEASED} . distrusted .*", "failure check own", {"lease": None}),
    change(f"{LEASED} .*", "rejection check own", {"lease": None}),
    change(f"{LEASED} .*", "neutral .* own", {"lease": None}),
    Row("half_open free .*", ".* own"),  # releasing the lease increased the epoch
    Row("half_open .*", "open_if_due"),
]


def permit_for(breaker: Breaker, source: PermitSource, holder: str) -> Permit:
    """Returns the permit of a holder who reports an outcome in that state."""
    token = breaker.lease.token if breaker.lease else None
    if holder == "own" and breaker.state is HALF_OPEN and token is None:
        return Permit("p", source, breaker.epoch - 1, "mine")
    epoch = breaker.epoch + {"late": -1, "early": 1}.get(holder, 0)
    return Permit("p", source, epoch, "other" if holder == "other" else token)


def transition_for(breaker: Breaker, event: str) -> Transition | Refusal:
    if event == "open_if_due":
        return open_if_due(breaker, NOW, RULES)
    if event.startswith("request_permit"):
        return request_permit(breaker, PermitSource(event.split()[1]), OFFERED, NOW)
    outcome, source, holder = event.split()
    permit = permit_for(breaker, PermitSource(source), holder)
    return record_outcome(breaker, permit, CallOutcome(outcome), NOW, RULES, cause="new")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.states} x {row.events}")
def test_every_event_in_every_state_gives_the_transition_in_the_table(row: Row) -> None:
    covered = [(state, event) for state, event in product(STATES, EVENTS) if row.covers(state, event)]
    assert covered, "a row must match a state and an event"
    for state, event in covered:
        assert transition_for(STATES[state], event) == row.result(STATES[state]), f"{event!r} in {state!r}"


def test_the_table_has_exactly_one_row_for_each_event_in_each_state() -> None:
    assert (len(STATES), len(EVENTS)) == (18 + 12 + 32, 2 + 4 * 2 * 4 + 1)
    rows = {(s, e): [row for row in TABLE if row.covers(s, e)] for s, e in product(STATES, EVENTS)}
    assert {key: len(found) for key, found in rows.items() if len(found) != 1} == {}


def test_the_epoch_increases_by_one_exactly_when_the_state_or_the_lease_changes() -> None:
    for state, event in product(STATES, EVENTS):
        before, step = STATES[state], transition_for(STATES[state], event)
        if isinstance(step, Transition):
            changed = (step.after.state, step.after.lease) != (before.state, before.lease)
            assert step.after.epoch - before.epoch == int(changed), f"{event!r} in {state!r}"


def test_a_transition_is_written_exactly_when_it_changes_the_breaker() -> None:
    for state, event in product(STATES, EVENTS):
        step = transition_for(STATES[state], event)
        if isinstance(step, Transition):
            assert (step.write is WriteKind.NOTHING) == (step.after == STATES[state]), f"{event!r} in {state!r}"


@pytest.mark.parametrize("source", PermitSource)
def test_the_permit_of_a_closed_breaker_has_its_epoch_and_no_token(source: PermitSource) -> None:
    assert make_permit(Breaker(CLOSED, 7), "p", source) == Permit("p", source, 7, None)


@pytest.mark.parametrize("source", PermitSource)
def test_the_permit_of_a_probe_has_the_token_and_the_epoch_of_its_lease(source: PermitSource) -> None:
    decided = request_permit(Breaker(OPEN, 7, retry_at=NOW), REQUEST, OFFERED, NOW)
    assert isinstance(decided, Transition)
    assert make_permit(decided.after, "p", source) == Permit("p", source, 8, "offered")


@pytest.mark.parametrize(
    ("early", "refused_s"), [(timedelta(microseconds=1), 1e-6), (timedelta(seconds=12.5), 12.5), (timedelta(), None)]
)
def test_an_open_breaker_permits_a_probe_from_exactly_retry_at(early: timedelta, refused_s: float | None) -> None:
    decided = request_permit(Breaker(OPEN, 7, retry_at=NOW, cause="boom"), REQUEST, OFFERED, NOW - early)
    assert decided == Refusal(OPEN, refused_s, "boom") if refused_s else isinstance(decided, Transition)


@pytest.mark.parametrize(("early", "refused_s"), [(timedelta(microseconds=1), 1e-6), (timedelta(), None)])
def test_a_lease_can_be_acquired_from_exactly_the_end_of_the_previous_one(
    early: timedelta, refused_s: float | None
) -> None:
    decided = request_permit(
        Breaker(HALF_OPEN, 7, lease=Lease("mine", NOW), cause="boom"), REQUEST, OFFERED, NOW - early
    )
    assert decided == Refusal(HALF_OPEN, refused_s, "boom") if refused_s else isinstance(decided, Transition)


def test_acquiring_an_expired_lease_keeps_the_count_of_successful_probes() -> None:
    decided = request_permit(Breaker(HALF_OPEN, 7, success_count=2, lease=Lease("dead", NOW)), REQUEST, OFFERED, NOW)
    assert isinstance(decided, Transition)
    assert (decided.after.lease, decided.after.success_count) == (OFFERED, 2)


def test_the_outcome_of_the_previous_holder_of_a_lease_is_ignored() -> None:
    first = Breaker(HALF_OPEN, 7, lease=Lease("dead", NOW))
    late = make_permit(first, "p", REQUEST)
    decided = request_permit(first, REQUEST, OFFERED, NOW)
    assert isinstance(decided, Transition)
    for outcome in CallOutcome:
        assert record_outcome(decided.after, late, outcome, NOW, RULES) == Transition(decided.after, WriteKind.NOTHING)


def call(
    breaker: Breaker,
    outcome: CallOutcome,
    rules: CircuitBreakerConfig = RULES,
    *,
    source: PermitSource = REQUEST,
    now: datetime = NOW,
) -> Breaker:
    """Returns the breaker after one permitted call."""
    decided = request_permit(breaker, source, Lease("mine", now + SECOND), now)
    assert isinstance(decided, Transition)
    recorded = record_outcome(decided.after, make_permit(decided.after, "p", source), outcome, now, rules).after
    return open_if_due(recorded, now, rules).after


def calls(
    breaker: Breaker, *outcomes: CallOutcome, rules: CircuitBreakerConfig = RULES, source: PermitSource = REQUEST
) -> str:
    """Returns the states after each of several calls."""
    states = []
    for outcome in outcomes:
        breaker = call(breaker, outcome, rules, source=source)
        states.append(breaker.state.value)
    return " ".join(states)


FAIL, PASS = CallOutcome.FAILURE, CallOutcome.SUCCESS
DUE = Breaker(OPEN, 7, failure_count=5, retry_at=NOW)


def test_the_fifth_failure_in_a_row_opens_and_the_fourth_does_not() -> None:
    assert calls(Breaker(), *[FAIL] * 5) == "closed closed closed closed open"


def test_a_success_resets_the_count_of_failures() -> None:
    assert calls(Breaker(), *[FAIL] * 4, PASS, *[FAIL] * 4) == " ".join(["closed"] * 9)


def test_a_neutral_outcome_neither_counts_nor_resets() -> None:
    assert calls(Breaker(), *[FAIL] * 4, CallOutcome.NEUTRAL, FAIL) == "closed closed closed closed closed open"


def test_a_threshold_of_one_opens_at_the_first_failure() -> None:
    assert calls(Breaker(), FAIL, rules=CircuitBreakerConfig(failure_threshold=1)) == "open"


def test_the_third_probe_that_succeeds_closes_and_the_second_does_not() -> None:
    assert calls(DUE, PASS, PASS, PASS) == "half_open half_open closed"


def test_a_success_threshold_of_one_closes_at_the_first_success() -> None:
    assert calls(DUE, PASS, rules=CircuitBreakerConfig(success_threshold=1)) == "closed"


def test_one_failed_probe_reopens_and_resets_the_successes_before_it() -> None:
    breaker = call(call(call(DUE, PASS), PASS), FAIL)
    assert (breaker.state, breaker.success_count, breaker.retry_at) == (OPEN, 0, NOW + timedelta(seconds=60))
    assert calls(replace(breaker, retry_at=NOW), PASS, PASS, PASS) == "half_open half_open closed"


def test_the_first_probe_resets_successes_that_an_open_breaker_still_has() -> None:
    decided = request_permit(replace(DUE, success_count=2), REQUEST, OFFERED, NOW)
    assert isinstance(decided, Transition)
    assert decided.after.success_count == 0


def test_a_neutral_probe_releases_its_lease_and_the_next_probe_is_permitted_at_once() -> None:
    breaker = call(call(DUE, PASS), CallOutcome.NEUTRAL)
    assert (breaker.state, breaker.lease, breaker.success_count) == (HALF_OPEN, None, 1)
    assert isinstance(request_permit(breaker, REQUEST, OFFERED, NOW), Transition)


def test_a_rejection_of_a_request_opens_at_once() -> None:
    opened = record_outcome(
        Breaker(), Permit("p", REQUEST, 0), CallOutcome.REJECTION, NOW, RULES, cause="invalid_api_key"
    ).after
    assert (opened.state, opened.cause, opened.failure_count) == (OPEN, "invalid_api_key", 1)
    assert opened.retry_at == NOW + timedelta(seconds=60)


def test_a_rejection_of_a_check_is_ignored() -> None:
    assert calls(Breaker(), *[CallOutcome.REJECTION] * 9, source=CHECK) == " ".join(["closed"] * 9)


def test_a_rejection_of_a_checks_probe_neither_closes_nor_reopens() -> None:
    breaker = call(call(DUE, PASS), CallOutcome.REJECTION, source=CHECK)
    assert (breaker.state, breaker.success_count, breaker.lease) == (HALF_OPEN, 1, None)


def test_successful_checks_do_not_reset_failures_of_requests() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker = call(call(breaker, FAIL), PASS, source=CHECK)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 4)
    assert call(breaker, FAIL).state is OPEN


def test_a_successful_check_resets_failures_of_checks() -> None:
    breaker = call(call(Breaker(), FAIL, source=CHECK), FAIL, source=CHECK)
    assert breaker.failure_count == 2
    assert call(breaker, PASS, source=CHECK).failure_count == 0


def test_after_checks_closed_a_breaker_they_are_unconfirmed_until_a_request_succeeds() -> None:
    one = CircuitBreakerConfig(success_threshold=1)
    closed = call(DUE, PASS, one, source=CHECK)
    assert (closed.state, closed.check_trust) == (CLOSED, UNCONFIRMED)
    assert call(closed, PASS, one, source=CHECK).check_trust is UNCONFIRMED
    assert call(closed, PASS, one).check_trust is TRUSTED


def with_distrusted_checks() -> Breaker:
    """Returns a breaker that checks closed and failing requests opened again."""
    unconfirmed = call(DUE, PASS, CircuitBreakerConfig(success_threshold=1), source=CHECK)
    for _ in range(5):
        unconfirmed = call(unconfirmed, FAIL)
    return replace(unconfirmed, retry_at=NOW)


def test_distrusted_checks_cannot_close_a_breaker_however_often_they_succeed() -> None:
    assert with_distrusted_checks().check_trust is DISTRUSTED
    assert calls(with_distrusted_checks(), *[PASS] * 9, source=CHECK) == " ".join(["half_open"] * 9)


def test_with_distrusted_checks_the_last_success_must_be_a_requests() -> None:
    breaker = with_distrusted_checks()
    for _ in range(9):
        breaker = call(breaker, PASS, source=CHECK)
    assert breaker.success_count == 2
    closed = call(breaker, PASS)
    assert (closed.state, closed.check_trust) == (CLOSED, TRUSTED)


def test_with_distrusted_checks_and_a_success_threshold_of_one_only_a_request_closes() -> None:
    one = CircuitBreakerConfig(success_threshold=1)
    half_open = call(with_distrusted_checks(), PASS, one, source=CHECK)
    assert (half_open.state, half_open.success_count) == (HALF_OPEN, 0)
    assert call(half_open, PASS, one).state is CLOSED


def test_a_failed_probe_of_a_request_leaves_checks_distrusted() -> None:
    assert call(with_distrusted_checks(), FAIL).check_trust is DISTRUSTED


def test_a_failed_probe_of_a_distrusted_check_is_ignored() -> None:
    breaker = call(with_distrusted_checks(), FAIL, source=CHECK)
    assert (breaker.state, breaker.lease, breaker.check_trust) == (HALF_OPEN, None, DISTRUSTED)


def test_a_breaker_that_only_checks_opened_permits_one_request_at_once() -> None:
    opened = Breaker(OPEN, 7, failure_count=5, failure_source=CHECK, retry_at=NOW + SECOND)
    assert isinstance(request_permit(opened, CHECK, OFFERED, NOW), Refusal)
    failed_too = call(opened, FAIL)
    assert (failed_too.state, failed_too.failure_source) == (OPEN, REQUEST)
    assert isinstance(request_permit(failed_too, REQUEST, OFFERED, NOW), Refusal)


def test_one_failed_request_changes_the_failure_source_from_check_to_request() -> None:
    failures = [(FAIL, CHECK), (FAIL, REQUEST), (FAIL, CHECK)]
    breaker = Breaker()
    for outcome, source in failures:
        breaker = call(breaker, outcome, source=source)
    assert (breaker.failure_count, breaker.failure_source) == (3, REQUEST)
    assert call(breaker, PASS, source=CHECK).failure_count == 3
    anew = call(call(breaker, PASS), FAIL, source=CHECK)
    assert (anew.failure_count, anew.failure_source) == (1, CHECK)


def test_checks_that_opened_a_breaker_which_a_request_closes_are_distrusted_until_one_succeeds() -> None:
    one = CircuitBreakerConfig(success_threshold=1)
    closed = call(Breaker(OPEN, 7, failure_count=5, failure_source=CHECK, retry_at=NOW), PASS, one)
    assert (closed.state, closed.check_trust) == (CLOSED, DISTRUSTED)
    assert calls(closed, *[FAIL] * 9, source=CHECK) == " ".join(["closed"] * 9)
    believed = call(closed, PASS, one, source=CHECK)
    assert believed.check_trust is TRUSTED
    assert calls(believed, *[FAIL] * 5, source=CHECK) == "closed closed closed closed open"


def test_unconfirmed_checks_are_trusted_again_if_only_checks_reopen_the_breaker() -> None:
    unconfirmed = call(DUE, PASS, CircuitBreakerConfig(success_threshold=1), source=CHECK)
    for _ in range(5):
        unconfirmed = call(unconfirmed, FAIL, source=CHECK)
    assert (unconfirmed.state, unconfirmed.check_trust) == (OPEN, TRUSTED)


def test_closing_resets_the_failures_but_keeps_the_time_of_the_last_one() -> None:
    closed = call(replace(DUE, last_failure=BEFORE, cause="boom"), PASS, CircuitBreakerConfig(success_threshold=1))
    assert (closed.failure_count, closed.cause, closed.last_failure) == (0, "", BEFORE)


def test_a_count_above_the_threshold_opens() -> None:
    """The instance that counted the fifth failure may have died before it opened the breaker."""
    assert call(Breaker(failure_count=5), FAIL).state is OPEN
    assert open_if_due(Breaker(failure_count=9), NOW, RULES).after.state is OPEN


def test_a_success_threshold_that_was_lowered_while_half_open_applies_at_the_next_success() -> None:
    """The threshold may be lowered while a breaker is half-open."""
    assert call(Breaker(HALF_OPEN, 7, success_count=4), PASS).state is CLOSED

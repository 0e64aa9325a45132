"""The findings about a race of many instances over one circuit breaker.

They are computed from what the provider and the table recorded. All processes run on one machine, so all times are
seconds of the same monotonic clock.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

CLOSED = "closed"
SNAPSHOT_S = 1.0
"""How long an instance may use a breaker state after it was read."""

SLACK_S = 0.25
"""How much process scheduling may add to a measured time."""

_OK = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the provider served. `worker` and `number` identify the request that made it."""

    worker: int
    number: int
    at_s: float
    until_s: float
    failed: bool


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """A request that a worker served. `provider` is empty if no provider answered."""

    worker: int
    number: int
    began_s: float
    ended_s: float
    status: int
    provider: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A worker's request to the table, the time when it took effect, and the breaker's state after it.

    `expected_epoch` is the epoch in a write's condition. If `done` is false, the condition failed: the breaker had
    another epoch or a lease.
    """

    at_s: float
    worker: int
    kind: Literal["read", "add", "change"]
    done: bool
    expected_epoch: int
    state: str
    epoch: int
    failures: int
    token: str


@dataclass(frozen=True, slots=True)
class RaceRecord:
    """What was recorded of a race.

    `calls` are the calls to the provider that fails and recovers. `table_unavailable_count` counts how often the table
    was too slow for an instance, which then used only its own breaker.
    """

    calls: Sequence[Call]
    served: Sequence[ServedRequest]
    exchanges: Sequence[Exchange]
    failing_from_s: float
    recovered_at_s: float
    table_unavailable_count: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """The figures of a race.

    An unleased call is a call without a lease while the breaker was not closed. It is early if its request began while
    a snapshot from before the opening was still valid, and late otherwise.
    """

    requests: int
    unanswered: int
    slowest_s: float
    openings: int
    early_unleased_calls: int
    last_unleased_call_s: float
    late_unleased_calls: int
    probes_failed: int
    probes_answered: int
    max_concurrent_probes: int
    leases_taken_over: int
    failures_counted: int
    failures_late: int
    failures_lost: int
    healthy_requests: int
    healthy_reads: int
    healthy_writes: int
    min_read_interval_s: float
    time_to_close_s: float
    probes_until_closed: int
    table_unavailable_count: int

    def violations(self) -> list[str]:
        """Returns the rules that were broken, as sentences."""
        rules = {
            f"{self.unanswered} requests were not answered": self.unanswered > 0,
            "the breaker never opened": self.openings == 0,
            "the breaker was not closed after the recovery": math.isinf(self.time_to_close_s),
            f"{self.late_unleased_calls} calls reached the provider by an outdated snapshot": self.late_unleased_calls
            > 0,
            f"{self.max_concurrent_probes} probes were in progress at the same time": self.max_concurrent_probes > 1,
            f"{self.leases_taken_over} leases were taken while another lease was held": self.leases_taken_over > 0,
            f"{self.failures_lost} failures were lost": self.failures_lost > 0,
            f"{self.healthy_writes} writes while nothing was wrong": self.healthy_writes > 0,
            f"a process read twice in {self.min_read_interval_s:.2f} s": self.min_read_interval_s
            < SNAPSHOT_S - SLACK_S,
        }
        return [violation for violation, is_violated in rules.items() if is_violated]


def findings(record: RaceRecord) -> Findings:
    """Returns the figures of a race."""
    analysis = _RaceAnalysis(record)
    late = [unleased.call for unleased in analysis.unleased_calls if unleased.is_late]
    outcomes = [analysis.failure_outcome(call) for call in record.calls if call.failed]
    closed_at_s = analysis.closed_after(record.recovered_at_s)
    healthy = [exchange for served in analysis.healthy for exchange in analysis.exchanges_of(served)]
    return Findings(
        requests=len(record.served),
        unanswered=sum(served.status != _OK for served in record.served),
        slowest_s=max(served.ended_s - served.began_s for served in record.served),
        openings=len(analysis.not_closed_periods),
        early_unleased_calls=len(analysis.unleased_calls) - len(late),
        last_unleased_call_s=max((unleased.after_s for unleased in analysis.unleased_calls), default=0.0),
        late_unleased_calls=len(late),
        probes_failed=sum(call.failed for call in analysis.probes),
        probes_answered=sum(not call.failed for call in analysis.probes),
        max_concurrent_probes=_max_concurrent([*analysis.probes, *late]),
        leases_taken_over=sum(
            before.token != "" and after.token != "" for before, after in pairwise(analysis.epoch_changes)
        ),
        failures_counted=outcomes.count("counted"),
        failures_late=outcomes.count("late"),
        failures_lost=outcomes.count("lost") + analysis.miscounted,
        healthy_requests=len(analysis.healthy),
        healthy_reads=sum(exchange.kind == "read" for exchange in healthy),
        healthy_writes=sum(exchange.kind != "read" for exchange in healthy),
        min_read_interval_s=min(analysis.read_intervals_s, default=math.inf),
        time_to_close_s=closed_at_s - record.recovered_at_s,
        probes_until_closed=sum(record.recovered_at_s < call.at_s < closed_at_s for call in analysis.probes),
        table_unavailable_count=record.table_unavailable_count,
    )


@dataclass(frozen=True, slots=True)
class _UnleasedCall:
    """A call without a lease, and how long after the breaker's opening the call and its request began."""

    call: Call
    after_s: float
    request_after_s: float

    @property
    def is_late(self) -> bool:
        """Whether all snapshots from before the opening had expired when the request began."""
        return self.request_after_s > SNAPSHOT_S + SLACK_S


class _RaceAnalysis:
    """Finds the breaker's epoch changes in a record, and which calls were probes or unleased."""

    def __init__(self, record: RaceRecord) -> None:
        self._record = record
        self._served = {(served.worker, served.number): served for served in record.served}

    @cached_property
    def epoch_changes(self) -> list[Exchange]:
        """The writes that started a new epoch."""
        epoch_changes: list[Exchange] = []
        for exchange in self._writes:
            if exchange.epoch != (epoch_changes[-1].epoch if epoch_changes else 0):
                epoch_changes.append(exchange)
        return epoch_changes

    @cached_property
    def not_closed_periods(self) -> list[tuple[float, float]]:
        """The start and end of each period in which the breaker was not closed."""
        not_closed_periods: list[tuple[float, float]] = []
        opened_at_s: float | None = None
        for change in self.epoch_changes:
            if change.state == CLOSED and opened_at_s is not None:
                not_closed_periods.append((opened_at_s, change.at_s))
                opened_at_s = None
            elif change.state != CLOSED and opened_at_s is None:
                opened_at_s = change.at_s
        return not_closed_periods if opened_at_s is None else [*not_closed_periods, (opened_at_s, math.inf)]

    @cached_property
    def probes(self) -> list[Call]:
        """The calls whose request had taken the lease."""
        grants = [change for change in self.epoch_changes if change.token]
        return [call for call in self._record.calls if any(self._is_within(grant, call) for grant in grants)]

    @cached_property
    def unleased_calls(self) -> list[_UnleasedCall]:
        """The calls without a lease while the breaker was not closed."""
        return [
            _UnleasedCall(call, call.at_s - opened_at_s, self._request(call).began_s - opened_at_s)
            for call in self._record.calls
            for opened_at_s, closed_at_s in self.not_closed_periods
            if opened_at_s < call.at_s < closed_at_s and call not in self.probes
        ]

    @cached_property
    def healthy(self) -> list[ServedRequest]:
        """The requests before the failures, and those after every instance had read that the breaker is closed."""
        known_s = self.closed_after(self._record.recovered_at_s) + SNAPSHOT_S + SLACK_S
        failing_s = self._record.failing_from_s
        return [served for served in self._record.served if served.ended_s < failing_s or served.began_s > known_s]

    @property
    def read_intervals_s(self) -> Iterator[float]:
        """Yields the times between two consecutive reads of the same process."""
        last_s: dict[int, float] = {}
        for exchange in self._record.exchanges:
            if exchange.kind == "read":
                if exchange.worker in last_s:
                    yield exchange.at_s - last_s[exchange.worker]
                last_s[exchange.worker] = exchange.at_s

    @property
    def miscounted(self) -> int:
        """The number of `ADD` writes that did not increase the failure count by exactly one."""
        counts = pairwise([0, *(write.failures for write in self._writes)])
        writes_and_counts = zip(self._writes, counts, strict=True)
        return sum(write.kind == "add" and after != before + 1 for write, (before, after) in writes_and_counts)

    def closed_after(self, moment_s: float) -> float:
        """Returns when the breaker closed for the last time; infinity if not after `moment_s`."""
        closed_at_s = self.not_closed_periods[-1][1] if self.not_closed_periods else math.inf
        return closed_at_s if closed_at_s > moment_s else math.inf

    def failure_outcome(self, call: Call) -> Literal["counted", "late", "lost"]:
        """Returns whether a failed call was counted by the breaker, reported too late for its epoch, or lost."""
        kind = "change" if call in self.probes else "add"
        for exchange in self.exchanges_of(self._request(call)):
            if exchange.kind == kind and exchange.at_s >= call.until_s:
                if exchange.done:
                    return "counted"
                return "late" if exchange.epoch != exchange.expected_epoch else "lost"
        return "lost"

    def exchanges_of(self, served: ServedRequest) -> Iterator[Exchange]:
        """Yields the exchanges that one request had with the table. A worker serves one request at a time."""
        for exchange in self._by_worker.get(served.worker, ()):
            if served.began_s <= exchange.at_s <= served.ended_s:
                yield exchange

    @cached_property
    def _by_worker(self) -> Mapping[int, Sequence[Exchange]]:
        found: dict[int, list[Exchange]] = {}
        for exchange in self._record.exchanges:
            found.setdefault(exchange.worker, []).append(exchange)
        return found

    @cached_property
    def _writes(self) -> list[Exchange]:
        return [exchange for exchange in self._record.exchanges if exchange.done and exchange.kind != "read"]

    def _is_within(self, grant: Exchange, call: Call) -> bool:
        return grant.worker == call.worker and self._request(call).began_s <= grant.at_s <= call.at_s

    def _request(self, call: Call) -> ServedRequest:
        return self._served[call.worker, call.number]


def _max_concurrent(calls: Iterable[Call]) -> int:
    """Returns the largest number of calls in progress at the same time.

    A call that ends exactly when another one begins counts as concurrent with it.
    """
    events = sorted(event for call in calls for event in ((call.at_s, 0), (call.until_s, 1)))
    current, maximum = 0, 0
    for _, is_end in events:
        current += -1 if is_end else 1
        maximum = max(maximum, current)
    return maximum

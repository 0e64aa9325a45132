"""What a race of many instances over one circuit breaker came to: told by what the provider and the table really saw.

Everything is on one machine, so all times are of one monotonic clock, in seconds.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

CLOSED = "closed"
SNAPSHOT_S = 1.0
"""How long an instance may go by what it last read."""

SLACK_S = 0.25
"""What scheduling may add to a time between two things that another process notices."""

_OK = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the provider served it, for one worker's request of that number."""

    worker: int
    number: int
    at_s: float
    until_s: float
    failed: bool


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """One request as its worker served it, by some provider or none."""

    worker: int
    number: int
    began_s: float
    ended_s: float
    status: int
    provider: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a worker asked of the table, when it took effect, and the breaker as it then was.

    `epoch_asked` is the epoch that a write was decided by; one that was not `done` was refused for it, or for a lease.
    """

    at_s: float
    worker: int
    kind: Literal["read", "add", "change"]
    done: bool
    epoch_asked: int
    state: str
    epoch: int
    failures: int
    token: str


@dataclass(frozen=True, slots=True)
class Record:
    """A whole race; `calls` are those of the provider that fails and recovers. `gave_up` counts the times that an
    instance found the table too slow, and went on by itself.
    """

    calls: Sequence[Call]
    served: Sequence[AttemptResult]
    exchanges: Sequence[Exchange]
    failing_from_s: float
    recovered_at_s: float
    gave_up: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """The figures. `early_strays` are calls without a lease while the breaker was not closed, by requests that began
    while a snapshot from before could still be trusted; `late_strays` are by later ones.
    """

    requests: int
    unanswered: int
    slowest_s: float
    openings: int
    early_strays: int
    last_stray_s: float
    late_strays: int
    probes_failed: int
    probes_answered: int
    probes_at_once: int
    leases_taken_over: int
    failures_counted: int
    failures_late: int
    failures_lost: int
    healthy_requests: int
    healthy_reads: int
    healthy_writes: int
    between_reads_s: float
    until_closed_s: float
    probes_until_closed: int
    gave_up: int

    def broken(self) -> list[str]:
        """What must not be, and was."""
        faults = {
            f"{self.unanswered} requests were not answered": self.unanswered > 0,
            "the breaker never opened": self.openings == 0,
            "the breaker was not closed after the recovery": math.isinf(self.until_closed_s),
            f"{self.late_strays} calls reached the provider by an outdated snapshot": self.late_strays > 0,
            f"{self.probes_at_once} probes were under way at the same time": self.probes_at_once > 1,
            f"{self.leases_taken_over} leases were taken while somebody had one": self.leases_taken_over > 0,
            f"{self.failures_lost} failures were lost": self.failures_lost > 0,
            f"{self.healthy_writes} writes while nothing was wrong": self.healthy_writes > 0,
            f"a process read twice in {self.between_reads_s:.2f} s": self.between_reads_s < SNAPSHOT_S - SLACK_S,
        }
        return [fault for fault, is_so in faults.items() if is_so]


def findings(record: Record) -> Findings:
    """The figures of a race."""
    course = _Course(record)
    late = [stray.call for stray in course.strays if stray.is_late]
    fates = [course.fate(call) for call in record.calls if call.failed]
    closed_at_s = course.closed_after(record.recovered_at_s)
    healthy = [exchange for served in course.healthy for exchange in course.exchanges_of(served)]
    return Findings(
        requests=len(record.served),
        unanswered=sum(served.status != _OK for served in record.served),
        slowest_s=max(served.ended_s - served.began_s for served in record.served),
        openings=len(course.spans),
        early_strays=len(course.strays) - len(late),
        last_stray_s=max((stray.after_s for stray in course.strays), default=0.0),
        late_strays=len(late),
        probes_failed=sum(call.failed for call in course.probes),
        probes_answered=sum(not call.failed for call in course.probes),
        probes_at_once=_most_at_once([*course.probes, *late]),
        leases_taken_over=sum(before.token != "" and after.token != "" for before, after in pairwise(course.turns)),
        failures_counted=fates.count("counted"),
        failures_late=fates.count("late"),
        failures_lost=fates.count("lost") + course.miscounted,
        healthy_requests=len(course.healthy),
        healthy_reads=sum(exchange.kind == "read" for exchange in healthy),
        healthy_writes=sum(exchange.kind != "read" for exchange in healthy),
        between_reads_s=min(course.between_reads_s, default=math.inf),
        until_closed_s=closed_at_s - record.recovered_at_s,
        probes_until_closed=sum(record.recovered_at_s < call.at_s < closed_at_s for call in course.probes),
        gave_up=record.gave_up,
    )


@dataclass(frozen=True, slots=True)
class _Stray:
    """A call without a lease: how long after the breaker had opened it was made, and its request began."""

    call: Call
    after_s: float
    asked_after_s: float

    @property
    def is_late(self) -> bool:
        """Whether no snapshot from before the opening could be trusted any more."""
        return self.asked_after_s > SNAPSHOT_S + SLACK_S


class _Course:
    """A race put in order: which turns the breaker took, and which call was what."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._served = {(served.worker, served.number): served for served in record.served}

    @cached_property
    def turns(self) -> list[Exchange]:
        """The writes that began a new epoch."""
        turns: list[Exchange] = []
        for exchange in self._writes:
            if exchange.epoch != (turns[-1].epoch if turns else 0):
                turns.append(exchange)
        return turns

    @cached_property
    def spans(self) -> list[tuple[float, float]]:
        """From when to when the breaker was not closed."""
        spans: list[tuple[float, float]] = []
        opened_at_s: float | None = None
        for turn in self.turns:
            if turn.state == CLOSED and opened_at_s is not None:
                spans.append((opened_at_s, turn.at_s))
                opened_at_s = None
            elif turn.state != CLOSED and opened_at_s is None:
                opened_at_s = turn.at_s
        return spans if opened_at_s is None else [*spans, (opened_at_s, math.inf)]

    @cached_property
    def probes(self) -> list[Call]:
        """The calls whose request had taken the lease."""
        grants = [turn for turn in self.turns if turn.token]
        return [call for call in self._record.calls if any(self._is_within(grant, call) for grant in grants)]

    @cached_property
    def strays(self) -> list[_Stray]:
        """The calls without a lease while the breaker was not closed."""
        return [
            _Stray(call, call.at_s - opened_at_s, self._request(call).began_s - opened_at_s)
            for call in self._record.calls
            for opened_at_s, closed_at_s in self.spans
            if opened_at_s < call.at_s < closed_at_s and call not in self.probes
        ]

    @cached_property
    def healthy(self) -> list[AttemptResult]:
        """The requests of the time before the failures, and of that in which everybody knew that they were over."""
        known_s = self.closed_after(self._record.recovered_at_s) + SNAPSHOT_S + SLACK_S
        failing_s = self._record.failing_from_s
        return [served for served in self._record.served if served.ended_s < failing_s or served.began_s > known_s]

    @property
    def between_reads_s(self) -> Iterator[float]:
        """How long each process let pass between two reads."""
        last_s: dict[int, float] = {}
        for exchange in self._record.exchanges:
            if exchange.kind == "read":
                if exchange.worker in last_s:
                    yield exchange.at_s - last_s[exchange.worker]
                last_s[exchange.worker] = exchange.at_s

    @property
    def miscounted(self) -> int:
        """How many additions did not make the count one more than it was."""
        counts = pairwise([0, *(write.failures for write in self._writes)])
        both = zip(self._writes, counts, strict=True)
        return sum(write.kind == "add" and after != before + 1 for write, (before, after) in both)

    def closed_after(self, moment_s: float) -> float:
        """When the breaker was closed for the last time; infinitely late where that was before the moment, or is yet to
        be.
        """
        closed_at_s = self.spans[-1][1] if self.spans else math.inf
        return closed_at_s if closed_at_s > moment_s else math.inf

    def fate(self, call: Call) -> Literal["counted", "late", "lost"]:
        """What became of a failure that the provider served."""
        kind = "change" if call in self.probes else "add"
        for exchange in self.exchanges_of(self._request(call)):
            if exchange.kind == kind and exchange.at_s >= call.until_s:
                if exchange.done:
                    return "counted"
                return "late" if exchange.epoch != exchange.epoch_asked else "lost"
        return "lost"

    def exchanges_of(self, served: AttemptResult) -> Iterator[Exchange]:
        """What one request asked of the table; a worker serves one at a time."""
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

    def _request(self, call: Call) -> AttemptResult:
        return self._served[call.worker, call.number]


def _most_at_once(calls: Iterable[Call]) -> int:
    """How many were inside of the provider at the same time; where one ends as another begins, both."""
    edges = sorted(edge for call in calls for edge in ((call.at_s, 0), (call.until_s, 1)))
    inside, most = 0, 0
    for _, leaves in edges:
        inside += -1 if leaves else 1
        most = max(most, inside)
    return most

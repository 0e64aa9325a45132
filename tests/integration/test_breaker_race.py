"""One circuit breaker shared by many processes, and the findings about their race."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any, Literal

import pytest

from bridge_bench.breakers import table
from bridge_bench.breakers_findings import CLOSED, Call, Exchange, Findings, RaceRecord, ServedRequest, findings
from bridge_bench.breakers_process import ChildProcess
from bridge_bench.breakers_race import RULES, Race, run

RACE = Race(processes=4, requests=60, seconds=8.0)
OPEN, HALF_OPEN = "open", "half_open"


def raced() -> Findings:
    """Repeats the race if the table was too slow for an instance, which then used only its own breaker."""
    found = findings(run(RACE))
    return findings(run(RACE)) if found.table_unavailable_count else found


def test_racing_processes_respect_the_breakers_rules() -> None:
    found = raced()
    figures = table(RACE, found)
    assert found.violations() == [], figures
    assert found.openings == 1, figures
    assert found.failures_counted >= RULES["failure_threshold"], figures
    assert found.probes_failed >= 1, figures
    assert found.probes_until_closed == RULES["success_threshold"], figures
    assert found.healthy_requests > 0, figures


def call(worker: int, number: int, at_s: float, *, failed: bool = False) -> Call:
    return Call(worker, number, at_s, at_s + 0.02, failed)


def served(worker: int, number: int, began_s: float, *, status: int = 200) -> ServedRequest:
    return ServedRequest(worker, number, began_s, began_s + 0.1, status, "first")


def asked(
    at_s: float, worker: int, kind: Literal["read", "add", "change"], *breaker: Any, done: bool = True
) -> Exchange:
    """Returns an exchange. `breaker` has the requested epoch, then the breaker's state, epoch, failures and lease."""
    expected_epoch, state, epoch, failures, token = breaker or (0, CLOSED, 0, 0, "")
    return Exchange(at_s, worker, kind, done, expected_epoch, state, epoch, failures, token)


# One failure opens it; worker 2 has an old snapshot and fails too late; a probe fails; after the recovery two succeed.
GOOD = RaceRecord(
    calls=[
        call(1, 0, 1.01),
        call(1, 1, 10.01, failed=True),
        call(2, 0, 10.91, failed=True),
        call(1, 2, 12.11, failed=True),
        call(2, 1, 14.11),
        call(1, 3, 14.31),
        call(1, 4, 17.01),
    ],
    served=[
        served(1, 0, 1.0),
        served(1, 1, 10.0),
        served(2, 0, 10.9),
        served(1, 2, 12.1),
        served(2, 1, 14.1),
        served(1, 3, 14.3),
        served(1, 4, 17.0),
    ],
    exchanges=[
        asked(1.001, 1, "read"),
        asked(10.04, 1, "add", 0, CLOSED, 0, 1, ""),
        asked(10.05, 1, "change", 0, OPEN, 1, 1, ""),
        asked(10.94, 2, "add", 0, OPEN, 1, 1, "", done=False),
        asked(12.102, 1, "change", 1, HALF_OPEN, 2, 1, "a"),
        asked(12.14, 1, "change", 2, OPEN, 3, 2, ""),
        asked(14.102, 2, "change", 3, HALF_OPEN, 4, 2, "b"),
        asked(14.14, 2, "change", 4, HALF_OPEN, 5, 2, ""),
        asked(14.302, 1, "change", 5, HALF_OPEN, 6, 2, "c"),
        asked(14.34, 1, "change", 6, CLOSED, 7, 0, ""),
        asked(17.001, 1, "read"),
    ],
    failing_from_s=9.0,
    recovered_at_s=13.0,
)


def test_the_findings_of_a_good_race() -> None:
    found = findings(GOOD)
    assert found.violations() == []
    assert (found.requests, found.openings, found.early_unleased_calls) == (7, 1, 1)
    assert (found.failures_counted, found.failures_late, found.failures_lost) == (2, 1, 0)
    assert (found.probes_failed, found.probes_answered, found.probes_until_closed) == (1, 2, 2)
    assert (found.healthy_requests, found.healthy_reads) == (2, 2)
    assert found.last_unleased_call_s == pytest.approx(0.86)
    assert found.time_to_close_s == pytest.approx(1.34)
    assert found.min_read_interval_s == pytest.approx(16.0)


def without(at_s: float) -> RaceRecord:
    return replace(GOOD, exchanges=[one for one in GOOD.exchanges if one.at_s != at_s])


def instead(at_s: float, **changed: Any) -> RaceRecord:
    exchanges = [replace(one, **changed) if one.at_s == at_s else one for one in GOOD.exchanges]
    return replace(GOOD, exchanges=exchanges)


def besides(*exchanges: Exchange) -> RaceRecord:
    return replace(GOOD, exchanges=sorted([*GOOD.exchanges, *exchanges], key=lambda one: one.at_s))


def with_call(one: Call, began_s: float) -> RaceRecord:
    request = served(one.worker, one.number, began_s)
    return replace(GOOD, calls=[*GOOD.calls, one], served=[*GOOD.served, request])


BAD = {
    "a request without an answer": (replace(GOOD, served=[*GOOD.served, served(3, 0, 1, status=503)]), "not answered"),
    "a breaker that never opens": (replace(GOOD, exchanges=[asked(1.001, 1, "read")]), "never opened"),
    "a breaker that stays open": (without(14.34), "not closed"),
    "a call by an old snapshot": (with_call(call(3, 0, 11.5), 11.4), "outdated snapshot"),
    "a call without a lease during a probe": (with_call(call(3, 0, 14.12), 14.0), "2 probes"),
    "a lease that was not released": (without(14.14), "1 leases"),
    "a failure that was not reported": (without(10.94), "1 failures were lost"),
    "a failure of this epoch that was refused": (instead(10.94, epoch=0), "1 failures were lost"),
    "a failed probe that was not reported": (without(12.14), "1 failures were lost"),
    "a failure that was overwritten": (instead(10.04, failures=0), "1 failures were lost"),
    "a write while nothing was wrong": (besides(asked(17.05, 1, "change", 7, CLOSED, 7, 0, "")), "1 writes"),
    "two reads at once": (besides(asked(17.05, 1, "read")), "read twice in 0.05 s"),
}


@pytest.mark.parametrize(("record", "fault"), BAD.values(), ids=BAD)
def test_the_findings_report_every_broken_rule(record: RaceRecord, fault: str) -> None:
    assert any(fault in fault_text for fault_text in findings(record).violations())


def test_a_breaker_that_stays_open_has_no_time_until_it_closed() -> None:
    found = findings(without(14.34))
    assert math.isinf(found.time_to_close_s)
    assert "never" in table(RACE, found)


STARTER = """
import os, time
from bridge_bench.breakers_process import ChildProcess
provider, dynamodb, idle, busy = [
    ChildProcess(f"bridge_bench.breakers_{name}", os.environ) for name in ("provider", "table", "worker", "worker")
]
provider.receive(), dynamodb.receive(), idle.ask(0), busy.ask(1)
busy.send([time.monotonic(), 10**9, 0.01, 1e12, 1e12])
print("up", flush=True)
time.sleep(60)
"""


def test_every_process_ends_when_its_parent_is_killed() -> None:
    env = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        starter.kill()
        starter.communicate(timeout=10)  # returns when all processes with its stderr have ended


def test_a_process_that_fails_ends_the_race() -> None:
    with (
        ChildProcess("bridge_bench.no_such_module", {}) as missing,
        pytest.raises(SystemExit, match="no_such_module ended"),
    ):
        missing.receive()

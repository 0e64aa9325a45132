"""Runs the race: starts the processes, makes the provider fail and recover, and collects the records."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge_bench.breakers_findings import Call, Exchange, RaceRecord, ServedRequest
from bridge_bench.breakers_process import ChildProcess

FIRST, SECOND = "first", "second"
WORKER = "worker-"
"""The prefix of a worker's access key id; the worker's number follows. The table identifies the worker by it."""

RULES = {"failure_threshold": 5, "timeout_secs": 2, "success_threshold": 2}
_FAILS_AT, _RECOVERS_AT = 1 / 6, 0.55
"""When the provider fails and recovers, as fractions of the race's duration."""

_PAUSE_BEFORE_FAILURE_S = 0.1
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.5, 2.2
_START_DELAY_S = 0.3
_EXTRA_TIME_S = 60.0  # added to the race's duration for the start of the processes and delays on a busy machine
_REGION = "us-east-1"
_REMOVED_VARIABLES = (
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"),
    *("CHROMA_TOKEN", "CHROMA_URL", "POWERTOOLS_DEV", "POWERTOOLS_LOG_LEVEL"),
)


@dataclass(frozen=True, slots=True)
class Race:
    """The size of a race: processes, requests per process, and its duration in seconds."""

    processes: int = 8
    requests: int = 200
    seconds: float = 20.0


def run(race: Race) -> RaceRecord:
    """Runs a race and returns its record. Raises SystemExit if a process fails or takes much too long."""
    with _child_processes(race) as (provider, table, workers):
        begin_s = time.monotonic() + _START_DELAY_S
        fails_at_s = begin_s + _FAILS_AT * race.seconds
        for worker, pause_s in zip(workers, _pauses_s(race.processes), strict=True):
            schedule = [begin_s, race.requests, race.seconds / race.requests]
            worker.send([*schedule, fails_at_s - _PAUSE_BEFORE_FAILURE_S, fails_at_s + pause_s])
        failing_from_s = _send_at(fails_at_s, provider, "fail")
        recovered_at_s = _send_at(begin_s + _RECOVERS_AT * race.seconds, provider, "recover")
        served, table_unavailable_count = zip(*(worker.receive() for worker in workers), strict=True)
        return RaceRecord(
            calls=[Call(*row) for row in provider.ask("calls") if row[2] >= begin_s],
            served=[ServedRequest(*row) for rows in served for row in rows],
            exchanges=[Exchange(*row) for row in table.ask("exchanges") if row[0] >= begin_s],
            failing_from_s=failing_from_s,
            recovered_at_s=recovered_at_s,
            table_unavailable_count=sum(table_unavailable_count),
        )


def _send_at(moment_s: float, provider: ChildProcess, command: str) -> float:
    time.sleep(max(0.0, moment_s - time.monotonic()))
    return float(provider.ask(command))


def _pauses_s(processes: int) -> list[float]:
    """Returns how long each worker pauses after the first failure.

    Half of the workers do not pause. The others pause for increasing times, so that they continue with snapshots of
    different ages.
    """
    paused = processes // 2
    return [0.0] * (processes - paused) + [
        _MIN_PAUSE_S + (_MAX_PAUSE_S - _MIN_PAUSE_S) * position / max(1, paused - 1) for position in range(paused)
    ]


@contextmanager
def _child_processes(race: Race) -> Iterator[tuple[ChildProcess, ChildProcess, list[ChildProcess]]]:
    """Starts the provider, the table and the workers. Yields them when all of them are ready."""
    with ExitStack() as stack:
        started: list[ChildProcess] = []

        def start(module: str, env: Mapping[str, str]) -> ChildProcess:
            started.append(stack.enter_context(ChildProcess(f"bridge_bench.{module}", env)))
            return started[-1]

        stack.enter_context(_kill_after(race.seconds + _EXTRA_TIME_S, started))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider, table = start("breakers_provider", os.environ), start("breakers_table", os.environ)
        env = _environment(folder, provider.receive(), *table.receive())
        keys = [{"AWS_ACCESS_KEY_ID": f"{WORKER}{number}"} for number in range(race.processes)]
        workers = [start("breakers_worker", {**env, **key}) for key in keys]
        for number, worker in enumerate(workers):
            worker.send(number)
        for worker in workers:
            worker.receive()
        yield provider, table, workers


@contextmanager
def _kill_after(seconds: float, children: Sequence[ChildProcess]) -> Iterator[None]:
    """Kills the children after `seconds`, unless the context ends before."""

    def kill() -> None:
        for child in children:
            child.end()

    watchdog = threading.Timer(seconds, kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _environment(folder: Path, port: int, table_url: str, table: str) -> dict[str, str]:
    """Returns a function's environment variables, and writes its configuration into `folder`."""
    file = folder / "llm_providers.yaml"
    file.write_text(json.dumps(_configuration(port)), encoding="utf-8")
    return {
        **{name: value for name, value in os.environ.items() if name not in _REMOVED_VARIABLES},
        "AWS_ENDPOINT_URL_DYNAMODB": f"{table_url}/",
        "AWS_REGION": _REGION,
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "STATE_TABLE": table,
        "LLM_CONFIG_PATH": str(file),
        "POWERTOOLS_SERVICE_NAME": "sekha-llm-bridge",
    }


def _configuration(port: int) -> dict[str, Any]:
    """Returns a configuration with two providers. The one that will fail has the higher priority."""
    providers = [
        {
            "id": name,
            "provider_type": "openai",
            "priority": priority,
            "base_url": f"http://127.0.0.1:{port}/{name}/v1",
            "api_key": "not-a-key",
            "models": [
                {
                    "model_id": name,
                    "task": "chat_small",
                    "context_window": 8192,
                    "pricing": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2},
                }
            ],
        }
        for priority, name in enumerate((FIRST, SECOND), start=1)
    ]
    return {"providers": providers, "routing": {"circuit_breaker": RULES}}

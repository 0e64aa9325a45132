"""The race itself: real processes over one table and one provider that fails and recovers, steered from here."""

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

from bridge_bench.breakers_findings import AttemptResult, Call, Exchange, Record
from bridge_bench.breakers_process import Companion

FIRST, SECOND = "first", "second"
WORKER = "worker-"
"""How the id of a worker's access key begins, by which the table knows who asks; its number follows."""

RULES = {"failure_threshold": 5, "timeout_secs": 2, "success_threshold": 2}
_HEALTHY, _FAILING = 1 / 6, 0.55
"""When the provider fails and when it recovers: parts of the whole race."""

_LAST_LOOK_S = 0.1
_SHORTEST_REST_S, _LONGEST_REST_S = 0.5, 2.2
_HEAD_START_S = 0.3
_PATIENCE_S = 60.0  # beyond the race's own time: to start everything, and to get over a busy machine
_REGION = "us-east-1"
_NOT_TAKEN_OVER = (
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"),
    *("CHROMA_TOKEN", "CHROMA_URL", "POWERTOOLS_DEV", "POWERTOOLS_LOG_LEVEL"),
)


@dataclass(frozen=True, slots=True)
class Race:
    """So many processes with so many requests each, spread over so many seconds."""

    processes: int = 8
    requests: int = 200
    seconds: float = 20.0


def run(race: Race) -> Record:
    """Runs it. Raises SystemExit when one of the processes fails, or takes much too long."""
    with _companions(race) as (provider, table, workers):
        begins_s = time.monotonic() + _HEAD_START_S
        fails_at_s = begins_s + _HEALTHY * race.seconds
        for worker, rest_s in zip(workers, _rests_s(race.processes), strict=True):
            shift = [begins_s, race.requests, race.seconds / race.requests]
            worker.tell([*shift, fails_at_s - _LAST_LOOK_S, fails_at_s + rest_s])
        failing_from_s = _at(fails_at_s, provider, "fail")
        recovered_at_s = _at(begins_s + _FAILING * race.seconds, provider, "recover")
        served, gave_up = zip(*(worker.hear() for worker in workers), strict=True)
        return Record(
            calls=[Call(*row) for row in provider.ask("calls") if row[2] >= begins_s],
            served=[AttemptResult(*row) for rows in served for row in rows],
            exchanges=[Exchange(*row) for row in table.ask("exchanges") if row[0] >= begins_s],
            failing_from_s=failing_from_s,
            recovered_at_s=recovered_at_s,
            gave_up=sum(gave_up),
        )


def _at(moment_s: float, provider: Companion, order: str) -> float:
    time.sleep(max(0.0, moment_s - time.monotonic()))
    return float(provider.ask(order))


def _rests_s(processes: int) -> list[float]:
    """How long after the first failure each worker sees nothing of it: half of them not at all, the others ever longer,
    so that they come back with snapshots of every age.
    """
    resting = processes // 2
    return [0.0] * (processes - resting) + [
        _SHORTEST_REST_S + (_LONGEST_REST_S - _SHORTEST_REST_S) * position / max(1, resting - 1)
        for position in range(resting)
    ]


@contextmanager
def _companions(race: Race) -> Iterator[tuple[Companion, Companion, list[Companion]]]:
    """The provider, the table, and the workers when all of them are ready."""
    with ExitStack() as stack:
        started: list[Companion] = []

        def start(module: str, env: Mapping[str, str]) -> Companion:
            started.append(stack.enter_context(Companion(f"bridge_bench.{module}", env)))
            return started[-1]

        stack.enter_context(_ended_after(race.seconds + _PATIENCE_S, started))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider, table = start("breakers_provider", os.environ), start("breakers_table", os.environ)
        env = _environment(folder, provider.hear(), *table.hear())
        keys = [{"AWS_ACCESS_KEY_ID": f"{WORKER}{number}"} for number in range(race.processes)]
        workers = [start("breakers_worker", {**env, **key}) for key in keys]
        for number, worker in enumerate(workers):
            worker.tell(number)
        for worker in workers:
            worker.hear()
        yield provider, table, workers


@contextmanager
def _ended_after(seconds: float, companions: Sequence[Companion]) -> Iterator[None]:
    """Nobody waits for one of them for ever."""

    def end() -> None:
        for companion in companions:
            companion.end()

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _environment(folder: Path, port: int, table_url: str, table: str) -> dict[str, str]:
    """A function's own, for the configuration that is written into the folder."""
    file = folder / "llm_providers.yaml"
    file.write_text(json.dumps(_configuration(port)), encoding="utf-8")
    return {
        **{name: value for name, value in os.environ.items() if name not in _NOT_TAKEN_OVER},
        "AWS_ENDPOINT_URL_DYNAMODB": f"{table_url}/",
        "AWS_REGION": _REGION,
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "STATE_TABLE": table,
        "LLM_CONFIG_PATH": str(file),
        "POWERTOOLS_SERVICE_NAME": "sekha-llm-bridge",
    }


def _configuration(port: int) -> dict[str, Any]:
    """The provider that will fail comes first."""
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

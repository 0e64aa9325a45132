"""The peak memory of functions for large requests, and what a share of a processor means for their times."""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bridge_bench.chroma_process import chroma_process
from bridge_bench.deployment import local_deployment
from bridge_bench.memory_requests import REQUESTS
from bridge_bench.provider_process import fast_provider
from bridge_bench.vectors_provider import DIMENSION, vectors_provider

_MB_OF_ONE_PROCESSOR = 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_SIZES_MB = (128, 256, 512, 1024)
_MARGIN = 1.5
_NAME_WIDTH, _CELL_WIDTH = 36, 9


def main(arguments: Sequence[str]) -> None:
    """The peak memory of functions for large requests, and their times with a share of a processor."""
    parser = argparse.ArgumentParser(prog="infra/bench/run memory", description=main.__doc__)
    parser.add_argument("--function", action="append", help="measure only requests of this one; may be repeated")
    functions = parser.parse_args(arguments).function
    names = [name for name, request in REQUESTS.items() if not functions or request.function in functions]
    print(
        "".ljust(_NAME_WIDTH + 2 * _CELL_WIDTH) + "init, ms with MB of".ljust(4 * _CELL_WIDTH) + "call, ms with MB of"
    )
    print(_cells("", ["peak MB", "fits MB", *map(str, 2 * _SIZES_MB)]))
    with tempfile.TemporaryDirectory() as place, fast_provider(None) as chats, vectors_provider() as vectors:
        folder = Path(place)
        with chroma_process(folder / "chroma") as chroma, local_deployment(chats, None) as deployment:
            file = folder / "llm_providers.yaml"
            file.write_text(_configuration(chats, vectors, chroma), encoding="utf-8")
            deployment = replace(deployment, env={**deployment.env, "LLM_CONFIG_PATH": str(file)})
            deployment.run_module(
                "bridge_bench.memory_process", names[0]
            )  # compiles the modules, as the layer has them
            for name in names:
                found = json.loads(deployment.run_module("bridge_bench.memory_process", name))
                print(_row(name, found["peak_mb"], found["init_cpu_ms"], found["call_cpu_ms"]), flush=True)
    print(
        f"\nfits: with half of the peak as a margin. A function with less than {_MB_OF_ONE_PROCESSOR} MB has a share of"
    )
    print("a processor; the times are those of the processor alone. Without waiting, they are what a caller waits for.")


def share(memory_mb: int) -> float:
    """Returns the part of a virtual processor that a function of this size has."""
    return min(1.0, memory_mb / _MB_OF_ONE_PROCESSOR)


def _row(name: str, peak_mb: float, init_cpu_ms: float, call_cpu_ms: float) -> str:
    fits_mb = next((size for size in _SIZES_MB if size >= peak_mb * _MARGIN), 2 * _SIZES_MB[-1])
    times = [f"{ms / share(size):.0f}" for ms in (init_cpu_ms, call_cpu_ms) for size in _SIZES_MB]
    return _cells(name, [f"{math.ceil(peak_mb)}", f"{fits_mb}", *times])


def _cells(name: str, cells: Sequence[str]) -> str:
    return name.ljust(_NAME_WIDTH) + "".join(cell.rjust(_CELL_WIDTH) for cell in cells)


def _configuration(chats: int, vectors: int, chroma: str) -> str:
    chat = {"task": "chat_small", "context_window": 10_000_000, "supports_vision": True}
    embedding = {"model_id": "m", "task": "embedding", "context_window": 8192, "dimension": DIMENSION}
    rows = [
        {"id": "chats", "base_url": f"http://127.0.0.1:{chats}/v1", "models": [{**chat, "model_id": "c"}]},
        {"id": "vectors", "base_url": f"http://127.0.0.1:{vectors}/v1", "models": [embedding]},
    ]
    providers = [{"provider_type": "litellm", **row} for row in rows]
    default_models = {"embedding": "m", "chat_fast": "c", "chat_smart": "c", "chat_vision": "c"}
    routing = {"max_cost_per_request": None}
    return json.dumps(
        {"providers": providers, "default_models": default_models, "chroma": {"url": chroma}, "routing": routing}
    )

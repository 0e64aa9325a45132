"""How fast the built functions start, beside an empty function of FastAPI and Mangum in the same run.

The benchmark `infra/bench/run start` prints the figures. A shared machine disturbs every measurement upwards only, so
the lowest CPU time of several starts is compared, and a ratio above the limit is measured again before it counts.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge_bench.start import Start, first_floor, functions, measure
from tests.template.built import Build
from tests.template.cloudformation import ROOT

# The chat function takes 1.26 times the instructions of the floor; it took 1.68 times as many before decision 0046. By
# the lowest CPU times it is about 1.31, and was 1.46 on a machine with four processes for each core.
MAX_RATIO = 1.5
MIN_PAIRS, MAX_PAIRS = 3, 16
CHATS = ("chat_completions", "messages", "responses", "ollama")

NEVER_AT_START = ("yaml", "httpx", "boto3", "chromadb", "cryptography", "tiktoken")
# What the authorizer starts without: each chat that starts a function waits for an authorizer that starts.
NEVER_IN_THE_AUTHORIZER = ("fastapi", "starlette", "mangum", "pydantic", "aws_lambda_powertools", *NEVER_AT_START)


@pytest.fixture(scope="module")
def floor(built_here: Build, tmp_path_factory: pytest.TempPathFactory) -> Start:
    return first_floor(built_here.layer("BridgeLayer"), tmp_path_factory.mktemp("floor") / "packages")


@pytest.fixture(scope="module")
def started(
    built_here: Build, runtime: Path, lambda_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Start]:
    layer = tmp_path_factory.mktemp("layers") / "bridge"
    compiled = layer.parent / "runtime"
    shutil.copytree(runtime / "jmespath", compiled / "jmespath")
    subprocess.run([lambda_python, "-m", "compileall", "-q", compiled], check=True)
    shutil.copytree(built_here.layer("BridgeLayer"), layer, copy_function=os.link)
    chroma = built_here.layer("ChromaLayer")
    return {start.name: start for start in functions(ROOT, {"bridge": layer, "chroma": chroma}, compiled, port=1)}


def cpu_ms(start: Start) -> float:
    return measure(start, core=None, requests=0)["init_cpu"]


def modules_after_start(start: Start, python: Path) -> set[str]:
    folders = [str(path) for path in start.paths]
    program = f"import json, sys; sys.path[:0] = {folders!r}; import app; print(json.dumps(list(sys.modules)))"
    env = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", **start.env}
    command: list[str | Path] = [python, "-I", "-S", "-B", "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("function", CHATS)
def test_a_function_that_chats_starts_in_a_fixed_ratio_to_an_empty_one(
    function: str, floor: Start, started: Mapping[str, Start]
) -> None:
    lowest_floor, lowest = float("inf"), float("inf")
    for pair in range(1, MAX_PAIRS + 1):
        lowest_floor = min(lowest_floor, cpu_ms(floor))
        lowest = min(lowest, cpu_ms(started[function]))
        if pair >= MIN_PAIRS and lowest < MAX_RATIO * lowest_floor:
            return
    pytest.fail(f"{lowest:.0f} ms of CPU time are more than {MAX_RATIO} times the floor, {lowest_floor:.0f} ms")


@pytest.mark.parametrize("function", [*CHATS, "embeddings", "models", "route", "authorizer", "usage_records"])
def test_a_function_starts_without_packages_that_few_requests_need(
    function: str, started: Mapping[str, Start], lambda_python: Path
) -> None:
    assert modules_after_start(started[function], lambda_python) & {*NEVER_AT_START} == set()


def test_the_authorizer_starts_without_a_framework(started: Mapping[str, Start], lambda_python: Path) -> None:
    assert modules_after_start(started["authorizer"], lambda_python) & {*NEVER_IN_THE_AUTHORIZER} == set()

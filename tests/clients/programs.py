"""Runs the program of a library in its environment, and says what must come of its calls."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import environment
from tests.clients.libraries import Program
from tests.clients.stack import EMBEDDING_MODEL, CallersStack
from tests.fakes import assistant

NODE = Path(__file__).parent / "node"
MIN_NODE = 20
PROGRAM_LIMIT_S = 300
CHAT_MODEL = "auto"
_CANCEL_LIMIT_S = 10
# Nothing leaves the machine: no usage reports, and no prices from the network.
_NO_REPORTS = {"DO_NOT_TRACK": "1", "AI_SDK_LOG_WARNINGS": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

_COMPARED = "21 degrees in Oslo; 21 degrees in Bergen; 21 degrees in Tromsø"
EXPECTED: Mapping[str, Mapping[str, object]] = {
    "chat": {"text": assistant.TEXT},
    "stream": {"text": assistant.TEXT, "is_in_pieces": True},
    "cut": {"is_error": True},
    "leave": {"has_begun": True, "is_cancelled": True},
    "tools": {"text": assistant.WEATHER},
    "turns": {"text": _COMPARED},
    "runner": {"text": _COMPARED},
    "again": {"text": assistant.TEXT},
    "structured": assistant.PERSON,
    "embeddings": {"vectors": 2, "dimensions": [8]},
    "generate": {"whole": assistant.TEXT, "streamed": assistant.TEXT},
    "count": {"is_counted": True},
    "models": {"is_listed": True, "can": ["completion", "tools"]},
    "error": {"is_explained": True},
    "health": {"status": "healthy", "has_models": True},
}
"""What must come of each call where the provider is `tests/fakes/assistant.py`."""
_KINDS = {
    "invalid": "BadRequestError 400",
    "expensive": "PaymentRequiredError 402",
    "limited": "RateLimitError 429, Retry-After",
    "broken": "InternalServerError 502",
}
_KINDS_OF_OLLAMA = {
    "invalid": "ResponseError 400",
    "expensive": "ResponseError 402",
    "limited": "ResponseError 429",
    "broken": "ResponseError 502",
}
EXPECTED_OF_PROGRAM: Mapping[tuple[str, str], Mapping[str, object]] = {
    # It streams the objects of structured output only.
    ("instructor_python", "stream"): {**assistant.PERSON, "is_in_pieces": True},
    ("anthropic_python", "errors"): _KINDS,
    ("anthropic_python@client-libraries", "errors"): {**_KINDS, "expensive": "APIStatusError 402"},  # an older version
    ("anthropic.mjs", "errors"): _KINDS,
    ("openai_responses", "errors"): {**_KINDS, "expensive": "APIStatusError 402"},
    ("openai_responses.mjs", "errors"): {**_KINDS, "expensive": "APIError 402"},
    ("ollama_python", "errors"): _KINDS_OF_OLLAMA,
    ("ollama.mjs", "errors"): _KINDS_OF_OLLAMA,
    ("sekha_sdk", "chat"): {"text": assistant.TEXT, "is_counted": True},
    ("sekha_sdk", "embed"): {"vectors": 2, "dimensions": [8], "dimension": 8, "is_counted": True},
    ("sekha_sdk", "error"): {"is_explained": True, "status": 404},
}


class NodeMissingError(Exception):
    """The npm libraries cannot be run on this machine."""


def expected(program: Program, call: str) -> Mapping[str, object]:
    """Returns what must come of a call, or of `call@model`."""
    name, own = call.partition("@")[0], program.library.program
    found = EXPECTED_OF_PROGRAM.get((f"{own}@{program.environment}", name)) or EXPECTED_OF_PROGRAM.get((own, name))
    return found or EXPECTED[name]


def run_with_assistant(program: Program, callers: CallersStack) -> dict[str, Any]:
    """Makes the calls of a program, and returns what came of each; of `leave` also what the provider noticed."""
    calls = program.library.calls_with_models()
    outcomes = run(program, callers.address, embedding_model=EMBEDDING_MODEL, calls=calls)
    if "leave" in outcomes:
        outcomes["leave"]["is_cancelled"] = callers.upstream.last_waiting.wait(_CANCEL_LIMIT_S)
    return outcomes


def run(program: Program, address: str, *, embedding_model: str, calls: Sequence[str]) -> dict[str, Any]:
    """Makes the calls, and returns what came of each. The chat model is `auto`.

    Raises NodeMissingError where there is no Node.js for a library of npm.
    """
    command: list[str | Path] = []
    if program.environment == "npm":
        command += [_node(), install_npm_libraries() / program.library.program]
    else:
        command += [_python(program.environment), "-m", f"tests.clients.calls.{program.library.program}"]
    return _outcomes([*command, address, CHAT_MODEL, embedding_model, *calls])


def _outcomes(command: list[str | Path]) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": str(environment.ROOT), **_NO_REPORTS}
    done = subprocess.run(
        command, cwd=environment.ROOT, env=env, capture_output=True, text=True, check=False, timeout=PROGRAM_LIMIT_S
    )
    if done.returncode != 0:
        raise AssertionError(f"{command[1:3]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    outcomes: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["outcomes"]
    return outcomes


def _python(name: str) -> Path:
    if name == "bridge":
        return Path(sys.executable)
    return environment.make(name, environment.find_python()) / "bin" / "python"


def install_npm_libraries() -> Path:
    """Installs the locked npm libraries if they are missing or outdated. Returns the folder that also has the
    programs, because Node.js looks for packages beside the program."""
    folder = install_npm_packages(NODE, "npm-libraries")
    for program in NODE.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


def install_npm_packages(source: Path, name: str) -> Path:
    """Installs what the `package-lock.json` of the folder `source` has, if it is missing or outdated. No package runs a
    script. Returns the folder with `node_modules`. Raises NodeMissingError.
    """
    _node()
    folder = environment.HOME / "envs" / name
    stamp, lock = folder / "made-from", (source / "package-lock.json").read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != lock:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=folder, check=True)
        stamp.write_text(lock, encoding="utf-8")
    return folder


def _node() -> str:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise NodeMissingError(
            f"node and npm are not on PATH; install Node.js {MIN_NODE} or newer for the npm libraries"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").split(".")[0]) < MIN_NODE:
        raise NodeMissingError(f"node is {version.strip()}; install Node.js {MIN_NODE} or newer for the npm libraries")
    return node


def has_node() -> bool:
    """Returns whether the npm libraries can be run here."""
    try:
        _node()
    except NodeMissingError:
        return False
    return True

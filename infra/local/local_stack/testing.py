"""The local stack for tests: starts it as a user does, in its own process, and ends it afterwards.

with running_stack(config=Path("config/examples/embedded.yaml")) as stack:
    httpx.get(f"{stack.base_url}/api/v1/health")
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from local_stack.stack_file import FOLDER_VARIABLE

_PACKAGE_ROOT = Path(__file__).resolve().parents[1]
_READY = re.compile(r"^ready (\S+) \(", re.MULTILINE)
_END_LIMIT_S = 20.0
# Variables of the shell that would change the stack's behaviour in a test.
_STACK_VARIABLES = frozenset(
    {"LLM_CONFIG_PATH", "CHROMA_URL", "CHROMA_TOKEN", "LOCAL_CHAT_URL", "LOCAL_EMBEDDINGS_URL"}
)


class StackDidNotStartError(Exception):
    """The stack ended, or was not ready in time. The message has its output."""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that is ready. `output`: the file with its output. `state`: the folder with `logs/<function>.log`."""

    base_url: str
    state: Path
    process: subprocess.Popen[bytes]
    output: Path

    def log(self, function: str) -> str:
        """Returns the log of `function` (the name of its folder)."""
        return (self.state / "logs" / f"{function}.log").read_text(encoding="utf-8", errors="replace")

    def printed(self) -> str:
        """Returns the output of the stack."""
        return self.output.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def running_stack(
    *,
    config: Path | None = None,
    template: Path | None = None,
    state: Path | None = None,
    port: int = 0,
    model: bool = False,
    schedules: bool = False,
    on_demand: bool = False,
    auth: bool = False,
    parameters: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    start_limit_s: float = 120.0,
) -> Iterator[RunningStack]:
    """Runs the stack during the context. Port 0 picks a free port. `env` is added to this process's environment. With
    `auth`, requests need API keys; with `on_demand`, each function starts at its first request. `parameters` are those
    of the template.

    Without `state`, its data is in a temporary folder. The command line finds the stack only with the variable
    SEKHA_LOCAL_STACKS set to `state / "stacks"`. Raises StackDidNotStartError.
    """
    with contextlib.ExitStack() as cleanup:
        folder = state or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="local-stack-")))
        folder.mkdir(parents=True, exist_ok=True)
        arguments = command(
            config=config,
            template=template,
            state=folder,
            port=port,
            model=model,
            schedules=schedules,
            on_demand=on_demand,
            auth=auth,
            parameters=parameters or {},
        )
        output = folder / "output.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                arguments,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment_of({FOLDER_VARIABLE: str(folder / "stacks"), **(env or {})}),
            )
        cleanup.callback(end, process)
        yield RunningStack(_when_ready(process, output, start_limit_s), folder, process, output)


def command(
    *,
    config: Path | None = None,
    template: Path | None = None,
    state: Path,
    port: int = 0,
    model: bool = False,
    schedules: bool = False,
    on_demand: bool = False,
    auth: bool = False,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Returns the command line of a stack."""
    flags = {"--port": str(port), "--state": str(state)}
    if config:
        flags["--config"] = str(config)
    if template:
        flags["--template"] = str(template)
    switches = [
        *([] if model else ["--no-model"]),
        *([] if schedules else ["--no-schedules"]),
        *(["--on-demand"] if on_demand else []),
        *(["--auth"] if auth else []),
        *(f"--parameter={name}={value}" for name, value in parameters.items()),
    ]
    pairs = [part for pair in flags.items() for part in pair]
    return [sys.executable, "-m", "local_stack", *pairs, *switches]


def environment_of(added: Mapping[str, str] | None) -> dict[str, str]:
    """Returns this process's environment, without the variables that the stack reads, and with `added`."""
    neutral = {name: value for name, value in os.environ.items() if name not in _STACK_VARIABLES}
    return {**neutral, "PYTHONPATH": str(_PACKAGE_ROOT), **(added or {})}


def end(process: subprocess.Popen[bytes]) -> int:
    """Ends a stack with SIGTERM, and returns its exit status."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _when_ready(process: subprocess.Popen[bytes], output: Path, limit_s: float) -> str:
    """Waits for the line with `ready`. Returns the address in it."""
    pause = threading.Event()
    waited_s = 0.0
    while waited_s < limit_s:
        printed = output.read_text(encoding="utf-8", errors="replace")
        ready = _READY.search(printed)
        if ready:
            return ready[1]
        if process.poll() is not None:
            raise StackDidNotStartError(f"it ended with status {process.returncode}:\n{printed}")
        pause.wait(0.05)
        waited_s += 0.05
    raise StackDidNotStartError(f"it was not ready after {limit_s:.0f} s:\n{printed}")

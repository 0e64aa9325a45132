"""Fixtures that run the real start script as Lambda does, with a handler module that the test writes."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi

WRAPPER = Path(__file__).parents[3] / "layers" / "bridge" / "stream-responses"
UNCLOSED_RESOURCE = re.compile("ResourceWarning|was never (awaited|retrieved)|was destroyed but it is pending")
_PREAMBLE = '''
import asyncio, json, os, sys

async def gate():
    """Waits until the test opens the gate."""
    await asyncio.get_running_loop().run_in_executor(None, os.read, int(os.environ["GATE"]), 1)

async def start(send, status=200, headers=((b"content-type", b"text/plain"),)):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})

async def body(send, data, more=True):
    await send({"type": "http.response.body", "body": data, "more_body": more})

class Wrapped:
    """Callable for Lambda, with an attribute for the ASGI app, like Mangum."""
    def __init__(self, app):
        self.app = app
    def __call__(self, event, context):
        return {"buffered": event}
'''


class Runtime:
    """A runtime process. `open_gate` opens the app's gate once; `log` is what the process has written so far."""

    def __init__(self, folder: Path, api: FakeRuntimeApi) -> None:
        self._folder = folder
        self._api = api
        self._gate, self._open = os.pipe()
        self._log = folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        source: str,
        *,
        handler: str = "app.handler",
        file: str = "app.py",
        wrapper: Path = WRAPPER,
        **environment: str,
    ) -> None:
        path = self._folder / "task" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_PREAMBLE + textwrap.dedent(source))
        self.run([sys.executable, "-m", "awslambdaric", handler], wrapper, _HANDLER=handler, **environment)

    def run(self, command: list[str], wrapper: Path, **environment: str) -> None:
        """Starts the start script with the command of the runtime that it replaces."""
        task = self._folder / "task"
        task.mkdir(exist_ok=True)
        variables = {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "chat",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "GATE": str(self._gate),
            "LAMBDA_TASK_ROOT": str(task),
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "default",  # reports unclosed resources
        } | environment
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(wrapper), *command], cwd=task, env=variables, stdout=log, stderr=log, pass_fds=[self._gate]
            )

    def open_gate(self) -> None:
        os.write(self._open, b".")

    def wait_for_log(self, text: str) -> None:
        """Waits until the log contains `text`."""
        deadline_s = time.monotonic() + 20
        while text not in self.log:
            assert time.monotonic() < deadline_s, f"{text!r} is not in the log: {self.log}"
            time.sleep(0.005)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=20)

    def stop(self) -> None:
        self._api.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._gate)
        os.close(self._open)


@pytest.fixture
def api() -> Iterator[FakeRuntimeApi]:
    with FakeRuntimeApi() as fake:
        yield fake


@pytest.fixture
def runtime(tmp_path: Path, api: FakeRuntimeApi) -> Iterator[Runtime]:
    started = Runtime(tmp_path, api)
    yield started
    ended = started.process is not None and started.process.poll() is not None
    started.stop()
    assert ended or not UNCLOSED_RESOURCE.search(started.log)


@pytest.fixture
def rest_event() -> dict[str, Any]:
    """Returns API Gateway's REST proxy event."""
    return {
        "resource": "/v1/chat",
        "path": "/v1/chat",
        "httpMethod": "POST",
        "headers": {"Host": "api.example.com"},
        "multiValueHeaders": {"Host": ["api.example.com"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"requestId": "gateway", "identity": {"sourceIp": "127.0.0.1"}},
        "body": "{}",
        "isBase64Encoded": False,
    }

"""A minimal Lambda Runtime API for one function process, so that its own time stays negligible."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bridge_bench.deployment import Deployment
from bridge_bench.provider_process import STREAMED_TEXT

_ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT_S = 60.0
_TOKEN, _END = f'"{STREAMED_TEXT}"'.encode(), b"0\r\n\r\n"
_CPU_CLOCK = 2  # Linux's number of the clock of a process's CPU time, beside the process: `clock_getcpuclockid`
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class StreamTiming(NamedTuple):
    """The time of one invocation until the first token and until the end, and its CPU time, in nanoseconds."""

    first_ns: int
    total_ns: int
    cpu_ns: int


class RuntimeApi:
    """Sends invocations to one function, one after the other, and reads the streamed responses."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.pid = 0
        self._poll_connection: socket.socket | None = None

    def wait_until_ready(self) -> None:
        """Waits until the function requests its first event. Raises TimeoutError."""
        self._poll_connection = self._accept()
        _read_head(self._poll_connection)

    def invoke(self, event: dict[str, Any]) -> StreamTiming:
        """Invokes the function once and waits until it requests the next event."""
        if self._poll_connection is None:
            raise RuntimeError("the function is not ready")
        body = json.dumps(event).encode()
        head = (
            f"HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: r\r\ncontent-type: application/json\r\n"
            f"lambda-runtime-deadline-ms: {int(time.time() * 1000) + 900_000}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        cpu_ns, start_ns = self._cpu_ns(), time.perf_counter_ns()
        self._poll_connection.sendall(head.encode() + body)
        with self._accept() as answer:
            first_ns = read_stream(answer) - start_ns
            total_ns = time.perf_counter_ns() - start_ns
            answer.sendall(_ACCEPTED)
            _read_head(self._poll_connection)  # the function requests the next event: this invocation has ended
        return StreamTiming(first_ns, total_ns, self._cpu_ns() - cpu_ns)

    def _accept(self) -> socket.socket:
        connection, _ = self._server.accept()
        connection.settimeout(_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _cpu_ns(self) -> int:
        """Returns the CPU time of the function's process, all threads; 0 if the system cannot say it."""
        try:
            return time.clock_gettime_ns(~self.pid << 3 | _CPU_CLOCK)
        except OSError:
            return 0


@contextmanager
def running_function(deployment: Deployment, function: str, core: int | None) -> Iterator[RuntimeApi]:
    """Runs a function with the bridge's own runtime loop, in a new process, until the context ends."""
    layer = _ROOT / "layers" / "bridge"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_TIMEOUT_S)
        api = RuntimeApi(server)
        env = {
            **deployment.env,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}",
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(_ROOT / "functions" / function),
        }
        command: list[str | Path] = [layer / "stream-responses", deployment.python[0], "the normal runtime"]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            api.pid = process.pid
            try:
                api.wait_until_ready()
                yield api
            finally:
                process.kill()


def read_stream(connection: socket.socket) -> int:
    """Reads a chunked body to its end. Returns when the first token arrived, by `time.perf_counter_ns`."""
    received, first_ns = b"", 0
    while not received.endswith(_END):
        data = connection.recv(65536)
        if not data:
            raise SystemExit("the stream was interrupted")
        received = (received + data)[-16384:]
        if not first_ns and _TOKEN in received:
            first_ns = time.perf_counter_ns()
    return first_ns


def _read_head(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            raise SystemExit("the function has ended")
        received += data


def bare_stream(port: int, path: str, content: bytes) -> Iterator[StreamTiming]:
    """Calls the provider over one persistent socket. Each step of the iterator makes one call."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n".encode()
        while True:
            start_ns = time.perf_counter_ns()
            connection.sendall(head + content)
            first_ns = read_stream(connection) - start_ns
            yield StreamTiming(first_ns, time.perf_counter_ns() - start_ns, 0)

"""A real Chroma server for tests, in a process of its own."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

import environment


@contextlib.contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """Runs a server with its data in `folder`; gives its URL."""
    program = environment.make("chroma", environment.find_python()) / "bin" / "chroma"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _when_ready(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(10)


def _when_ready(url: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"Chroma ended with status {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{url}/api/v2/heartbeat", timeout=2).raise_for_status()
            return url
        time.sleep(0.1)
    raise RuntimeError("Chroma did not answer within a minute")

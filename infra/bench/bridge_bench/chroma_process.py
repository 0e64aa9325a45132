"""Starts a real, empty Chroma server for a benchmark, in its own process."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import environment

_READY_TRIES = 300


@contextmanager
def chroma_process(folder: Path) -> Iterator[str]:
    """Runs a server with its data in `folder` until the context ends. Yields its URL. Raises SystemExit if it fails."""
    program = environment.make("chroma", environment.find_python()) / "bin" / "chroma"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _wait_until_ready(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def _wait_until_ready(url: str) -> str:
    for _ in range(_READY_TRIES):
        try:
            httpx.get(f"{url}/api/v2/heartbeat", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return url
    raise SystemExit("Chroma did not start")

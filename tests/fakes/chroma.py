"""A real Chroma server for tests, in a process of its own that can be killed and started again."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import httpx

import environment


class ChromaProcess:
    """A server with its data in `folder`. Its URL stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        program = environment.make("chroma", environment.find_python()) / "bin" / "chroma"
        command: list[str | Path] = [
            program, "run", "--path", self._folder, "--host", "127.0.0.1", "--port", str(self._port),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until_ready(self.url, self._process)

    def kill(self) -> None:
        """Kills the process, like a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def end(self) -> None:
        """Terminates the process normally."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def client_of(url: str, **fields: Any) -> Any:
    """Returns Chroma's own client of the server at `url`, for setup and checks."""
    host, _, port = url.removeprefix("http://").partition(":")
    return chromadb.HttpClient(host, int(port), **fields)


def emptied_client_of(url: str) -> Any:
    """Deletes all collections of the server. Returns Chroma's own client of it."""
    client = client_of(url)
    for collection in client.list_collections():
        client.delete_collection(collection.name)
    return client


@contextlib.contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """Runs a server with its data in `folder`; yields its URL."""
    process = ChromaProcess(folder)
    process.start()
    try:
        yield process.url
    finally:
        process.end()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"Chroma ended with status {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{url}/api/v2/heartbeat", timeout=2).raise_for_status()
            return
        time.sleep(0.1)
    raise RuntimeError("Chroma did not answer within a minute")

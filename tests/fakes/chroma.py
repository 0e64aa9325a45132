"""A real Chroma server for tests, in a process of its own that can be killed and started again."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb

import environment
from tests.fakes.servers import free_port, wait_until_ready


class ChromaProcess:
    """A server with its data in `folder`. Its URL stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        program = environment.make("chroma", environment.find_python()) / "bin" / "chroma"
        command: list[str | Path] = [
            program, "run", "--path", self._folder, "--host", "127.0.0.1", "--port", str(self._port),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_ready(f"{self.url}/api/v2/heartbeat", self._process)

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

"""A real Chroma server for tests, in a process of its own, which can be killed and started again."""

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
    """A server with its data in `folder`, at the same URL however often it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server answers."""
        program = environment.make("chroma", environment.find_python()) / "bin" / "chroma"
        command: list[str | Path] = [
            program, "run", "--path", self._folder, "--host", "127.0.0.1", "--port", str(self._port),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until_ready(self.url, self._process)

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def end(self) -> None:
        """Lets it end in its own way."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def client_of(url: str, **fields: Any) -> Any:
    """Chroma's own client of the server at `url`, to look at what was done, or to do it by hand."""
    host, _, port = url.removeprefix("http://").partition(":")
    return chromadb.HttpClient(host, int(port), **fields)


def emptied_client_of(url: str) -> Any:
    """The same, once the server holds nothing."""
    client = client_of(url)
    for collection in client.list_collections():
        client.delete_collection(collection.name)
    return client


@contextlib.contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """Runs a server with its data in `folder`; gives its URL."""
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

"""The migration command is killed repeatedly, on a real Chroma server and while others write: nothing may be lost,
duplicated or changed.

Its requests go through a proxy, so that it can be killed at any request, before or after Chroma executes it.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import numpy
import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection, differing_ids
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from sekha_llm_bridge.embeddings.records import Batch, VectorRecord
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.embeddings.store import CollectionMissing, StoreFailed
from tests.fakes.chroma import chroma_server, client_of

RECORDS, DIMENSION = 2000, 64
NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response; the times are of the monotonic clock."""

    method: str
    path: str
    began_s: float
    ended_s: float


@dataclass
class Proxy:
    """Forwards requests to `url`. Calls `kill` once, at the request with the number `fatal`: before it is forwarded,
    or after Chroma has answered it.
    """

    url: str
    exchanges: list[Exchange] = field(default_factory=list)
    fatal: int = NEVER
    is_after: bool = False
    kill: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _number: int = 0

    def __enter__(self) -> Self:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client was killed
                    self.close_connection = True

            def do_GET(self) -> None:
                proxy.forward(self)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 — http.server's form

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — as above
                """Logs nothing."""

        self._client = httpx.Client(base_url=self.url, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def arm(self, fatal: int, kill: Callable[[], None], *, is_after: bool) -> None:
        self._number, self.fatal, self.kill, self.is_after = 0, fatal, kill, is_after

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        with self._lock:
            self._number += 1
            is_fatal = self._number == self.fatal
        if is_fatal and not self.is_after:
            self.kill()
            return
        began_s = time.monotonic()
        kept = {name: value for name, value in request.headers.items() if name.lower() in {"content-type", "accept"}}
        answer = self._client.request(request.command, request.path, content=body, headers=kept)
        self.exchanges.append(Exchange(request.command, request.path, began_s, time.monotonic()))
        if is_fatal:
            self.kill()
            return
        request.send_response(answer.status_code)
        request.send_header("content-type", answer.headers.get("content-type", "application/json"))
        request.send_header("content-length", str(len(answer.content)))
        request.end_headers()
        request.wfile.write(answer.content)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with chroma_server(tmp_path / "chroma") as address:
        yield address


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with Proxy(url) as made:
        yield made


@pytest.fixture
def client(url: str) -> Any:
    return client_of(url)


def command(proxy: Proxy) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-collections", "--chroma-url", proxy.address]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(proxy: Proxy, request: int, *, is_after: bool) -> str | None:
    """Runs the command and kills it at that request. Returns its output if it ended before, else None."""
    with command(proxy) as process:
        proxy.arm(request, lambda: os.kill(process.pid, signal.SIGKILL), is_after=is_after)
        said = "".join(process.communicate())
    return None if process.returncode == -signal.SIGKILL else said


def run_until_done(proxy: Proxy) -> str:
    """Runs the command until it succeeds: a record that is written at the wrong moment requires another run."""
    proxy.arm(NEVER, lambda: None, is_after=False)
    for _ in range(5):
        with command(proxy) as process:
            said, complaint = process.communicate()
        assert complaint.count("\n") == 1, "the only line names the assumed space"
        if process.returncode == 0:
            return said
    pytest.fail(said)


def some(number: int, *, name: str = "r", seed: int = 1) -> Records:
    random_numbers = numpy.random.default_rng(seed)
    return Records(
        [f"{name}-{one}" for one in range(number)],
        random_numbers.standard_normal((number, DIMENSION)).astype(numpy.float32),
        [f"text {one}" for one in range(number)],
        [{"number": one, "share": one / 3, "tags": ["a", f"b{one}"]} for one in range(number)],
    )


def fill(client: Any, name: str, records: Records) -> None:
    metadatas: Any = records.metadatas
    collection = client.get_or_create_collection(name, embedding_function=None)
    collection.add(ids=records.ids, embeddings=records.vectors, documents=records.documents, metadatas=metadatas)


def stored(server: ChromaServer, name: str) -> Records:
    found = server.find(name)
    assert found is not None
    return found.page(offset=0, limit=1_000_000)


@dataclass
class Writer:
    """Writes records in a thread until it is stopped or gets an error.

    `written` are the successful writes: the record's number, and the start and the end of the request.
    """

    write: Callable[[int], None]
    pause_s: float
    written: list[tuple[int, float, float]] = field(default_factory=list)
    error: StoreFailed | None = None

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in range(NEVER):
            began_s = time.monotonic()
            try:
                self.write(number)
            except StoreFailed as exc:
                self.error = exc
                return
            self.written.append((number, began_s, time.monotonic()))
            if self._stop.wait(self.pause_s):
                return


def appender(collection: ServerCollection) -> Writer:
    """Returns a writer that appends to a collection by its id."""
    return Writer(lambda number: collection.add(late(number)), pause_s=0.25)


def late(number: int) -> Records:
    vector: Any = numpy.full((1, DIMENSION), number, dtype=numpy.float32)
    return Records([f"late-{number}"], vector, [f"late {number}"], [None])


def bridge(url: str) -> Writer:
    """Returns a writer that upserts like the bridge: new records, and in turn new versions of existing ones."""
    store = ChromaStore(ChromaServer(ChromaConfig(url=url)), SystemClock(), default=EmbeddingSpace("mini", DIMENSION))

    def write(number: int) -> None:
        record = VectorRecord(bridges_id(number), f"bridge {number}", [float(number)] * DIMENSION)
        assert store.upsert(Batch("conversations", DIMENSION, "mini", (record,))) == 1

    return Writer(write, pause_s=0.02)


def bridges_id(number: int) -> str:
    return f"r-{number * 7 % RECORDS}" if number % 2 else f"bridge-{number}"


def assert_nothing_lost(server: ChromaServer, original: Records, late_ones: Writer, bridges: Writer | None) -> None:
    """Asserts that the target has every written record once, and the bridge's version of those that it wrote."""
    (name,) = [one.name for one in server.collections()]
    found = stored(server, name)
    assert len(found.ids) == len(set(found.ids))
    newest = {bridges_id(number): number for number, *_ in bridges.written} if bridges else {}
    untouched = [place for place, one in enumerate(original.ids) if one not in newest]
    assert differing_ids(original.select(untouched), found) == []
    documents = dict(zip(found.ids, found.documents, strict=True))
    assert {one: documents.get(one) for one in newest} == {one: f"bridge {number}" for one, number in newest.items()}
    for number, *_ in late_ones.written:
        assert differing_ids(late(number), found) == []
    expected = {*original.ids, *newest, *(f"late-{number}" for number, *_ in late_ones.written)}
    assert set(found.ids) == expected


def lost_in_the_window(server: ChromaServer, late_ones: Writer, proxy: Proxy) -> set[int]:
    """Returns the numbers of the appended records that are lost.

    Asserts that each was written after the start of the last read of the old collection and before its deletion.
    """
    deletion = next(one for one in reversed(proxy.exchanges) if one.method == "DELETE")
    before = [one for one in proxy.exchanges if one.ended_s <= deletion.began_s and one.path.endswith("/get")]
    there = set(stored(server, f"conversations_{DIMENSION}").ids)
    lost = [one for one in late_ones.written if f"late-{one[0]}" not in there]
    for _, began_s, ended_s in lost:
        assert ended_s > before[-1].began_s
        assert began_s < deletion.ended_s
    return {number for number, *_ in lost}


def test_a_merge_that_is_killed_at_ten_requests_loses_nothing(url: str, proxy: Proxy, client: Any) -> None:
    server = ChromaServer(ChromaConfig(url=url))
    original, own = some(RECORDS), some(300, name="own", seed=2)
    fill(client, "conversations", original)
    fill(client, f"conversations_{DIMENSION}", own)
    for name in ("conversations", f"conversations_{DIMENSION}"):
        client.get_collection(name).modify(metadata={"embedding_space": "mini"})
    old = server.find("conversations")
    assert old is not None
    random_requests = random.Random(7)  # noqa: S311 — which requests, not a secret
    with appender(old) as late_ones, bridge(url) as bridges:
        for fatal in sorted(random_requests.sample(range(4, 25), 10)):
            assert killed_at(proxy, fatal, is_after=random_requests.random() < 0.5) is None
        run_until_done(proxy)
        with pytest.raises(CollectionMissing):
            old.add(late(NEVER))
    assert isinstance(late_ones.error, StoreFailed)
    lost = lost_in_the_window(server, late_ones, proxy)
    late_ones.written = [one for one in late_ones.written if one[0] not in lost]
    assert_nothing_lost(server, joined(original, own), late_ones, bridges)


def joined(first: Records, second: Records) -> Records:
    return Records(
        first.ids + second.ids,
        numpy.concatenate([first.vectors, second.vectors]),
        first.documents + second.documents,
        first.metadatas + second.metadatas,
    )


def test_a_rename_that_is_killed_at_every_request_loses_nothing(url: str, proxy: Proxy, client: Any) -> None:
    server = ChromaServer(ChromaConfig(url=url))
    original = some(RECORDS)
    fill(client, "conversations", original)
    old = server.find("conversations")
    assert old is not None
    with appender(old) as late_ones:
        for is_after in (False, True):
            for fatal in range(1, 6):
                assert killed_at(proxy, fatal, is_after=is_after) is None
        run_until_done(proxy)
    assert late_ones.error is None
    assert_nothing_lost(server, original, late_ones, None)

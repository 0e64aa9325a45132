"""A fake of Lambda's Runtime API for one runtime process, over raw sockets.

It checks every byte that the runtime sends, and it can simulate failures.
"""

import base64
import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_ROOT = "/2018-06-01/runtime"
_STREAM_HEADERS = {
    "lambda-runtime-function-response-mode": "streaming",
    "transfer-encoding": "chunked",
    "content-type": "application/vnd.awslambda.http-integration-response",
    "trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}
_DELIMITER = bytes(8)
_TIMEOUT_S = 20


class ProtocolError(AssertionError):
    """The runtime violated the protocol."""


@dataclass(frozen=True, slots=True)
class ApiBehaviour:
    """How the API treats one invocation.

    After `pause_after` chunks of payload the API stops reading until `resume` is set. After `close_after` chunks it
    stops reading for good: `close_with` is "close", "reset" or the bytes of a response. `response` replaces the 202
    response. With `is_fragmented`, responses are sent byte by byte. With `closes_connection`, the persistent connection
    is closed after the event was sent. With `may_abandon_response`, the runtime may abort a response that is not read,
    and request the next event.
    """

    close_after: int | None = None
    close_with: str | bytes = "close"
    pause_after: int | None = None
    resume: threading.Event = field(default_factory=threading.Event)
    response: bytes | None = None
    is_fragmented: bool = False
    closes_connection: bool = False
    may_abandon_response: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """One HTTP chunk of payload, and the monotonic time when it arrived."""

    data: bytes
    at_s: float


class Invocation:
    """An event, and what the runtime has sent for it so far."""

    def __init__(self, request_id: str, event: bytes, headers: Mapping[str, str], behaviour: ApiBehaviour) -> None:
        self.request_id = request_id
        self.event = event
        self.headers = headers
        self.behaviour = behaviour
        self.kind = ""
        self.raw = bytearray()
        self.response_headers: Mapping[str, str] = {}
        self.prelude: dict[str, Any] = {}
        self.chunks: list[Chunk] = []
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.is_finished = False

    @property
    def payload(self) -> bytes:
        """The received payload, streamed or buffered."""
        return self.body or b"".join(chunk.data for chunk in self.chunks)

    @property
    def reported_error(self) -> dict[str, Any]:
        """The error that the runtime reported, in place of a response or in its trailers."""
        body = base64.b64decode(self.trailers["lambda-runtime-function-error-body"]) if self.trailers else self.body
        error: dict[str, Any] = json.loads(body)
        return error


class FakeRuntimeApi:
    """Sends the queued events to the runtime, one at a time and in order.

    `calls` are the called paths in order; an empty path stands for a connection that was closed without a request.
    """

    def __init__(self, *, receive_buffer: int | None = None) -> None:
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls: list[str] = []
        self.reports: dict[str, tuple[Mapping[str, str], dict[str, Any]]] = {}
        self.next_response: bytes | None = None
        self.idle: set[socket.socket] = set()
        self._event_count = 0
        self._queued: deque[Invocation] = deque()
        self._current: Invocation | None = None
        self._changed = threading.Condition()
        self._violations: list[BaseException] = []
        self._restored = threading.Event()
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if kind is None:
            self._check()

    def close(self) -> None:
        """Closes the API. After this nothing counts as a violation, because the runtime may be killed."""
        self.update(lambda: setattr(self, "_closed", True))
        self._listener.close()

    def queue_event(
        self,
        event: object,
        *,
        behaviour: ApiBehaviour | None = None,
        raw: bytes | None = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> Invocation:
        """Adds an event to the queue. `headers` have names without the prefix `Lambda-Runtime-`, such as `trace_id`."""
        self._event_count += 1
        request_id = f"request-{self._event_count}"
        default_headers = {
            "Content-Type": content_type,
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(time.time_ns() // 1_000_000 + 60_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:chat",
        }
        more_headers = {f"Lambda-Runtime-{name.replace('_', '-').title()}": value for name, value in headers.items()}
        body = json.dumps(event).encode() if raw is None else raw
        invocation = Invocation(request_id, body, default_headers | more_headers, behaviour or ApiBehaviour())
        with self._changed:
            self._queued.append(invocation)
            self._changed.notify_all()
        return invocation

    def close_idle(self) -> None:
        """Closes the connections that have not sent a request."""
        for connection in set(self.idle):
            connection.shutdown(socket.SHUT_RDWR)
            self.idle.discard(connection)

    def complete_restore(self) -> None:
        """Answers the runtime's request for the end of the restore."""
        self._restored.set()

    def wait_for(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Waits until `condition` is true. Raises the runtime's first violation of the protocol at once."""
        with self._changed:
            is_met = self._changed.wait_for(lambda: self._violations or condition(), _TIMEOUT_S)
        self._check()
        assert is_met, f"timed out while waiting for {what}"

    def wait_for_chunks(self, invocation: Invocation, count: int) -> None:
        self.wait_for(lambda: len(invocation.chunks) >= count, f"chunk {count}")

    def wait_until_finished(self, invocation: Invocation) -> Invocation:
        """Waits until the invocation has a response or an error, or the API has closed its connection."""
        self.wait_for(lambda: invocation.is_finished, "the end of the invocation")
        return invocation

    def wait_for_call(self, path: str, times: int = 1) -> None:
        self.wait_for(lambda: self.calls.count(path) >= times, f"a call to {path}")

    def _check(self) -> None:
        if self._violations:
            raise self._violations[0]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.update(lambda connection=connection: self.idle.add(connection))  # type: ignore[misc]  # a default binds it
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _Connection(self, connection).serve()
        except Exception as exc:  # noqa: BLE001 — the test raises it
            if not self._closed:
                self.update(lambda exc=exc: self._violations.append(exc))  # type: ignore[misc]  # a default binds it

    def update(self, change: Callable[[], object]) -> None:
        """Runs `change` while holding the lock, and wakes up all waiting threads."""
        with self._changed:
            change()
            self._changed.notify_all()

    def next_invocation(self) -> Invocation | None:
        """Waits for the next queued event. Returns None if the API is closed."""
        with self._changed:
            if self._current is not None and self._current.behaviour.may_abandon_response:
                self._current.is_finished = True
            if self._current is not None and not self._current.is_finished:
                raise ProtocolError("the runtime requested the next event before the current one was finished")
            self._changed.wait_for(lambda: self._closed or self._queued)
            self._current = self._queued.popleft() if self._queued else None
            return self._current

    def current(self, request_id: str) -> Invocation:
        if self._current is None or self._current.request_id != request_id:
            raise ProtocolError(f"{request_id} is not the current invocation")
        if self._current.kind:
            raise ProtocolError(f"{request_id} already has a response")
        return self._current

    def wait_for_restore(self) -> None:
        self._restored.wait(_TIMEOUT_S)


class _Connection:
    """One connection. It serves several requests, but a connection with a streamed response has no other request."""

    def __init__(self, api: FakeRuntimeApi, connection: socket.socket) -> None:
        self._api = api
        self._socket = connection
        self._buffer = b""
        self._seen = bytearray()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(self) -> None:
        requests = 0
        while self._buffer or self._fill():
            requests += 1
            self._api.idle.discard(self._socket)
            self._seen.clear()
            if not self._serve_request():
                return
        self._api.idle.discard(self._socket)
        if not requests:
            self._api.update(lambda: self._api.calls.append(""))

    def _serve_request(self) -> bool:
        """Serves one request. Returns whether the connection stays open."""
        method, target, version = self._read_line().split(" ")
        headers = self._read_fields()
        _require(version == "HTTP/1.1", version)
        _require(headers.get("host") == self._api.address, f"Host: {headers.get('host')}")
        _require(target.startswith(f"{_ROOT}/"), target)
        path = target.removeprefix(f"{_ROOT}/")
        self._api.update(lambda: self._api.calls.append(re.sub("/request-[0-9]+/", "/", path)))
        if method == "GET":
            _require(not {"content-length", "transfer-encoding"} & headers.keys(), "a GET with a body")
            return self._get(path)
        _require(method == "POST", method)
        return self._post(path, headers)

    def _get(self, path: str) -> bool:
        if path == "restore/next":
            self._api.wait_for_restore()
            self._send(http_response(200, b""))
            return True
        _require(path == "invocation/next", path)
        if self._api.next_response is not None:
            self._send(self._api.next_response)
            return False
        invocation = self._api.next_invocation()
        if invocation is None:
            return False
        self._send(
            http_response(200, invocation.event, invocation.headers), is_fragmented=invocation.behaviour.is_fragmented
        )
        return not invocation.behaviour.closes_connection

    def _post(self, path: str, headers: Mapping[str, str]) -> bool:
        if path in ("init/error", "restore/error"):
            report = json.loads(self._read_body(headers))
            _require({"errorMessage", "errorType", "stackTrace"} <= report.keys(), report)
            self._api.update(lambda: self._api.reports.update({path: (headers, report)}))
            self._send(http_response(202, b'{"status":"OK"}'))
            return True
        invocation_path, request_id, kind = path.split("/")
        _require(invocation_path == "invocation" and kind in ("response", "error"), path)
        invocation = self._api.current(request_id)
        _require(headers.get("lambda-runtime-invocation-id") == invocation.headers.get("Lambda-Runtime-Invocation-Id"))
        invocation.response_headers = headers
        invocation.kind = "error" if kind == "error" else "streamed" if "transfer-encoding" in headers else "buffered"
        if invocation.kind == "streamed":
            ignored = (ConnectionError, ProtocolError) if invocation.behaviour.may_abandon_response else ()
            with contextlib.suppress(*ignored):
                self._read_stream(invocation, headers)
            return False
        body = self._read_body(headers)
        if kind == "error":
            _require(json.loads(body)["errorType"] == headers["lambda-runtime-function-error-type"], headers)
        invocation.body = body
        self._finish(invocation)
        return True

    def _read_stream(self, invocation: Invocation, headers: Mapping[str, str]) -> None:
        _require(headers.items() >= _STREAM_HEADERS.items(), headers)
        _require("content-length" not in headers, "Content-Length with chunks")
        invocation.raw = self._seen
        text = self._read_chunk()
        _require(text is not None and text.endswith(_DELIMITER) and len(text) <= 16 * 1024, text)
        assert text is not None
        metadata = text.removesuffix(_DELIMITER)
        _require(0 not in metadata, "NUL before the delimiter")
        self._api.update(lambda: invocation.prelude.update(json.loads(metadata)))
        while (data := self._read_next_chunk(invocation)) is not None:
            self._api.update(lambda data=data: invocation.chunks.append(Chunk(data, time.monotonic())))  # type: ignore[misc]  # a default binds it
        if not invocation.is_finished:
            invocation.trailers = self._read_trailers(headers)
            self._finish(invocation)
            _require(not self._buffer and not self._socket.recv(1), "data after the end")

    def _read_next_chunk(self, invocation: Invocation) -> bytes | None:
        behaviour = invocation.behaviour
        if behaviour.pause_after is not None and len(invocation.chunks) == behaviour.pause_after:
            behaviour.resume.wait(_TIMEOUT_S)
        if behaviour.close_after is not None and len(invocation.chunks) >= behaviour.close_after:
            self._close_early(invocation)
            return None
        return self._read_chunk()

    def _close_early(self, invocation: Invocation) -> None:
        self._api.update(lambda: setattr(invocation, "is_finished", True))
        close_with = invocation.behaviour.close_with
        if isinstance(close_with, bytes):
            self._send(close_with, is_fragmented=invocation.behaviour.is_fragmented)
        if close_with == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _finish(self, invocation: Invocation) -> None:
        self._api.update(lambda: setattr(invocation, "is_finished", True))
        answer = invocation.behaviour.response or http_response(202, b'{"status":"OK"}')
        self._send(answer, is_fragmented=invocation.behaviour.is_fragmented)

    def _send(self, answer: bytes, *, is_fragmented: bool = False) -> None:
        size = 1 if is_fragmented else len(answer) or 1
        for start in range(0, len(answer), size):
            self._socket.sendall(answer[start : start + size])

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        _require("transfer-encoding" not in headers, headers)
        return self._read_exactly(int(headers["content-length"]))

    def _read_chunk(self) -> bytes | None:
        """Returns the next chunk; None for the last one, whose size is 0."""
        size = self._read_line()
        _require(re.fullmatch("0|[1-9a-f][0-9a-f]*", size) is not None, f"chunk size {size!r}")
        if size == "0":
            return None
        data = self._read_exactly(int(size, 16))
        _require(self._read_exactly(2) == b"\r\n", "a chunk without CRLF")
        return data

    def _read_trailers(self, headers: Mapping[str, str]) -> dict[str, str]:
        trailers = self._read_fields()
        announced = {name.strip().lower() for name in headers["trailer"].split(",")}
        _require(not trailers or trailers.keys() == announced, trailers)
        return trailers

    def _read_fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := self._read_line():
            name, colon, value = line.partition(": ")
            _require(colon and re.fullmatch(r"[A-Za-z-]+", name) and name.lower() not in fields, line)
            fields[name.lower()] = value
        return fields

    def _read_line(self) -> str:
        while b"\r\n" not in self._buffer:
            _require(self._fill(), "the connection ended inside a line")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        _require(b"\n" not in line and b"\r" not in line, line)
        self._seen += line + b"\r\n"
        return line.decode("ascii")

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            _require(self._fill(), "the connection ended inside a message")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._seen += data
        return data

    def _fill(self) -> bool:
        """Reads more data. Returns False if the connection has ended."""
        data = self._socket.recv(65536)
        self._buffer += data
        return bool(data)


def http_response(status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> bytes:
    """Returns the bytes of a response of the API."""
    fields = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def _require(condition: object, what: object = "") -> None:
    if not condition:
        raise ProtocolError(str(what))

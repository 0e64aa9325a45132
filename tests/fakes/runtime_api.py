"""Lambda's Runtime API for one runtime process, over raw sockets: strict about every byte, and unkind when told to be."""

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
_STREAMED = {
    "lambda-runtime-function-response-mode": "streaming",
    "transfer-encoding": "chunked",
    "content-type": "application/vnd.awslambda.http-integration-response",
    "trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}
_DELIMITER = bytes(8)
_PATIENCE_S = 20


class ProtocolError(AssertionError):
    """The runtime departed from the protocol."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How the API treats one invocation.

    After `hold_after` chunks of payload it reads on only when `resume` is set. After `patience` chunks it leaves: by
    closing, by a reset, or with the bytes of an answer. `refusal` is what it answers in place of 202, and `fragments`
    sends its answers byte by byte. `drops_connection` closes the kept connection once it has given out the event.
    `may_be_left` is what the runtime may do to a response that is not read: break it off, and ask for the next event.
    """

    patience: int | None = None
    leave: str | bytes = "close"
    hold_after: int | None = None
    resume: threading.Event = field(default_factory=threading.Event)
    refusal: bytes | None = None
    fragments: bool = False
    drops_connection: bool = False
    may_be_left: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """One HTTP chunk of payload, and when it was there, by the monotonic clock."""

    data: bytes
    at_s: float


class Invocation:
    """One event given out, and what has come back for it so far."""

    def __init__(self, request_id: str, event: bytes, headers: Mapping[str, str], manners: Manners) -> None:
        self.request_id = request_id
        self.event = event
        self.headers = headers
        self.manners = manners
        self.kind = ""
        self.raw = bytearray()
        self.sent: Mapping[str, str] = {}
        self.prelude: dict[str, Any] = {}
        self.chunks: list[Chunk] = []
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.settled = False

    @property
    def payload(self) -> bytes:
        """All of it that has come, streamed or whole."""
        return self.body or b"".join(chunk.data for chunk in self.chunks)

    @property
    def fault(self) -> dict[str, Any]:
        """What the runtime reported: instead of a response, or in the trailers of one."""
        body = base64.b64decode(self.trailers["lambda-runtime-function-error-body"]) if self.trailers else self.body
        found: dict[str, Any] = json.loads(body)
        return found


class FakeRuntimeApi:
    """Gives out offered events one at a time, in their order.

    `calls` tells which paths were called, in turn; an empty one is a connection that was closed unused.
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
        self.next_answer: bytes | None = None
        self.idle: set[socket.socket] = set()
        self._given = 0
        self._offered: deque[Invocation] = deque()
        self._current: Invocation | None = None
        self._changed = threading.Condition()
        self._departures: list[BaseException] = []
        self._restore = threading.Event()
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if kind is None:
            self._check()

    def close(self) -> None:
        """Whatever the runtime does from now on is no departure: it may be killed."""
        self.note(lambda: setattr(self, "_closed", True))
        self._listener.close()

    def offer(
        self,
        event: object,
        *,
        manners: Manners | None = None,
        raw: bytes | None = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> Invocation:
        """Puts an event in line. `headers` by what follows `Lambda-Runtime-` in their names (`trace_id`)."""
        self._given += 1
        request_id = f"request-{self._given}"
        found = {
            "Content-Type": content_type,
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(time.time_ns() // 1_000_000 + 60_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:chat",
        }
        named = {f"Lambda-Runtime-{name.replace('_', '-').title()}": value for name, value in headers.items()}
        body = json.dumps(event).encode() if raw is None else raw
        invocation = Invocation(request_id, body, found | named, manners or Manners())
        with self._changed:
            self._offered.append(invocation)
            self._changed.notify_all()
        return invocation

    def close_idle(self) -> None:
        """Closes the connections over which nothing has come."""
        for connection in set(self.idle):
            connection.shutdown(socket.SHUT_RDWR)
            self.idle.discard(connection)

    def restore(self) -> None:
        """Lets a runtime that waits for its restore go on."""
        self._restore.set()

    def wait_for(self, holds: Callable[[], object], what: str = "it") -> None:
        """Waits until `holds`; raises what the runtime did wrong, if anything, as soon as it is known."""
        with self._changed:
            met = self._changed.wait_for(lambda: self._departures or holds(), _PATIENCE_S)
        self._check()
        assert met, f"waited in vain for {what}"

    def wait_for_chunks(self, invocation: Invocation, count: int) -> None:
        self.wait_for(lambda: len(invocation.chunks) >= count, f"chunk {count}")

    def wait_until_settled(self, invocation: Invocation) -> Invocation:
        """It is answered, failed or left, and the runtime has been told."""
        self.wait_for(lambda: invocation.settled, "the invocation's end")
        return invocation

    def wait_for_call(self, path: str, times: int = 1) -> None:
        self.wait_for(lambda: self.calls.count(path) >= times, f"a call of {path}")

    def _check(self) -> None:
        if self._departures:
            raise self._departures[0]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.note(lambda connection=connection: self.idle.add(connection))  # type: ignore[misc]  # a default binds it
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _Connection(self, connection).serve()
        except Exception as exc:  # noqa: BLE001 — it is for the test to see
            if not self._closed:
                self.note(lambda exc=exc: self._departures.append(exc))  # type: ignore[misc]  # a default binds it

    def note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def next_invocation(self) -> Invocation | None:
        """The next one offered, when there is one; None when the API is closed."""
        with self._changed:
            if self._current is not None and self._current.manners.may_be_left:
                self._current.settled = True
            if self._current is not None and not self._current.settled:
                raise ProtocolError("asked for the next event before the last was settled")
            self._changed.wait_for(lambda: self._closed or self._offered)
            self._current = self._offered.popleft() if self._offered else None
            return self._current

    def current(self, request_id: str) -> Invocation:
        if self._current is None or self._current.request_id != request_id:
            raise ProtocolError(f"{request_id} is not the current invocation")
        if self._current.kind:
            raise ProtocolError(f"{request_id} was answered already")
        return self._current

    def wait_for_restore(self) -> None:
        self._restore.wait(_PATIENCE_S)


class _Connection:
    """One connection: requests one after the other, but a streamed response is alone on its own."""

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
            if not self._request():
                return
        self._api.idle.discard(self._socket)
        if not requests:
            self._api.note(lambda: self._api.calls.append(""))

    def _request(self) -> bool:
        """Returns whether the connection goes on."""
        method, target, version = self._line().split(" ")
        headers = self._fields()
        _demand(version == "HTTP/1.1", version)
        _demand(headers.get("host") == self._api.address, f"Host: {headers.get('host')}")
        _demand(target.startswith(f"{_ROOT}/"), target)
        path = target.removeprefix(f"{_ROOT}/")
        self._api.note(lambda: self._api.calls.append(re.sub("/request-[0-9]+/", "/", path)))
        if method == "GET":
            _demand(not {"content-length", "transfer-encoding"} & headers.keys(), "a GET with a body")
            return self._get(path)
        _demand(method == "POST", method)
        return self._post(path, headers)

    def _get(self, path: str) -> bool:
        if path == "restore/next":
            self._api.wait_for_restore()
            self._answer(_reply(200, b""))
            return True
        _demand(path == "invocation/next", path)
        if self._api.next_answer is not None:
            self._answer(self._api.next_answer)
            return False
        invocation = self._api.next_invocation()
        if invocation is None:
            return False
        self._answer(_reply(200, invocation.event, invocation.headers), fragments=invocation.manners.fragments)
        return not invocation.manners.drops_connection

    def _post(self, path: str, headers: Mapping[str, str]) -> bool:
        if path in ("init/error", "restore/error"):
            report = json.loads(self._whole(headers))
            _demand({"errorMessage", "errorType", "stackTrace"} <= report.keys(), report)
            self._api.note(lambda: self._api.reports.update({path: (headers, report)}))
            self._answer(_reply(202, b'{"status":"OK"}'))
            return True
        invocation_path, request_id, kind = path.split("/")
        _demand(invocation_path == "invocation" and kind in ("response", "error"), path)
        invocation = self._api.current(request_id)
        _demand(headers.get("lambda-runtime-invocation-id") == invocation.headers.get("Lambda-Runtime-Invocation-Id"))
        invocation.sent = headers
        invocation.kind = "error" if kind == "error" else "streamed" if "transfer-encoding" in headers else "whole"
        if invocation.kind == "streamed":
            left = (ConnectionError, ProtocolError) if invocation.manners.may_be_left else ()
            with contextlib.suppress(*left):
                self._streamed(invocation, headers)
            return False
        body = self._whole(headers)
        if kind == "error":
            _demand(json.loads(body)["errorType"] == headers["lambda-runtime-function-error-type"], headers)
        invocation.body = body
        self._settle(invocation)
        return True

    def _streamed(self, invocation: Invocation, headers: Mapping[str, str]) -> None:
        _demand(headers.items() >= _STREAMED.items(), headers)
        _demand("content-length" not in headers, "Content-Length with chunks")
        invocation.raw = self._seen
        text = self._chunk()
        _demand(text is not None and text.endswith(_DELIMITER) and len(text) <= 16 * 1024, text)
        assert text is not None
        metadata = text.removesuffix(_DELIMITER)
        _demand(0 not in metadata, "NUL before the delimiter")
        self._api.note(lambda: invocation.prelude.update(json.loads(metadata)))
        while (data := self._next_chunk(invocation)) is not None:
            self._api.note(lambda data=data: invocation.chunks.append(Chunk(data, time.monotonic())))  # type: ignore[misc]  # a default binds it
        if not invocation.settled:
            invocation.trailers = self._trailers(headers)
            self._settle(invocation)
            _demand(not self._buffer and not self._socket.recv(1), "something after the end")

    def _next_chunk(self, invocation: Invocation) -> bytes | None:
        manners = invocation.manners
        if manners.hold_after is not None and len(invocation.chunks) == manners.hold_after:
            manners.resume.wait(_PATIENCE_S)
        if manners.patience is not None and len(invocation.chunks) >= manners.patience:
            self._leave(invocation)
            return None
        return self._chunk()

    def _leave(self, invocation: Invocation) -> None:
        self._api.note(lambda: setattr(invocation, "settled", True))
        leave = invocation.manners.leave
        if isinstance(leave, bytes):
            self._answer(leave, fragments=invocation.manners.fragments)
        if leave == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _settle(self, invocation: Invocation) -> None:
        self._api.note(lambda: setattr(invocation, "settled", True))
        answer = invocation.manners.refusal or _reply(202, b'{"status":"OK"}')
        self._answer(answer, fragments=invocation.manners.fragments)

    def _answer(self, answer: bytes, *, fragments: bool = False) -> None:
        size = 1 if fragments else len(answer) or 1
        for start in range(0, len(answer), size):
            self._socket.sendall(answer[start : start + size])

    def _whole(self, headers: Mapping[str, str]) -> bytes:
        _demand("transfer-encoding" not in headers, headers)
        return self._exactly(int(headers["content-length"]))

    def _chunk(self) -> bytes | None:
        """None at the last one, of size 0."""
        size = self._line()
        _demand(re.fullmatch("0|[1-9a-f][0-9a-f]*", size) is not None, f"chunk size {size!r}")
        if size == "0":
            return None
        data = self._exactly(int(size, 16))
        _demand(self._exactly(2) == b"\r\n", "a chunk without its end")
        return data

    def _trailers(self, headers: Mapping[str, str]) -> dict[str, str]:
        trailers = self._fields()
        announced = {name.strip().lower() for name in headers["trailer"].split(",")}
        _demand(not trailers or trailers.keys() == announced, trailers)
        return trailers

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(": ")
            _demand(colon and re.fullmatch(r"[A-Za-z-]+", name) and name.lower() not in fields, line)
            fields[name.lower()] = value
        return fields

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            _demand(self._fill(), "the connection ended in mid-line")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        _demand(b"\n" not in line and b"\r" not in line, line)
        self._seen += line + b"\r\n"
        return line.decode("ascii")

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            _demand(self._fill(), "the connection ended in mid-message")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._seen += data
        return data

    def _fill(self) -> bool:
        """Reads on; False at the connection's end."""
        data = self._socket.recv(65536)
        self._buffer += data
        return bool(data)


def _reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    fields = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def reply(status: int, body: bytes = b"{}") -> bytes:
    """The bytes of an answer of the API's."""
    return _reply(status, body)


def _demand(holds: object, what: object = "") -> None:
    if not holds:
        raise ProtocolError(str(what))

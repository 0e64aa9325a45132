"""A scriptable provider on loopback with OpenAI's, Anthropic's and Ollama's formats, over real HTTP."""

import contextlib
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from tests.fakes import anthropic_wire


@dataclass(frozen=True, slots=True)
class Stream:
    """A body in parts; each is sent as one HTTP chunk. The server waits for an event among them.

    `ending`: "whole" sends the last HTTP chunk, "closed" closes the connection without it, "reset" resets the
    connection, and "silent" keeps it open until the client disconnects, which sets `client_disconnected`.
    """

    parts: Iterable[bytes | threading.Event]
    ending: Literal["whole", "closed", "reset", "silent"] = "whole"
    content_type: str = "text/event-stream"
    client_disconnected: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer.

    `reset` resets the connection instead of answering. `delay_s` is the time before the headers. `barrier` waits until
    other requests have arrived. `hang` never answers, and sets `client_disconnected` when the client disconnects.
    `cut_at_byte` closes the connection after that many bytes of the body.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay_s: float = 0.0
    reset: bool = False
    barrier: threading.Barrier | None = None
    hang: bool = False
    client_disconnected: threading.Event = field(default_factory=threading.Event)
    cut_at_byte: int | None = None
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One received request. Header names are in lower case; `peer_port` identifies its connection."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    peer_port: int = 0


class FakeProvider:
    """Answers with valid default answers; `script` queues replies for a path, and `always` replaces its default answer.

    `port` 0 is a free port; a restarted provider gets its former port.
    """

    def __init__(self, *, dimension: int = 8, text: str = "Hello from the fake.", port: int = 0) -> None:
        self.dimension = dimension
        self.text = text
        self.received: list[Received] = []
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._defaults: dict[str, Reply] = {}
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.owner = self

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops the server like a crash: open connections are closed, and new ones are refused."""
        self._server.stop_serving()
        self._server.close_connections()

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    def script(self, path: str, *replies: Reply) -> None:
        """Queues one reply for each of the next requests to `path`."""
        self._scripts[path].extend(replies)

    def always(self, path: str, reply: Reply | None) -> None:
        """Sets the reply to every request to `path` without a queued one; None restores the default answers."""
        if reply is None:
            self._defaults.pop(path, None)
        else:
            self._defaults[path] = reply

    def reset(self) -> None:
        """Forgets all scripts, replies and requests, so that the next test finds the provider as at its start."""
        self._scripts.clear()
        self._defaults.clear()
        self.received.clear()

    def calls(self, path: str) -> list[Received]:
        """The requests to `path` so far."""
        return [request for request in self.received if request.path == path]

    def reply_to(self, request: Received) -> Reply:
        """Records the request and returns its reply."""
        self.received.append(request)
        if self._scripts[request.path]:
            return self._scripts[request.path].popleft()
        return self._defaults.get(request.path) or self._default_reply(request)

    def _message(self, request: Received) -> dict[str, Any]:
        return anthropic_wire.message(anthropic_wire.text(self.text), model=request.body["model"])

    def _default_reply(self, request: Received) -> Reply:  # noqa: C901 — a table of paths
        is_streamed = isinstance(request.body, dict) and request.body.get("stream") is True
        match request.path:
            case "/v1/chat/completions" if is_streamed:
                return Reply(stream=Stream(list(chat_events(self.text, model=request.body["model"]))))
            case "/api/chat" if is_streamed:
                lines = list(ollama_events(self.text, model=request.body["model"]))
                return Reply(stream=Stream(lines, content_type="application/x-ndjson"))
            case "/v1/messages" if is_streamed:
                return Reply(stream=Stream(list(anthropic_wire.stream(self._message(request)))))
            case "/v1/messages":
                return Reply(body=self._message(request))
            case "/v1/chat/completions":
                return Reply(body=chat_completion(self.text, model=request.body["model"]))
            case "/v1/embeddings":
                return Reply(body=embeddings(request.body["input"], self.dimension, model=request.body["model"]))
            case "/api/chat":
                return Reply(body=ollama_chat(self.text, model=request.body["model"]))
            case "/api/embed":
                vectors = [vector_of(text, self.dimension) for text in request.body["input"]]
                return Reply(
                    body={"model": request.body["model"], "embeddings": vectors, "prompt_eval_count": 3 * len(vectors)}
                )
            case "/v1/models":
                return Reply(body={"object": "list", "data": []})
            case "/api/tags":
                return Reply(body={"models": [ollama_row(*model) for model in OLLAMA_MODELS]})
            case "/api/show":
                return Reply(body={"details": {}, "model_info": {}})
            case _:
                return Reply(404, {"error": {"message": f"no {request.path} here"}})


def chat_completion(text: str | None, *, model: str = "fake-model", **message: object) -> dict[str, object]:
    """A complete answer in OpenAI's format."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
    }


def chat_events(text: str, *, model: str = "fake-model", usage: bool = True) -> Iterator[bytes]:
    """The same answer as a stream, with one event for each word."""
    yield chunk({"role": "assistant", "content": ""}, model=model)
    for word in words_of(text):
        yield chunk({"content": word}, model=model)
    yield chunk({}, finish="stop", model=model)
    if usage:
        yield sse({**_chunk(model), "choices": [], "usage": chat_completion("")["usage"]})
    yield b"data: [DONE]\n\n"


def words_of(text: str) -> Iterator[str]:
    """The words of a text, each but the first with the space before it."""
    for position, word in enumerate(text.split(" ")):
        yield f" {word}" if position else word


def chunk(
    delta: Mapping[str, Any], *, finish: str | None = None, model: str = "fake-model", index: int = 0, **more: object
) -> bytes:
    """One event in OpenAI's format, with one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return sse({**_chunk(model), "choices": [choice], **more})


def sse(data: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _chunk(model: str) -> dict[str, object]:
    return {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}


def ollama_events(text: str, *, model: str = "fake-model") -> Iterator[bytes]:
    """A streamed answer in Ollama's format, with one line for each word."""
    for word in words_of(text):
        yield ndjson({"model": model, "message": {"role": "assistant", "content": word}, "done": False})
    yield ndjson(ollama_chat("", model=model))


def ndjson(data: object) -> bytes:
    """One line of NDJSON."""
    return json.dumps(data, ensure_ascii=False).encode() + b"\n"


OLLAMA_MODELS = (
    ("nomic-embed-text:latest", "137M", ("embedding",), 768),
    ("llama3.1:8b", "8.0B", ("completion", "tools"), 4096),
    ("llama3.1:70b", "70.6B", ("completion", "tools"), 8192),
)
"""The models of the migration guide: what a fake Ollama has."""


def ollama_row(name: str, size: str, capabilities: Sequence[str], embedding_length: int) -> dict[str, object]:
    """One row of `GET /api/tags`."""
    lengths = {"context_length": 8192, "embedding_length": embedding_length}
    return {"name": name, "digest": name, "details": {"parameter_size": size, **lengths}, "capabilities": capabilities}


def ollama_chat(text: str, *, model: str = "fake-model", **more: object) -> dict[str, object]:
    """A complete answer in Ollama's format."""
    message = {"role": "assistant", "content": text, **more}
    return {
        "model": model,
        "message": message,
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 4,
    }


def embeddings(texts: list[str], dimension: int, *, model: str = "fake-model") -> dict[str, object]:
    """Vectors in OpenAI's format, in reverse order, which the format allows."""
    data = [
        {"object": "embedding", "index": i, "embedding": vector_of(text, dimension)} for i, text in enumerate(texts)
    ]
    return {
        "object": "list",
        "data": data[::-1],
        "model": model,
        "usage": {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)},
    }


def vector_of(text: str, dimension: int) -> list[float]:
    """A vector that depends only on the text."""
    seed = hashlib.sha256(text.encode()).digest() * (dimension // 8 + 1)
    return [round(value / 2**32 - 0.5, 6) for (value,) in struct.iter_unpack("<I", seed[: dimension * 4])]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: FakeProvider

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Accepts connections until `stop_serving`."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        # Not `serve_forever`: it notices its end at its next poll, and a run of the tests has thousands of servers.
        while True:
            try:
                connection, address = self.get_request()
            except OSError:
                return
            self.process_request(connection, address)

    def stop_serving(self) -> None:
        """Refuses connections from now on."""
        with contextlib.suppress(OSError):  # it is stopped already
            self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._accepting.join(timeout=1)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client disconnected
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # already closed
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(
            self.server.owner.reply_to(Received(self.command, self.path, headers, body, self.client_address[1]))
        )

    def do_GET(self) -> None:
        self.do_POST()

    def _answer(self, reply: Reply) -> None:
        if reply.barrier is not None:
            reply.barrier.wait(timeout=10)
        if reply.delay_s:
            time.sleep(reply.delay_s)
        if reply.hang:
            self._wait_for_disconnect(reply.client_disconnected)
            return
        if reply.reset:
            self._reset()
            return
        if reply.stream is not None:
            try:
                self._stream(reply, reply.stream)
            except (BrokenPipeError, ConnectionResetError):  # the client has left before the last part
                reply.stream.client_disconnected.set()
            return
        content = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
        try:
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if reply.cut_at_byte is None else content[: reply.cut_at_byte])
            if reply.cut_at_byte is not None:
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # `close()` would keep it open for its file objects

    def _stream(self, reply: Reply, stream: Stream) -> None:
        self.close_connection = stream.ending != "whole"
        self.send_response(reply.status)
        for name, value in {"content-type": stream.content_type, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in stream.parts:
            if isinstance(part, threading.Event):
                part.wait(timeout=10)
            else:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        match stream.ending:
            case "whole":
                self.wfile.write(b"0\r\n\r\n")
            case "reset":
                self._reset()
            case "silent":
                self._wait_for_disconnect(stream.client_disconnected)

    def _wait_for_disconnect(self, client_disconnected: threading.Event) -> None:
        self.close_connection = True
        try:
            has_disconnected = self.connection.recv(1) == b""
        except ConnectionResetError:
            has_disconnected = True
        if has_disconnected:
            client_disconnected.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Logs nothing; tests read `received`."""

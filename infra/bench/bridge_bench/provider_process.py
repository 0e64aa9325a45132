"""A server that acts as a provider and as the state table. It sends fixed responses of realistic size at once.

It runs in its own process. It only reads a request's path and length, so that its own time stays negligible.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bridge_bench.cores import pin

DIMENSION = 768
STREAMED_TEXT = " tide"
"""The text of every event of a stream."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_HEADERS = (
    "date: Mon, 02 Nov 2026 10:00:00 GMT",
    "server: envoy",
    "openai-processing-ms: 431",
    "openai-version: 2020-10-01",
    "x-request-id: req_8c5e2b7d41f04f0b9a6f5d1c",
    "x-ratelimit-limit-requests: 10000",
    "x-ratelimit-remaining-requests: 9999",
)
_SENTENCE = "The tide comes in twice a day because the earth turns below two bulges of water. "


@contextmanager
def fast_provider(core: int | None) -> Iterator[int]:
    """Runs the server on `core` until the context ends. Yields its port on loopback."""
    command = [sys.executable, "-m", __name__, *([] if core is None else [str(core)])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None  # noqa: S101 — both are pipes, see above
        assert process.stdout is not None  # noqa: S101 — as above
        yield int(process.stdout.readline())
        process.stdin.close()


class _Connection(asyncio.Protocol):
    """A connection: answers each complete request with a fixed response."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport if isinstance(transport, asyncio.WriteTransport) else None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        head, found, body = self._received.partition(_HEAD_END)
        if found and len(body) >= _body_length(head) and self._transport is not None:
            self._received = b""
            request_line = head.partition(b"\r\n")[0]
            if match := _STREAM.search(body):
                parts = _ANTHROPIC_STREAM if _MESSAGES in request_line else _OPENAI_STREAM
                _Stream(self._transport, parts, int(match[1]), float(match[2])).send_next()
            elif _READS_KEY in head.lower():
                self._transport.write(_KEY)
            else:
                self._transport.write(_response_for(request_line))


class _Parts(NamedTuple):
    """The beginning of a streamed response, an event with a token, and the end."""

    head: bytes
    token: bytes
    end: bytes


class _Stream:
    """A streamed response of `tokens` chunks, one every `pause_s` seconds."""

    def __init__(self, transport: asyncio.WriteTransport, parts: "_Parts", tokens: int, pause_s: float) -> None:
        self._transport = transport
        self._parts = parts
        self._remaining = tokens
        self._pause_s = pause_s
        self._is_started = False

    def send_next(self) -> None:
        """Sends the next token and schedules the following one. Without a pause it sends all tokens."""
        while self._remaining:
            self._remaining -= 1
            self._transport.write((b"" if self._is_started else self._parts.head) + self._parts.token)
            self._is_started = True
            if self._pause_s:
                asyncio.get_running_loop().call_later(self._pause_s, self.send_next)
                return
        self._transport.write(self._parts.end)


def _response_for(request_line: bytes) -> bytes:
    if b"/embeddings" in request_line:
        return _EMBEDDING
    if _MESSAGES in request_line:
        return _MESSAGE
    return _TABLE if b" / " in request_line else _CHAT


def stream_request(tokens: int, pause_s: float) -> str:
    """Returns the text that asks this server for a stream, anywhere in the body of a request."""
    return f"{tokens} tokens every {pause_s} s"


def _body_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


def _response(body: object) -> bytes:
    content = json.dumps(body).encode()
    kind = "content-type: application/json"
    return (
        "\r\n".join(["HTTP/1.1 200 OK", *_HEADERS, kind, f"content-length: {len(content)}", "", ""]).encode() + content
    )


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    frame = {"id": "chatcmpl-B2mXv9pQ0dGZkqk7v1sTZ6oYw", "object": "chat.completion.chunk", "created": 1_793_613_600}
    chunk = {**frame, "model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "choices": choices, **more}
    return _chunked(f"data: {json.dumps(chunk)}\n\n".encode())


def _named_event(kind: str, **fields: object) -> bytes:
    return _chunked(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())


_STREAM = re.compile(rb"(\d+) tokens every ([\d.e-]+) s")
_MESSAGES = b"/v1/messages "
_STREAM_HEAD = "\r\n".join(
    ["HTTP/1.1 200 OK", *_HEADERS, "content-type: text/event-stream", "transfer-encoding: chunked", "", ""]
).encode()
_OPENAI_STREAM = _Parts(
    _STREAM_HEAD,
    _event([{"index": 0, "delta": {"content": STREAMED_TEXT}, "logprobs": None, "finish_reason": None}]),
    b"".join(
        [
            _event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]),
            _event([], usage={"prompt_tokens": 262, "completion_tokens": 128, "total_tokens": 390}),
            _chunked(b"data: [DONE]\n\n"),
            b"0\r\n\r\n",
        ]
    ),
)
_MESSAGE_FRAME = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "stop_sequence": None,
}
_MESSAGE_USAGE = {
    "input_tokens": 262,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 128,
    "service_tier": "standard",
}
_ANTHROPIC_STREAM = _Parts(
    _STREAM_HEAD
    + _named_event(
        "message_start", message={**_MESSAGE_FRAME, "content": [], "stop_reason": None, "usage": _MESSAGE_USAGE}
    )
    + _named_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    _named_event("content_block_delta", index=0, delta={"type": "text_delta", "text": STREAMED_TEXT}),
    b"".join(
        [
            _named_event("content_block_stop", index=0),
            _named_event(
                "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 128}
            ),
            _named_event("message_stop"),
            b"0\r\n\r\n",
        ]
    ),
)
_MESSAGE = _response(
    {
        **_MESSAGE_FRAME,
        "content": [{"type": "text", "text": _SENTENCE * 8}],
        "stop_reason": "end_turn",
        "usage": _MESSAGE_USAGE,
    }
)
_CHAT = _response(
    {
        "id": "chatcmpl-B2mXv9pQ0dGZkqk7v1sTZ6oYw",
        "object": "chat.completion",
        "created": 1_793_613_600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _SENTENCE * 8, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 262,
            "completion_tokens": 128,
            "total_tokens": 390,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_b705f0c291",
    }
)
_NUMBERS = random.Random(DIMENSION)  # noqa: S311 — reproducible numbers, not a secret
_EMBEDDING = _response(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [_NUMBERS.gauss(0, 0.03) for _ in range(DIMENSION)]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }
)

API_KEY = "sk-sekha-Abcdefghijkl-Abcdefghijklmnopqrstuvwxyz012345-37sCPh"
"""A key that the table of keys has; it opens nothing else."""

_READS_KEY = b"dynamodb_20120810.getitem"
_KEY = _response(
    {
        "Item": {
            "id": {"S": "key_Abcdefghijkl"},
            "hash": {"S": hashlib.sha256(API_KEY.encode()).hexdigest()},
            "name": {"S": "benchmark"},
            "labels": {"S": "{}"},
            "policy": {"S": "{}"},
            "created": {"S": "2026-01-01T00:00:00+00:00"},
        }
    }
)
_TABLE = _response({"Responses": {}, "UnprocessedKeys": {}, "Items": []})  # no provider has an open breaker


async def _serve() -> None:
    """Serves until the parent process closes stdin."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    pin(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    asyncio.run(_serve())

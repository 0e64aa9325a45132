"""The large requests whose memory is measured, each with the function that serves it."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_TURN = "Why are there two tides a day, and why is each some fifty minutes later than the day before? "
_IMAGE_PIXELS = 250  # of each side: 190 kB of noise, which does not get smaller


class LargeRequest(NamedTuple):
    """A function, and what it is asked for; `body` is None where only its start is measured."""

    function: str
    path: str = ""
    body: Callable[[], Mapping[str, Any]] | None = None

    def event(self) -> dict[str, Any]:
        """Returns the event of API Gateway."""
        headers = {"content-type": "application/json"}
        return {
            "resource": self.path,
            "path": self.path,
            "httpMethod": "POST",
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "requestContext": {"requestId": "bench", "stage": "prod", "path": f"/prod{self.path}"},
            "body": json.dumps(self.body() if self.body else {}),
            "isBase64Encoded": False,
        }


def _chat() -> dict[str, Any]:
    images = [{"type": "image_url", "image_url": {"url": _image(seed)}} for seed in range(4)]
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": _TURN}, *images]}], "max_tokens": 100}


def _messages() -> dict[str, Any]:
    sources = [{"type": "base64", "media_type": "image/png", "data": _png(seed)} for seed in range(4)]
    content = [{"type": "text", "text": _TURN}, *({"type": "image", "source": source} for source in sources)]
    return {"model": "auto", "messages": [{"role": "user", "content": content}], "max_tokens": 100}


def _ollama_chat() -> dict[str, Any]:
    return {"model": "auto", "messages": _long_chat(), "stream": False}


def _ollama_embed() -> dict[str, Any]:
    return {"model": "embedding", **_many_texts()}


def _long_chat() -> list[dict[str, Any]]:
    return [{"role": "user", "content": _TURN * 11_000}]


def _many_texts() -> dict[str, Any]:
    return {"input": [f"{i} {_TURN}" for i in range(2_048)]}


def _image(seed: int) -> str:
    return f"data:image/png;base64,{_png(seed)}"


def _png(seed: int) -> str:
    noise = random.Random(seed)  # noqa: S311 — reproducible numbers, not a secret
    rows = b"".join(b"\0" + noise.randbytes(3 * _IMAGE_PIXELS) for _ in range(_IMAGE_PIXELS))
    head = struct.pack(">IIBBBBB", _IMAGE_PIXELS, _IMAGE_PIXELS, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    image = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)
    return base64.b64encode(image).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


REQUESTS: Mapping[str, LargeRequest] = {
    "chat, 1 MB with four images": LargeRequest("chat_completions", "/v1/chat/completions", _chat),
    "chat, 1 MB of text": LargeRequest(
        "chat_completions",
        "/v1/chat/completions",
        lambda: {"messages": _long_chat(), "max_tokens": 100},
    ),
    "messages, 1 MB with four images": LargeRequest("messages", "/v1/messages", _messages),
    "messages, 1 MB of text": LargeRequest(
        "messages", "/v1/messages", lambda: {"model": "auto", "messages": _long_chat(), "max_tokens": 100}
    ),
    "responses, 1 MB of text": LargeRequest(
        "responses", "/v1/responses", lambda: {"model": "auto", "input": _TURN * 11_000, "max_output_tokens": 100}
    ),
    "ollama, 1 MB of text": LargeRequest("ollama", "/api/chat", _ollama_chat),
    "ollama, 2,048 texts, stored": LargeRequest(
        "ollama", "/api/embed", lambda: {"model": "embedding", **_many_texts()}
    ),
    "embeddings, 2,048 texts, stored": LargeRequest("embeddings", "/v1/embeddings", _many_texts),
    "embed, one text, stored": LargeRequest("embed", "/api/v1/embed", lambda: {"text": _TURN}),
    "search, 300 results": LargeRequest("search", "/api/v1/search", lambda: {"query": _TURN, "n_results": 300}),
    "summarize, 1 MB of messages": LargeRequest(
        "summarize", "/api/v1/summarize", lambda: {"messages": [_TURN * 10] * 1_100}
    ),
    **{
        f"{name}, its start": LargeRequest(name)
        for name in ("extract", "score", "route", "models", "health", "usage", "landing", "authorizer", "usage_records")
    },
    **{f"{name}, its start": LargeRequest(name) for name in ("health_check", "drain", "migrate_collections")},
}

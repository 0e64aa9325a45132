"""Token counts before a provider has counted: a likely figure for ranking, and an upper bound for limits.

A byte-level tokenizer never makes more tokens than there are bytes, so the UTF-8 length bounds the text itself. What
surrounds it (chat templates, image tiles) is bounded by generous constants.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_BYTES_PER_TOKEN = 4
_MESSAGE = (4, 32)  # (likely, bound) tokens of one message's frame
_IMAGE = (1_000, 6_000)  # (likely, bound) tokens of one image at the highest detail


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Prompt tokens: the likely number, and one that is not exceeded."""

    estimate: int
    bound: int


def count_texts(texts: Iterable[str]) -> TokenCount:
    """Tokens of plain texts, as embeddings bill them."""
    sizes = [len(text.encode()) for text in texts]
    return TokenCount(sum(_likely(size) for size in sizes), sum(sizes) + _MESSAGE[0] * len(sizes))


def count_chat(request: Mapping[str, Any]) -> TokenCount:
    """Tokens of a chat request in OpenAI's shape: its messages, images, tools and answer schema."""
    messages = request.get("messages", ())
    parts = list(_parts(messages))
    texts = [part for part in parts if part is not None]
    images = len(parts) - len(texts)
    size = sum(len(text.encode()) for text in texts)
    size += sum(
        len(orjson.dumps(request[key])) for key in ("tools", "functions", "response_format") if request.get(key)
    )
    return TokenCount(
        estimate=_likely(size) + _MESSAGE[0] * len(messages) + _IMAGE[0] * images,
        bound=size + _MESSAGE[1] * (len(messages) + 1) + _IMAGE[1] * images,
    )


def _likely(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)


def _parts(messages: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
    """Every text of the messages; None for an image."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            yield None if part.get("type") == "image_url" else str(part.get("text", part))
        if calls := message.get("tool_calls"):
            yield orjson.dumps(calls).decode()
        yield str(message.get("name") or "")

"""Token counts before a provider has counted: a likely figure for ranking, an upper bound for limits, and a number
that is hardly ever undercut.

A byte-level tokenizer never makes more tokens than there are bytes, so the length of all that is sent, as JSON in
UTF-8, bounds its tokens. What surrounds it (chat templates) is bounded by a generous constant. Images are counted
apart, because vendors differ: see `image_tokens`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_LIKELY_BYTES_PER_TOKEN = 4
_MOST_CHARACTERS_PER_TOKEN = 6
_FRAME = (4, 32)  # (likely, bound) tokens of one message's frame
_IMAGE = (1_000, 6_000)  # (likely, bound) tokens of one image
# OpenAI bills an image to gpt-4o-mini with 2,833 tokens and 5,667 for each of up to eight tiles.
_DEAR_IMAGE = (25_501, 48_169)
_MEDIA = frozenset({"image_url", "input_audio", "file"})


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Prompt tokens without images: the likely number, one that is not exceeded, one that is hardly ever undercut."""

    estimate: int
    bound: int
    least: int
    images: int = 0


def image_tokens(model_id: str) -> tuple[int, int]:
    """(likely, bound) tokens that one image is billed as."""
    return _DEAR_IMAGE if "gpt-4o-mini" in model_id else _IMAGE


def count_texts(texts: Iterable[str]) -> TokenCount:
    """Tokens of plain texts, as embeddings bill them."""
    given = list(texts)
    sizes = [len(text.encode()) for text in given]
    return TokenCount(
        estimate=sum(map(_likely, sizes)),
        bound=sum(sizes) + _FRAME[0] * len(sizes),
        least=sum(map(_least, given)),
    )


def longest_text(texts: Iterable[str]) -> int:
    """Tokens that the longest of the texts has at least, nearly always."""
    return max(map(_least, texts), default=0)


def count_chat(request: Mapping[str, Any]) -> TokenCount:
    """Tokens of a chat request in OpenAI's shape: everything that is sent but its media.

    Raises TypeError for a request that is nested deeper than can be sent.
    """
    messages = request.get("messages", ())
    texts = list(_texts(messages))
    size = sum(len(text.encode()) for text in texts)
    size += sum(
        len(orjson.dumps(request[key])) for key in ("tools", "functions", "response_format") if request.get(key)
    )
    sent = len(orjson.dumps({**request, "messages": [_without_media(message) for message in messages]}))
    return TokenCount(
        estimate=_likely(size) + _FRAME[0] * len(messages),
        bound=sent + _FRAME[1] * (len(messages) + 1),
        least=sum(map(_least, texts)),
        images=sum(part.get("type") == "image_url" for message in messages for part in _parts(message)),
    )


def _likely(size: int) -> int:
    return -(-size // _LIKELY_BYTES_PER_TOKEN)


def _least(text: str) -> int:
    """Runs of white space are few tokens, whatever their length."""
    return len(" ".join(text.split())) // _MOST_CHARACTERS_PER_TOKEN


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _without_media(message: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = [part for part in _parts(message) if part.get("type") not in _MEDIA]
    return {**message, "content": kept} if isinstance(message.get("content"), list) else message


def _texts(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of the messages that a model reads."""
    for message in messages:
        if isinstance(message.get("content"), str):
            yield message["content"]
        yield from (str(part.get("text") or "") for part in _parts(message))
        if calls := message.get("tool_calls"):
            yield orjson.dumps(calls).decode()

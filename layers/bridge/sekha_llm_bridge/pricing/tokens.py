"""Token counts before a provider has counted: an estimate for ranking, an upper bound for cost limits, and a minimum
for context windows.

All three come from one fast pass over the request. The estimate weighs bytes by their kind. The bound is the length in
bytes of everything that is sent, as JSON in UTF-8: a byte-level tokenizer never produces more tokens than bytes. What
providers add (chat templates) is bounded by a generous constant. For models whose tokenizer is known,
`TokenCount.bound_for` returns a bound that is several times lower; it counts when it is first called. Images are
counted separately: see `image_tokens`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sekha_llm_bridge.pricing.estimates import estimated_and_minimum_tokens, estimated_tokens
from sekha_llm_bridge.pricing.tokenizer import Tokenizer, upper_bound_tokens, upper_bound_tokens_of_separate_texts

_FRAME = (4, 32)  # (estimate, upper bound) of the tokens that a chat template adds to one message
_TOOLS_FRAME = 1_000  # for the system prompt with which vendors introduce tools; Anthropic's has up to some 500 tokens
_MEDIA = frozenset({"image_url", "input_audio", "file"})
# Fields that a provider renders into the prompt in its own format, besides the messages.
_RENDERED = ("tools", "functions", "response_format")
# Roles whose texts are in the prompt unchanged. A tool's answer may be encoded as JSON again.
_VERBATIM_ROLES = frozenset({"system", "developer", "user", "assistant"})


class _ExactBound:
    """The upper bound of a request by a tokenizer's own count, computed at most once."""

    __slots__ = ("_count", "_known")

    def __init__(self, count: Callable[[Tokenizer], int]) -> None:
        self._count = count
        self._known: dict[Tokenizer, int] = {}

    def by(self, tokenizer: Tokenizer) -> int:
        """Returns the upper bound for models with that tokenizer, in tokens."""
        if tokenizer not in self._known:
            self._known[tokenizer] = self._count(tokenizer)
        return self._known[tokenizer]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The prompt's tokens without images: `estimate`, upper `bound`, and a `minimum` that is hardly ever too high.

    `exact` computes a lower upper bound when `bound_for` needs it; where it is None, there is only `bound`.
    """

    estimate: int
    bound: int
    minimum: int
    images: int = 0
    exact: _ExactBound | None = field(default=None, repr=False, compare=False)

    def bound_for(self, tokenizer: Tokenizer | None) -> int:
        """Returns the upper bound for a model with that tokenizer; None means that the tokenizer is unknown.

        The first call for a tokenizer takes milliseconds, in a new process 0.2 s, at worst a second.
        """
        return self.bound if tokenizer is None or self.exact is None else self.exact.by(tokenizer)


def count_texts(texts: Iterable[str]) -> TokenCount:
    """Counts the tokens of plain texts, each encoded separately, as embeddings are billed."""
    given = list(texts)
    counts = [estimated_and_minimum_tokens(text) for text in given]
    frames = _FRAME[0] * len(given)
    return TokenCount(
        estimate=sum(estimate for estimate, _ in counts),
        bound=sum(len(text.encode()) for text in given) + frames,
        minimum=sum(minimum for _, minimum in counts),
        exact=_ExactBound(lambda tokenizer: upper_bound_tokens_of_separate_texts(given, tokenizer) + frames),
    )


def minimum_tokens_of_longest_text(texts: Iterable[str]) -> int:
    """Returns the minimum tokens of the longest text."""
    return max((estimated_and_minimum_tokens(text)[1] for text in texts), default=0)


def count_chat(request: Mapping[str, Any]) -> TokenCount:
    """Counts the tokens of a chat request in OpenAI's format, without its media.

    Raises TypeError for a request that is nested too deeply to be sent.
    """
    messages = request.get("messages", ())
    rendered = {key: orjson.dumps(request[key]) for key in _RENDERED if request.get(key)}
    bound = _sent_bytes(request, rendered) + _FRAME[1] * (len(messages) + 1) + (_TOOLS_FRAME if rendered else 0)
    texts, images = _read(messages)
    likely, minimum = estimated_and_minimum_tokens("\n".join(texts))
    return TokenCount(
        estimate=likely + sum(map(estimated_tokens, rendered.values())) + _FRAME[0] * len(messages),
        bound=bound,
        minimum=minimum,
        images=images,
        exact=_ExactBound(lambda tokenizer: _exact_bound(bound, messages, tokenizer)),
    )


def _exact_bound(bound: int, messages: Iterable[Mapping[str, Any]], tokenizer: Tokenizer) -> int:
    """Returns the bound with the verbatim texts counted by their tokens instead of their bytes as JSON."""
    texts = list(_verbatim_texts(messages))
    as_json = sum(len(orjson.dumps(text)) - len('""') for text in texts)
    return bound - as_json + upper_bound_tokens(texts, tokenizer)


def _sent_bytes(request: Mapping[str, Any], rendered: Mapping[str, bytes]) -> int:
    """Returns the bytes of the request without its media. `rendered` has the fields that are encoded already."""
    rest = {key: value for key, value in request.items() if key not in rendered}
    rest["messages"] = [_without_media(message) for message in request.get("messages", ())]
    return len(orjson.dumps(rest)) + sum(len(f'"{key}":,') + len(shown) for key, shown in rendered.items())


def _without_media(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if part.get("type") not in _MEDIA]}


def _read(messages: Iterable[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Returns the texts of the messages that a model reads, and the number of images."""
    texts, images = [], 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            texts += [str(part.get("text") or "") for part in content]
            images += sum(part.get("type") == "image_url" for part in content)
        if calls := message.get("tool_calls"):
            texts.append(orjson.dumps(calls).decode())
    return texts, images


def _verbatim_texts(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the texts that are in the prompt unchanged."""
    for message in messages:
        if message.get("role") in _VERBATIM_ROLES:
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            texts = (part.get("text") for part in parts if part.get("type") == "text")
            yield from (text for text in texts if isinstance(text, str))

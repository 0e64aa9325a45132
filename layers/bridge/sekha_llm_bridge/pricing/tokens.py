"""Token counts before a provider has counted: a likely figure for ranking, an upper bound for limits, and a number
that is hardly ever undercut.

All three come from one cheap pass over the request. The likely figure weighs bytes by their kind. The bound is the
length in bytes of all that is sent, as JSON in UTF-8: a byte-level tokenizer never makes more tokens than there are
bytes. What surrounds it (chat templates) is bounded by a generous constant. For models whose tokenizer is known,
`TokenCount.bound_for` gives a bound that is several times lower, and counts for it when it is first asked.
Images are counted apart: see `image_tokens`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sekha_llm_bridge.pricing.estimates import estimated_and_minimum_tokens, estimated_tokens
from sekha_llm_bridge.pricing.tokenizer import Tokenizer, upper_bound_tokens, upper_bound_tokens_of_separate_texts

_FRAME = (4, 32)  # (likely, bound) tokens of one message's frame
_TOOLS_FRAME = 1_000  # what a vendor may say about tools in a prompt of its own; Anthropic's take up to some 500
_MEDIA = frozenset({"image_url", "input_audio", "file"})
# What a model is shown in a form of the provider's own, beside the messages.
_RENDERED = ("tools", "functions", "response_format")
# Whose texts stand in the prompt as they are. A tool's answer may be shown as JSON again.
_SPEAKERS = frozenset({"system", "developer", "user", "assistant"})


class _ExactBound:
    """The bound of a request by a tokenizer's own count, made at most once."""

    __slots__ = ("_count", "_known")

    def __init__(self, count: Callable[[Tokenizer], int]) -> None:
        self._count = count
        self._known: dict[Tokenizer, int] = {}

    def by(self, tokenizer: Tokenizer) -> int:
        """The bound for models with that tokenizer, in tokens."""
        if tokenizer not in self._known:
            self._known[tokenizer] = self._count(tokenizer)
        return self._known[tokenizer]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Prompt tokens without images: the likely number, one that is not exceeded, one that is hardly ever undercut.

    `exact` works out a lower bound when `bound_for` is asked for it; without it the bound stands.
    """

    estimate: int
    bound: int
    minimum: int
    images: int = 0
    exact: _ExactBound | None = field(default=None, repr=False, compare=False)

    def bound_for(self, tokenizer: Tokenizer | None) -> int:
        """A number that is not exceeded by a model with that tokenizer; None: it is not known which the model has.

        The first call for a tokenizer takes milliseconds, in a new process a fifth of a second, at worst a second.
        """
        return self.bound if tokenizer is None or self.exact is None else self.exact.by(tokenizer)


def count_texts(texts: Iterable[str]) -> TokenCount:
    """Tokens of plain texts, as embeddings bill them: each by itself."""
    given = list(texts)
    counts = [estimated_and_minimum_tokens(text) for text in given]
    frames = _FRAME[0] * len(given)
    return TokenCount(
        estimate=sum(likely for likely, _ in counts),
        bound=sum(len(text.encode()) for text in given) + frames,
        minimum=sum(minimum for _, minimum in counts),
        exact=_ExactBound(lambda tokenizer: upper_bound_tokens_of_separate_texts(given, tokenizer) + frames),
    )


def minimum_tokens_of_longest_text(texts: Iterable[str]) -> int:
    """Tokens that the longest of the texts has at minimum, nearly always."""
    return max((estimated_and_minimum_tokens(text)[1] for text in texts), default=0)


def count_chat(request: Mapping[str, Any]) -> TokenCount:
    """Tokens of a chat request in OpenAI's shape: everything that is sent but its media.

    Raises TypeError for a request that is nested deeper than can be sent.
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
    """The bound, with the texts that stand in the prompt as they are by their tokens, not their bytes as JSON."""
    texts = list(_spoken(messages))
    as_json = sum(len(orjson.dumps(text)) - len('""') for text in texts)
    return bound - as_json + upper_bound_tokens(texts, tokenizer)


def _sent_bytes(request: Mapping[str, Any], rendered: Mapping[str, bytes]) -> int:
    """The bytes of the request without its media; what is `rendered` already is not rendered again."""
    rest = {key: value for key, value in request.items() if key not in rendered}
    rest["messages"] = [_without_media(message) for message in request.get("messages", ())]
    return len(orjson.dumps(rest)) + sum(len(f'"{key}":,') + len(shown) for key, shown in rendered.items())


def _without_media(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if part.get("type") not in _MEDIA]}


def _read(messages: Iterable[Mapping[str, Any]]) -> tuple[list[str], int]:
    """The texts of the messages that a model reads, and how many images there are."""
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


def _spoken(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The texts that stand in the prompt as they are."""
    for message in messages:
        if message.get("role") in _SPEAKERS:
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            texts = (part.get("text") for part in parts if part.get("type") == "text")
            yield from (text for text in texts if isinstance(text, str))

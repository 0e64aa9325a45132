"""Rejections of an output limit: of one that the bridge itself has chosen, and of one that the caller had to send
although the model allows less.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sekha_llm_bridge.conversation import Conversation, WireFormat
from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers.adaptation import Adaptation, by_rejection
from sekha_llm_bridge.providers.calls import ChatCall

_REJECTIONS = frozenset({FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE})
LIMIT = r"max_?(?:completion_|output_)?tokens|maximum tokens|output tokens"
"""The pattern of rejections of a limit."""

_NUMBER = r"(?<![\w.-])\d{3,7}(?![\w.-]\w)"
_MIN_LIMIT = 256  # a smaller number in a rejection is something else
_AT_LEAST = "at least"
_MIN_ROOM = 1024  # as in the routing: less room is no answer
# Where the prompt fits, but not with the whole limit. Sources: errors of vLLM, OpenAI, OpenRouter, SGLang, TGI and
# Anthropic.
_ROOMS = (
    r"maximum context length is (?P<window>\d+) tokens\b.{0,60}?\bhas (?P<prompt>\d+) input tokens",
    r"maximum context length is (?P<window>\d+) tokens\b.{0,120}?\((?P<prompt>\d+) in the messages, \d+ in the compl",
    r"maximum context length is (?P<window>\d+) tokens\b.{0,120}?\((?P<prompt>\d+) of text input",
    r"maximum context length is (?P<window>\d+) tokens\b.{0,120}?\bat least (?P<prompt>\d+) input tokens",
    r"maximum context length of (?P<window>\d+) tokens\b.{0,80}?: (?P<prompt>\d+) tokens from the input messages",
    r"must be <= (?P<window>\d+)\. Given: (?P<prompt>\d+) `inputs` tokens",
    r"exceed context limit: (?P<prompt>\d+) \+ \d+ > (?P<window>\d+)",
)


@contextmanager
def output_cap_guard(
    call: ChatCall, is_about_limit: Callable[[Failure], bool], *, is_always_sent: bool = False
) -> Iterator[None]:
    """Turns the rejection of an output limit that the bridge has chosen into OUTPUT_CAP_REFUSED.

    REQUEST_REJECTED would blame the caller, and end the failover. `is_about_limit` says whether a rejection is about
    the limit. `is_always_sent`: the format requires a limit, so the bridge chooses one where the caller has none.
    """
    try:
        yield
    except ProviderError as exc:
        failure = exc.failure
        is_chosen = call.output_cap is not None or (is_always_sent and call.conversation.max_output_tokens is None)
        if not is_chosen or failure.kind not in _REJECTIONS or not is_about_limit(failure):
            raise
        message = f"{exc.message}: give the model's `max_output_tokens` in the configuration"
        refusal = ProviderError(FailureKind.OUTPUT_CAP_REFUSED, message, provider_status=failure.provider_status)
        raise refusal.with_billing(failure.usage, may_be_billed=failure.may_be_billed) from exc


def names_field(failure: Failure, *fields: str) -> bool:
    """Returns whether a rejection names one of the fields of the request."""
    rejected = (failure.param or "").partition(".")[0]
    return any(field == rejected or field in failure.message for field in fields)


def limit_adaptations(
    conversation: Conversation, *fields: str, adjust: Callable[[Any], Any] = lambda payload: payload
) -> Sequence[Adaptation]:
    """Returns the forms with a lower limit in one of these fields. `adjust` changes what depends on it. Clients of
    Anthropic's format must send a limit, and agents send the largest one that any model takes. Others mean theirs.
    """
    if conversation.wire_format is not WireFormat.ANTHROPIC:
        return ()

    def _lowered_by(read: Callable[[int, Failure], int | None]) -> Callable[[Any, Failure], Any | None]:
        def change(payload: Any, failure: Failure) -> Any | None:
            field = next((name for name in fields if isinstance(payload.get(name), int)), "")
            lower = read(payload[field], failure) if field else None
            return None if lower is None else adjust({**payload, field: lower})

        return change

    return (
        by_rejection(LIMIT, _lowered_by(named_limit)),
        by_rejection("", _lowered_by(_named_room), kinds=frozenset({FailureKind.CONTEXT_LENGTH_EXCEEDED})),
    )


def named_limit(sent: int, failure: Failure) -> int | None:
    """Returns the highest number below the limit that the rejection names: the one that the model allows."""
    numbers = map(int, re.findall(_NUMBER, failure.provider_text))
    return max((number for number in numbers if _MIN_LIMIT <= number < sent), default=None)


def _named_room(sent: int, failure: Failure) -> int | None:
    """Returns the tokens that the prompt leaves in the window, by the numbers of the rejection."""
    for pattern in _ROOMS:
        if (found := re.search(pattern, failure.provider_text, re.IGNORECASE)) is not None:
            room = int(found["window"]) - int(found["prompt"])
            room //= 2 if _AT_LEAST in found[0] else 1  # vLLM stops counting where the prompt is too long
            return room if _MIN_ROOM <= room < sent else None
    return None

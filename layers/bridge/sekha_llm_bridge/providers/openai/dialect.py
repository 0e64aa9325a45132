"""The forms of a request that one server does not take, found out from its rejections.

The bridge adds fields (`stream_options`, `encoding_format`), renames one (`max_tokens`), and sends back what it gave
out
(`reasoning_content`, role `developer`). A server that rejects such a form gets the request again in another form, and
later requests in that form at once. A rejected request is not billed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.errors import Failure, FailureKind

Payload = dict[str, Any]

OUTPUT_CAP_FIELDS = ("max_completion_tokens", "max_tokens")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
_REJECTIONS = frozenset({FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE})


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One other form. `pattern` matches rejections that name what it changes. `change` returns the payload in the other
    form, or None where the payload has nothing to change.
    """

    pattern: re.Pattern[str]
    change: Callable[[Payload], Payload | None]
    kinds: frozenset[FailureKind] = _REJECTIONS


class Dialect:
    """What is known of one server. It belongs to one adapter, so it is forgotten with the execution environment."""

    def __init__(self) -> None:
        self._learned: list[Adaptation] = []

    def apply(self, payload: Payload) -> Payload:
        """Returns the payload in the form that the server takes, as far as it is known."""
        for adaptation in self._learned:
            payload = adaptation.change(payload) or payload
        return payload

    def adaptation_for(self, failure: Failure, payload: Payload) -> Adaptation | None:
        """Returns the adaptation that may avoid the failure; None where there is none."""
        text = f"{failure.param or ''} {failure.message} {failure.provider_text}"
        for adaptation in _ADAPTATIONS:
            is_named = failure.kind in adaptation.kinds and adaptation.pattern.search(text)
            if is_named and adaptation.change(payload) is not None:
                return adaptation
        return None

    def remember(self, adaptations: list[Adaptation]) -> None:
        """Applies the adaptations to later payloads: the server has taken a request in that form."""
        self._learned += [one for one in adaptations if one not in self._learned]


def _without_stream_options(payload: Payload) -> Payload | None:
    """Drops only what the bridge has added; other options are the caller's."""
    if (payload.get("stream_options") or {}).keys() != {"include_usage"}:
        return None
    return {name: value for name, value in payload.items() if name != "stream_options"}


def _with_other_output_cap(payload: Payload) -> Payload | None:
    for field, other in (OUTPUT_CAP_FIELDS, OUTPUT_CAP_FIELDS[::-1]):
        if field in payload and other not in payload:
            return {other if name == field else name: value for name, value in payload.items()}
    return None


def _without_encoding_format(payload: Payload) -> Payload | None:
    if "encoding_format" not in payload:
        return None
    return {name: value for name, value in payload.items() if name != "encoding_format"}


def _changed_messages(payload: Payload, change: Callable[[Payload], Payload]) -> Payload | None:
    messages = payload.get("messages")
    if not isinstance(messages, list):
        return None
    changed = [change(message) for message in messages]
    return None if changed == messages else {**payload, "messages": changed}


def _with_system_messages(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {**message, "role": "system"} if message.get("role") == "developer" else message
    )


def _without_reasoning(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {name: value for name, value in message.items() if name not in _REASONING_FIELDS}
    )


def _with_text_in_every_message(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {**message, "content": ""} if message.get("content") is None else message
    )


_ADAPTATIONS = (
    Adaptation(re.compile(r"stream_?options|include_usage", re.IGNORECASE), _without_stream_options),
    Adaptation(
        # Only where the field itself is not known: another field would lift a limit that is merely too high.
        re.compile(
            r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra)\W+(?:\w+\W+){0,2}"
            r"(?:parameter|argument|field|name|property|input)s?\b[^.]{0,30}max_(?:completion_)?tokens"
            r"|max_(?:completion_)?tokens\W{1,3}(?:extra (?:inputs|fields)|(?:is|are) not "
            r"(?:supported|permitted|recogni[sz]ed)\b)",
            re.IGNORECASE,
        ),
        _with_other_output_cap,
        kinds=frozenset({FailureKind.CANDIDATE_UNSUITABLE}),  # a value that is too large would be so in either field
    ),
    Adaptation(re.compile(r"encoding_?format", re.IGNORECASE), _without_encoding_format),
    Adaptation(re.compile(r"\breasoning|\bthinking", re.IGNORECASE), _without_reasoning),
    Adaptation(re.compile(r"\bdeveloper\b|\broles?\b", re.IGNORECASE), _with_system_messages),
    Adaptation(re.compile(r"\bcontent\b", re.IGNORECASE), _with_text_in_every_message),
)

"""What is usable of a streamed answer in OpenAI's shape, chunk by chunk, and whether it has come to its end."""

import secrets
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import ChatChunk, has_content
from sekha_llm_bridge.providers.openai.response import (
    chat_answer,
    is_count,
    normalise_content,
    read_chat_usage,
    reject_error_finish,
)

_ANSWER_FIELDS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio")
_CUT_OFF = "the provider's answer ended without a finish_reason: it was cut off"


class ChunkReader:
    """Makes the chunks of one answer regular: one id, one role, indexes that tell choices and tool calls apart.

    `answers` is how many choices were asked for. `is_whole` says whether each has its finish reason: that, and not the
    end of the connection or `[DONE]`, is what tells a whole answer from one that was cut. `may_repeat_finish_reason`
    says that a
    choice has gone on after its finish reason, as with vendors that send one with every chunk: then it takes a proper
    end of the stream besides. `is_done` is for whoever reads `[DONE]` to say.
    """

    def __init__(self, model_id: str, answers: int, clock: Clock) -> None:
        self.is_whole = False
        self.may_repeat_finish_reason = False
        self.is_done = False
        self._model_id = model_id
        self._answers = answers
        self._clock = clock
        self._shared_fields: dict[str, Any] = {}
        self._choices: dict[int, _ChoiceState] = {}

    @property
    def all_choices_finished(self) -> bool:
        """Whether nothing can be missing any more but the bill."""
        return self.is_whole and not self.may_repeat_finish_reason

    def require_complete(self) -> None:
        """Raises `ProviderError` (MALFORMED_ANSWER) where the stream has ended before the answer. Where it says that
        it is done, it is
        enough that every choice that began has once been ended: some vendors know only one, and some say a last word
        after its end.
        """
        is_all_there_is = (
            self.is_done and bool(self._choices) and all(one.had_finish_reason for one in self._choices.values())
        )
        if not (self.is_whole or is_all_there_is):
            raise ProviderError(FailureKind.MALFORMED_ANSWER, _CUT_OFF, provider_status=200)

    def read(self, event: dict[str, Any]) -> ChatChunk:
        """The chunk that an event is. Raises `ProviderError` (MALFORMED_ANSWER), and what a wrong shape raises."""
        choices = [self._choice(position, choice) for position, choice in enumerate(event.get("choices") or ())]
        if not self._shared_fields:
            self._shared_fields = self._first_fields(event)
        body = {**event, **self._shared_fields, "choices": choices}
        provider_usage = body.pop("usage", None)
        self._record_finish_reasons(choices)
        is_progress = any(choice["finish_reason"] is not None or has_content(choice["delta"]) for choice in choices)
        usage = read_chat_usage(provider_usage)
        return ChatChunk(body, is_progress, self.is_whole, self.may_repeat_finish_reason, usage, provider_usage)

    def read_whole(self, answer: dict[str, Any]) -> ChatChunk:
        """The one chunk of an answer that came at once, although a stream was asked for."""
        regular = chat_answer(answer, None, self._clock).body
        choices = [{"delta": choice.pop("message"), **choice} for choice in regular["choices"]]
        for choice in choices:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        self._answers = len(choices)  # what came at once is all that comes
        return self.read({**regular, "choices": choices})

    def _first_fields(self, event: dict[str, Any]) -> dict[str, Any]:
        given, created = event.get("id"), event.get("created")
        return {
            "id": given if isinstance(given, str) and given else f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": created if is_count(created) and created else int(self._clock.now().timestamp()),
            "model": self._model_id,
        }

    def _choice(self, position: int, given: dict[str, Any]) -> dict[str, Any]:
        finish = given.get("finish_reason")
        reject_error_finish(given)
        index = given["index"] if is_count(given.get("index")) else position
        choice = self._choices.setdefault(index, _ChoiceState())
        return {
            **given,
            "index": index,
            "delta": choice.delta(given.get("delta") or {}),
            "finish_reason": finish if isinstance(finish, str) and finish else None,
        }

    def _record_finish_reasons(self, choices: list[dict[str, Any]]) -> None:
        """Only once the whole chunk is usable: of one that is not, the end would never be passed on."""
        for choice in choices:
            known = self._choices[choice["index"]]
            is_end = choice["finish_reason"] is not None
            has_gone_on = known.is_finished and _has_answer_content(choice["delta"])
            self.may_repeat_finish_reason |= has_gone_on
            known.is_finished = is_end or (known.is_finished and not has_gone_on)
            known.had_finish_reason |= is_end
        have_ended = bool(self._choices) and all(choice.is_finished for choice in self._choices.values())
        self.is_whole = have_ended and len(self._choices) >= self._answers


class _ChoiceState:
    """What is known of one choice so far."""

    def __init__(self) -> None:
        self.is_finished = False  # by the last that was said of it
        self.had_finish_reason = False
        self._has_begun = False
        self._calls: dict[int, _CallIdentity] = {}  # by the index that is passed on
        self._index_by_vendor_index: dict[int, int] = {}  # by the vendor's own index: the one that is passed on now
        self._latest = 0

    def delta(self, given: dict[str, Any]) -> dict[str, Any]:
        """The delta; only the first says who speaks, as OpenAI's does: clients put together whatever comes in parts."""
        delta = {**given}
        delta.pop("role", None)
        if "content" in delta:
            delta |= normalise_content(delta["content"])
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", **delta}
        if delta.get("tool_calls"):
            delta["tool_calls"] = [self._call(call) for call in delta["tool_calls"]]
        return delta

    def _call(self, given: dict[str, Any]) -> dict[str, Any]:
        """A part of a tool call, with the index by which clients put the parts together.

        Some vendors leave it out, or give every call the same one: another name, or the same under another id, begins
        another call.
        """
        function = given.get("function") or {}
        if not isinstance(function, dict):
            raise ProviderError(
                FailureKind.MALFORMED_ANSWER, "the provider's answer has tool calls that are none", provider_status=200
            )
        part = _CallIdentity(given.get("id") or None, function.get("name") or None)
        own = given["index"] if is_count(given.get("index")) else None
        index = self._latest if own is None else self._index_by_vendor_index.get(own, own)
        if (known := self._calls.get(index)) is not None and part.is_another_call_than(known):
            index = next(
                (i for i, other in self._calls.items() if other.call_id == part.call_id is not None), self._free
            )
        self._latest = index
        if own is not None:
            self._index_by_vendor_index[own] = index
        if index in self._calls:
            return {**given, "index": index}
        call_id = part.call_id or f"call_{secrets.token_hex(12)}"
        self._calls[index] = _CallIdentity(call_id if part.call_id else None, part.name)
        return {**given, "index": index, "id": call_id}

    @property
    def _free(self) -> int:
        return max(self._calls) + 1


@dataclass(frozen=True, slots=True)
class _CallIdentity:
    """How a tool call, or a part of one, names itself, if it does."""

    call_id: str | None
    name: str | None

    def is_another_call_than(self, known: "_CallIdentity") -> bool:
        """Whether this part begins another call than the one that is known at its index. Only a part with a name begins
        one: some vendors give every part an id of its own.
        """
        if self.name is None:
            return False
        has_other_id = self.call_id is not None and known.call_id is not None and self.call_id != known.call_id
        return has_other_id or (known.name is not None and self.name != known.name)


def _has_answer_content(delta: dict[str, Any]) -> bool:
    """Whether it goes on with the answer itself: not with a last line break, nor with what is told about it."""
    return any(
        value.strip() if isinstance(value, str) else value for name in _ANSWER_FIELDS if (value := delta.get(name))
    )

"""What is usable of a streamed answer in OpenAI's shape, chunk by chunk, and whether it has come to its end."""

import secrets
from typing import Any

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import MalformedAnswer
from sekha_llm_bridge.providers.base import ChatChunk
from sekha_llm_bridge.providers.openai_answer import chat_answer, is_count, read_chat_usage, text_of

_NO_END = "the provider's answer ended without a finish_reason: it was cut off"


class ChunkReader:
    """Makes the chunks of one answer regular: one id, one role, indexes that tell choices and tool calls apart.

    `answers` is how many choices were asked for. `is_whole` says whether each has its finish reason: that, and not the
    end of the connection or `[DONE]`, is what tells a whole answer from one that was cut.
    """

    is_whole = False

    def __init__(self, model_id: str, answers: int, clock: Clock) -> None:
        self._model_id = model_id
        self._answers = answers
        self._clock = clock
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def require_whole(self) -> None:
        """Raises `MalformedAnswer` where the stream has ended before the answer."""
        if not self.is_whole:
            raise MalformedAnswer(_NO_END, provider_status=200)

    def read(self, event: dict[str, Any]) -> ChatChunk:
        """The chunk that an event is.

        Raises `MalformedAnswer`, and what a wrong shape raises; TypeError, too, where it is nested deeper than can be
        passed on.
        """
        orjson.dumps(event)
        choices = [self._choice(position, choice) for position, choice in enumerate(event.get("choices") or ())]
        if not self._frame:
            self._frame = self._begin(event)
        body = {**event, **self._frame, "choices": choices}
        own_usage = body.pop("usage", None)
        self._note_ends(choices)
        is_progress = any(_is_progress(choice) for choice in choices)
        return ChatChunk(body, is_progress, self.is_whole, read_chat_usage(own_usage), own_usage)

    def read_whole(self, answer: dict[str, Any]) -> ChatChunk:
        """The one chunk of an answer that came at once, although a stream was asked for."""
        regular = chat_answer(answer, None, self._clock).body
        choices = [{"delta": choice.pop("message"), **choice} for choice in regular["choices"]]
        for choice in choices:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        self._answers = len(choices)  # what came at once is all that comes
        return self.read({**regular, "choices": choices})

    def _begin(self, event: dict[str, Any]) -> dict[str, Any]:
        given, created = event.get("id"), event.get("created")
        return {
            "id": given if isinstance(given, str) and given else f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": created if is_count(created) and created else int(self._clock.now().timestamp()),
            "model": self._model_id,
        }

    def _choice(self, position: int, given: dict[str, Any]) -> dict[str, Any]:
        finish = given.get("finish_reason")
        if finish == "error" or given.get("error"):  # OpenRouter's way to say that the answer broke off
            raise MalformedAnswer("the provider broke off in the middle of its answer", provider_status=200)
        index = given["index"] if is_count(given.get("index")) else position
        choice = self._choices.setdefault(index, _Choice())
        return {
            **given,
            "index": index,
            "delta": choice.delta(given.get("delta") or {}),
            "finish_reason": finish if isinstance(finish, str) and finish else None,
        }

    def _note_ends(self, choices: list[dict[str, Any]]) -> None:
        """Only once the whole chunk is usable: of one that is not, the end would never be passed on."""
        for choice in choices:
            if choice["finish_reason"] is not None:
                self._choices[choice["index"]].is_finished = True
        has_all = len(self._choices) >= self._answers
        self.is_whole = has_all and all(one.is_finished for one in self._choices.values())


class _Choice:
    """What is known of one choice so far."""

    def __init__(self) -> None:
        self.is_finished = False
        self._has_begun = False
        self._calls: dict[int, str | None] = {}  # by the index that is passed on: the call's id
        self._passed_on: dict[int, int] = {}  # by the vendor's own index: the one that is passed on now
        self._latest = 0

    def delta(self, given: dict[str, Any]) -> dict[str, Any]:
        """The delta; the first says who speaks, as OpenAI's does."""
        delta = {**given}
        if "content" in delta:
            delta["content"] = text_of(delta["content"])
        if not self._has_begun:
            self._has_begun = True
            delta = {**delta, "role": "assistant"}
        if delta.get("tool_calls"):
            delta["tool_calls"] = [self._call(call) for call in delta["tool_calls"]]
        return delta

    def _call(self, given: dict[str, Any]) -> dict[str, Any]:
        """A part of a tool call, with the index by which clients put the parts together.

        Some vendors leave it out, or give every call the same one; a new id is a new call.
        """
        if not isinstance(given.get("function") or {}, dict):
            raise MalformedAnswer("the provider's answer has tool calls that are none", provider_status=200)
        own = given["index"] if is_count(given.get("index")) else None
        index = self._latest if own is None else self._passed_on.get(own, own)
        call_id, known = given.get("id") or None, self._calls.get(index)
        if call_id is not None and known is not None and call_id != known:
            index = next((i for i, other in self._calls.items() if other == call_id), max(self._calls) + 1)
        self._calls[index] = self._calls.get(index) or call_id
        self._latest = index
        if own is not None:
            self._passed_on[own] = index
        return {**given, "index": index}


def _is_progress(choice: dict[str, Any]) -> bool:
    """Whether the answer has come on: by any part of text, thinking or a tool call, or by its end."""
    return choice["finish_reason"] is not None or any(
        value for name, value in choice["delta"].items() if name != "role"
    )

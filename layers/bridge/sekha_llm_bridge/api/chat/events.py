"""Encodes the chunks of an answer as OpenAI's events."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.sse import DONE, event
from sekha_llm_bridge.providers import ChatChunk, has_content

_ENVELOPE_FIELDS = ("id", "object", "created", "model")


class ChunkEvents:
    """Encodes the chunks of one answer. Content is sent at once. Finish reasons are held back and sent together in the
    last chunk, so that a client never sees one before the answer is known to be complete; some vendors send them early.

    Fields of a chunk without choices are added to the next chunk that has choices, because many clients read the first
    choice of every chunk.
    """

    def __init__(self, *, with_usage: bool) -> None:
        self._usage_field = {"usage": None} if with_usage else {}
        self._with_usage = with_usage
        self._pending_fields: dict[str, Any] = {}
        self._envelope: dict[str, Any] = {}
        self._final_choices: dict[int, dict[str, Any]] = {}

    def encode(self, chunk: ChatChunk) -> bytes:
        """Returns the event for a chunk; nothing where the chunk has no content yet to send."""
        body, choices = (
            chunk.body,
            [sent for choice in chunk.body["choices"] if (sent := self._without_finish_reason(choice))],
        )
        self._envelope = {name: value for name, value in body.items() if name in _ENVELOPE_FIELDS}
        if not choices:
            self._pending_fields |= {
                name: value for name, value in body.items() if name not in {*_ENVELOPE_FIELDS, "choices"}
            }
            return b""
        pending, self._pending_fields = self._pending_fields, {}
        return event({**pending, **body, "choices": choices, **self._usage_field})

    def end(self, usage: Mapping[str, Any], receipt: Mapping[str, object]) -> bytes:
        """Returns the events that end a complete answer."""
        choices = [self._final_choices[index] for index in sorted(self._final_choices)]
        last = {**self._pending_fields, **self._envelope, "choices": choices, **self._usage_field}
        if not self._with_usage:
            return event({**last, "bridge": receipt}) + DONE
        return event(last) + event({**self._envelope, "choices": [], "usage": usage, "bridge": receipt}) + DONE

    def _without_finish_reason(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the part of a choice to send now; None for one that has only a finish reason. That waits for the
        end."""
        held = self._final_choices.get(choice["index"])
        if held is not None and held["delta"]:
            choice = {**choice, "delta": {**held["delta"], **choice["delta"]}}
            self._final_choices[choice["index"]] = {**held, "delta": {}}
        if choice["finish_reason"] is None:
            return choice
        if not has_content(choice["delta"]):
            self._final_choices[choice["index"]] = choice
            return None
        without_logprobs = {"logprobs": None} if "logprobs" in choice else {}
        self._final_choices[choice["index"]] = {**choice, "delta": {}, **without_logprobs}
        return {**choice, "finish_reason": None}

"""Encodes the chunks of an answer as OpenAI's events."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.openai_format import chunk_body, ends_part
from sekha_llm_bridge.api.sse import DONE, event
from sekha_llm_bridge.conversation import NO_FIELDS, AnswerChunk, ChoiceDelta


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
        self._last: AnswerChunk | None = None
        self._final_deltas: dict[int, ChoiceDelta] = {}
        self._n_reasoning = 0
        self.model_id = ""

    def encode(self, chunk: AnswerChunk) -> bytes:
        """Returns the event for a chunk; nothing where the chunk has no content yet to send."""
        sent = tuple(now for delta in chunk.choices if (now := self._without_finish_reason(delta)) is not None)
        self._last = chunk
        if not sent:
            self._pending_fields |= chunk.extra
            return b""
        pending, self._pending_fields = self._pending_fields, {}
        body = chunk_body(chunk, sent, self.model_id, n_reasoning=self._n_reasoning)
        for delta in sent:
            for thought in delta.reasoning:
                self._n_reasoning += ends_part(thought)
        if self._with_usage:
            body["usage"] = None
        return event({**pending, **body} if pending else body)

    def end(self, usage: Mapping[str, Any], receipt: Mapping[str, object]) -> bytes:
        """Returns the events that end a complete answer."""
        deltas = tuple(self._final_deltas[position] for position in sorted(self._final_deltas))
        frame = {} if self._last is None else chunk_body(self._last._replace(extra=NO_FIELDS), deltas, self.model_id)
        last = {**self._pending_fields, **frame, "choices": frame.get("choices", []), **self._usage_field}
        if not self._with_usage:
            return event({**last, "bridge": receipt}) + DONE
        return event(last) + event({**frame, "choices": [], "usage": usage, "bridge": receipt}) + DONE

    def _without_finish_reason(self, delta: ChoiceDelta) -> ChoiceDelta | None:
        """Returns the part of a choice to send now; None for one that has only a finish reason. That waits for the
        end.
        """
        held = self._final_deltas.get(delta.position)
        if held is not None and held.is_first:
            delta = delta._replace(
                is_first=True, text=delta.text if held.text is None else held.text + (delta.text or "")
            )
            self._final_deltas[delta.position] = held._replace(is_first=False, text=None)
        if delta.finish_reason is None:
            return delta
        if not delta.has_content:
            self._final_deltas[delta.position] = delta
            return None
        self._final_deltas[delta.position] = ChoiceDelta(
            delta.position, finish_reason=delta.finish_reason, stop_sequence=delta.stop_sequence, extra=delta.extra
        )
        return delta._replace(finish_reason=None, stop_sequence=None)

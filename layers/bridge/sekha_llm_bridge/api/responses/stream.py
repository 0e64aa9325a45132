"""OpenAI's typed event stream of a response.

An incomplete answer ends with the events `error` and `response.failed`: OpenAI's clients raise on the first, others
read the second. It never ends with `response.completed` or `response.incomplete`. Nothing follows the last event: the
Responses API has no `[DONE]`.
"""

from collections.abc import Callable, Iterable, Mapping

import orjson

from sekha_llm_bridge.api.responses.errors import failure_code, responses_error_body
from sekha_llm_bridge.api.responses.items import Event
from sekha_llm_bridge.api.responses.output import Output, OutputRules, incomplete_reason
from sekha_llm_bridge.api.responses.response import ResponseFrame, usage_body
from sekha_llm_bridge.api.sse import EVENT_STREAM, PING
from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks


class ResponseStreamEncoder:
    """A `StreamEncoder` for one response. `unix_time_s` returns the current time."""

    content_type = EVENT_STREAM
    has_pings = True

    def __init__(
        self, frame: ResponseFrame, rules: OutputRules, unix_time_s: Callable[[], int], model_id: str | None
    ) -> None:
        self._frame = frame
        self._output = Output(rules)
        self._unix_time_s = unix_time_s
        self._model_id = model_id or ""
        self._n_sent = 0
        self._finish_reason: str | None = None

    def ping(self) -> bytes:
        """See `StreamEncoder.ping`."""
        return PING

    def begin(self, model_id: str) -> None:
        """See `StreamEncoder.begin`."""
        self._model_id = model_id

    def chunk(self, chunk: AnswerChunk) -> bytes:
        """See `StreamEncoder.chunk`. What ends the answer waits for `end`: a finish reason may be followed by more."""
        events: list[Event] = []
        for delta in chunk.choices:
            if delta.position == 0:
                events += self._output.add(delta)
                self._finish_reason = delta.finish_reason or self._finish_reason
        return self._beginning() + self._encoded(events)

    def end(self, answer: StreamedAnswer[CountedChunks], receipt: dict[str, object]) -> bytes:
        """See `StreamEncoder.end`."""
        chunks = answer.chunks
        usage = usage_body(chunks.usage, chunks.provider_usage, is_estimated=chunks.is_estimated)
        return self.finish(usage, receipt)

    def finish(self, usage: Mapping[str, object], receipt: Mapping[str, object]) -> bytes:
        """Returns the events that end a complete answer."""
        beginning = self._beginning()
        events = self._output.finish(self._finish_reason)
        reason = incomplete_reason(self._finish_reason)
        status = "completed" if reason is None else "incomplete"
        body = self._frame.body(
            status,
            self._model_id,
            self._output.items,
            incomplete_details=None if reason is None else {"reason": reason},
            completed_at=None if reason else self._unix_time_s(),
            usage=usage,
            bridge=receipt,
        )
        return beginning + self._encoded([*events, {"type": f"response.{status}", "response": body}])

    def error(self, error: BridgeError, request_id: str, details: Mapping[str, object]) -> bytes:
        """See `StreamEncoder.error`."""
        sent = responses_error_body(error, request_id, details)["error"]
        failure = {"code": failure_code(error), "message": sent["message"]}
        failed = self._frame.body("failed", self._model_id, [], error=failure)
        top = {name: sent[name] for name in ("code", "message", "param")}
        events = [{"type": "error", **top, "error": sent}, {"type": "response.failed", "response": failed}]
        return self._beginning() + self._encoded(events)

    def _beginning(self) -> bytes:
        """Returns the first two events, once."""
        if self._n_sent:
            return b""
        body = self._frame.body("in_progress", self._model_id, [])
        return self._encoded([{"type": f"response.{name}", "response": body} for name in ("created", "in_progress")])

    def _encoded(self, events: Iterable[Event]) -> bytes:
        encoded = []
        for fields in events:
            data = orjson.dumps({"type": fields["type"], "sequence_number": self._n_sent, **fields})
            encoded.append(b"event: %b\ndata: %b\n\n" % (fields["type"].encode(), data))
            self._n_sent += 1
        return b"".join(encoded)

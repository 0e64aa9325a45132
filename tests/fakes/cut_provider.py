"""A provider of three formats whose streams are cut where the request says it."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from tests.fakes import anthropic_wire as wire
from tests.fakes.provider import FakeProvider, Received, Reply, Stream, chat_events, ollama_events

TEXT = " ".join(f"word{n}" for n in range(20))
_WISH = re.compile(r"cut at ([\d.]+), (closed|reset|silent)")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a stream is cut, as a share of the bytes of its text, and how: see `Stream.ending`."""

    at: float
    ending: Literal["closed", "reset"]

    def __str__(self) -> str:
        """The words for it in a prompt."""
        return f"cut at {self.at}, {self.ending}"


class CutProvider(FakeProvider):
    """Answers every stream with `TEXT`. A request whose prompt has the words of a `Cut` gets only the beginning, which
    ends before the provider has said that the answer is complete.
    """

    def reply_to(self, request: Received) -> Reply:
        """Records the request and returns its reply."""
        self.received.append(request)
        found = _WISH.search(str(request.body))
        parts, kind = _stream_of(request)
        if found is None:
            return Reply(stream=Stream(parts, content_type=kind))
        before_its_end = b"".join(parts[: _events_before_the_end(parts)])
        beginning = before_its_end[: int(len(before_its_end) * float(found[1]))]
        ending: Any = found[2]
        return Reply(stream=Stream([beginning] if beginning else [], ending, kind))


def _stream_of(request: Received) -> tuple[list[bytes], str]:
    """The events of a whole answer in the format of the request's path, and their content type."""
    model = request.body["model"]
    match request.path:
        case "/v1/messages":
            answer = wire.message(wire.text(TEXT), model=model)
            return list(wire.stream(answer, n_parts=20)), "text/event-stream"
        case "/api/chat":
            return list(ollama_events(TEXT, model=model)), "application/x-ndjson"
        case _:
            return list(chat_events(TEXT, model=model)), "text/event-stream"


def _events_before_the_end(parts: list[bytes]) -> int:
    """The number of events before the one that says how the answer ended."""
    marks = (b'"finish_reason": "stop"', b'"message_delta"', b'"done": true')
    return next(position for position, part in enumerate(parts) if any(mark in part for mark in marks))

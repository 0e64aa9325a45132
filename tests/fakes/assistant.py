"""A provider that answers by what it is asked, in OpenAI's, Anthropic's and Ollama's formats: with tool calls, with
JSON, or with text.
"""

import json
import threading
from collections.abc import Mapping
from typing import Any

from tests.fakes.chat_formats import FORMATS, Asked, ChatFormat, Said, stream_of
from tests.fakes.provider import FakeProvider, Received, Reply
from tests.fakes.schema_answers import example_of

TEXT = "Hello from the assistant."
WEATHER = "It is 21 degrees in Oslo."
CITY = {"city": "Oslo"}
CUT = "Stop in the middle."  # a question whose streamed answer breaks off
WAIT = "Wait in the middle."  # a question whose streamed answer does not end while somebody reads it
COMPARE = "Compare three cities."  # a question that takes two calls at once, and then another
PERSON = {"name": "Ada", "age": 36}
LABELS = "memory, routing, cost"
LIMITED_MODEL = "limited"  # a model whose requests are too many
LIMITED_FOR_S = 7
BROKEN_MODEL = "broken"  # a model whose server fails

_BY_NAME: dict[str, Any] = {**PERSON, "summary": LABELS}
_CHARACTERS_PER_TOKEN = 4
_COMPARED = ((("weather", CITY), ("weather", {"city": "Bergen"})), (("weather", {"city": "Tromsø"}),))


class Assistant(FakeProvider):
    """Calls the tool `weather` when it is offered, and tells the weather after the tool's result. The arguments of any
    other tool, as libraries ask for structured output, and an answer with a JSON schema are what the schema describes.

    `COMPARE` takes two turns of calls, and is answered with all results, so that none is lost or exchanged. The answer
    to `CUT` breaks off; that to `WAIT` waits until the client leaves.
    """

    def __init__(self, *, dimension: int = 8) -> None:
        super().__init__(dimension=dimension, text=TEXT)
        self.last_waiting = threading.Event()
        """Set once the client of the latest `WAIT` has left."""

    def said(self, asked: Asked) -> Said:
        """Returns what is answered."""
        if asked.question == COMPARE and "weather" in asked.tools:
            return _compared(asked)
        if asked.ends_with_result:
            return Said(WEATHER)
        if asked.tools:
            return Said(None, (_call_of_one(asked.tools),))
        if asked.wants_json:
            return Said(json.dumps(example_of(asked.schema, _BY_NAME) if asked.schema else PERSON))
        return Said(self.text)

    def breaks_off(self, asked: Asked) -> bool:
        """Returns whether a streamed answer breaks off in its middle."""
        return asked.latest == CUT

    def _default_reply(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            return Reply(body={"input_tokens": len(json.dumps(request.body)) // _CHARACTERS_PER_TOKEN})
        form = FORMATS.get(path)
        if form is None:
            return super()._default_reply(request)
        asked = form.asked(request.body)
        if asked.model == LIMITED_MODEL:
            return Reply(429, {"error": {"message": "too many requests"}}, {"retry-after": str(LIMITED_FOR_S)})
        if asked.model == BROKEN_MODEL:
            return Reply(500, {"error": {"message": "out of order"}})
        return self._answer(form, asked)

    def _answer(self, form: ChatFormat, asked: Asked) -> Reply:
        said = self.said(asked)
        if not asked.is_streamed:
            return Reply(body=form.whole(said, asked))
        parts = list(form.parts(said, asked))
        begun = parts[: len(parts) // 2]
        if self.breaks_off(asked):
            return Reply(stream=stream_of(form, said, asked, parts=begun, ending="closed"))
        if asked.latest == WAIT:
            self.last_waiting = threading.Event()
            waiting = {"ending": "silent", "client_disconnected": self.last_waiting}
            return Reply(stream=stream_of(form, said, asked, parts=begun, **waiting))
        return Reply(stream=stream_of(form, said, asked))


def _call_of_one(tools: Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    if "weather" in tools:
        return "weather", CITY
    name, schema = next(iter(tools.items()))
    return name, example_of(schema, _BY_NAME) if schema.get("properties") else PERSON


def _compared(asked: Asked) -> Said:
    n_turns = {0: 0, 2: 1}.get(len(asked.results))
    return Said("; ".join(asked.results)) if n_turns is None else Said(None, _COMPARED[n_turns])

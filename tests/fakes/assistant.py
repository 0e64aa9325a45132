"""A provider that answers by what it is asked, in OpenAI's format: with a tool call, with JSON, or with text."""

import json
from typing import Any

from tests.fakes.provider import FakeProvider, Received, Reply, Stream, chat_completion, chat_events, chunk
from tests.fakes.schema_answers import example_of

CHAT_PATH = "/v1/chat/completions"
TEXT = "Hello from the assistant."
WEATHER = "It is 21 degrees in Oslo."
CITY = {"city": "Oslo"}
CUT = "Stop in the middle."  # a question whose streamed answer breaks off
PERSON = {"name": "Ada", "age": 36}
LABELS = "memory, routing, cost"

_BY_NAME: dict[str, Any] = {**PERSON, "summary": LABELS}


class Assistant(FakeProvider):
    """Calls the tool `weather` when it is offered, and tells the weather after the tool's result. Any other offered
    tool gets a person as arguments, as libraries ask for structured output; a JSON schema gets what it describes. The
    answer to `CUT` breaks off.
    """

    def __init__(self, *, dimension: int = 8) -> None:
        super().__init__(dimension=dimension, text=TEXT)

    def _default_reply(self, request: Received) -> Reply:
        if request.path != CHAT_PATH:
            return super()._default_reply(request)
        body = request.body
        if body["messages"][-1]["content"] == CUT:
            return _cut_reply(body)
        if body["messages"][-1]["role"] == "tool":
            return _text_reply(body, WEATHER)
        if tools := body.get("tools"):
            return _call_reply(body, [tool["function"]["name"] for tool in tools])
        if (body.get("response_format") or {}).get("type", "text") != "text":
            return _text_reply(body, json.dumps(_json_answer(body)))
        return _text_reply(body, self.text)


def _json_answer(body: dict[str, Any]) -> Any:
    schema = (body["response_format"].get("json_schema") or {}).get("schema")
    return example_of(schema, _BY_NAME) if schema else PERSON


def _text_reply(body: dict[str, Any], text: str) -> Reply:
    if body.get("stream"):
        return Reply(stream=Stream(list(chat_events(text, model=body["model"]))))
    return Reply(body=chat_completion(text, model=body["model"]))


def _cut_reply(body: dict[str, Any]) -> Reply:
    """Returns a stream whose connection is closed after some words."""
    events = list(chat_events(TEXT, model=body["model"]))
    return Reply(stream=Stream(events[:3], ending="closed"))


def _call_reply(body: dict[str, Any], offered: list[str]) -> Reply:
    name, arguments = ("weather", CITY) if "weather" in offered else (offered[0], PERSON)
    written = json.dumps(arguments)
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": written}}
    if not body.get("stream"):
        answer: Any = chat_completion(None, model=body["model"], tool_calls=[call])
        answer["choices"][0]["finish_reason"] = "tool_calls"
        return Reply(body=answer)
    start = {**call, "index": 0, "function": {"name": name, "arguments": ""}}
    deltas = [{"role": "assistant", "content": None, "tool_calls": [start]}]
    pieces = (written[:6], written[6:])
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
    events = [chunk(delta, model=body["model"]) for delta in deltas]
    return Reply(stream=Stream([*events, chunk({}, finish="tool_calls", model=body["model"]), b"data: [DONE]\n\n"]))

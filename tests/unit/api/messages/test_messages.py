"""Whole and streamed answers through the function's own handler, against providers over HTTP."""

import json
from typing import Any

import pytest

from tests.fakes import anthropic_wire as wire
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, ndjson, ollama_chat
from tests.unit.api.messages.function import PATH, ask, stream

OPENAI_PATH, OLLAMA_PATH = "/v1/chat/completions", "/api/chat"
WEATHER = {
    "name": "weather",
    "description": "The weather at a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
PARIS = {"place": "Paris"}
DONE = b"data: [DONE]\n\n"
TEXTS = {"claude-opus-4-6": "Hello from Claude.", "gpt": "Hello from the fake.", "llama": "Hello from the second."}


def call_of(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))},
    }


@pytest.mark.parametrize("model", TEXTS)
def test_any_models_answer_is_anthropics_message(messages: Function, model: str) -> None:
    body = ask(messages, model=model)
    assert [(block["type"], block["text"]) for block in body["content"]] == [("text", TEXTS[model])]
    assert (body["model"], body["stop_reason"], body["stop_sequence"]) == (model, "end_turn", None)
    assert body["id"].startswith("msg_")
    assert (body["bridge"]["model_id"], body["bridge"]["attempts"][0]["code"]) == (model, "ok")


@pytest.mark.parametrize("model", TEXTS)
def test_any_models_stream_is_anthropics_and_says_the_same_as_a_whole_answer(messages: Function, model: str) -> None:
    whole, streamed = ask(messages, model=model), stream(messages, model=model)
    assert streamed.is_whole
    names = ("type", "role", "model", "content", "stop_reason", "stop_sequence")
    assert {name: streamed.message[name] for name in names} == {name: whole[name] for name in names}
    assert streamed.message["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert streamed.message["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert streamed.ending["bridge"]["model_id"] == model


def test_cached_tokens_are_counted_beside_the_others(messages: Function) -> None:
    usage = ask(messages, model="gpt")["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (9, 2, 7)


def test_a_request_is_translated_for_a_provider_of_openais_format(messages: Function, fake: FakeProvider) -> None:
    ask(
        messages,
        model="gpt",
        system="Be brief.",
        stop_sequences=["END"],
        temperature=0,
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Paris?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": PARIS},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
    )
    sent = fake.calls(OPENAI_PATH)[0].body
    function = {"name": "weather", "description": WEATHER["description"], "parameters": WEATHER["input_schema"]}
    assert sent == {
        "model": "gpt",
        "max_tokens": 100,
        "stop": ["END"],
        "temperature": 0,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Paris?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [call_of("weather", "toolu_1", **PARIS)]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"},
            {"role": "user", "content": "And now?"},
        ],
    }


def test_the_calls_of_any_model_are_blocks_with_their_input(
    messages: Function, fake: FakeProvider, second: FakeProvider, claude: FakeProvider
) -> None:
    call = call_of("weather", "call_1", **PARIS)
    fake.script(OPENAI_PATH, Reply(body=chat_completion(None, tool_calls=[call])))
    second.script(
        OLLAMA_PATH, Reply(body=ollama_chat("", tool_calls=[{"function": call["function"] | {"arguments": PARIS}}]))
    )
    block = wire.tool_use("toolu_2", "weather", **PARIS)
    claude.script(PATH, Reply(body=wire.message(block, stop_reason="tool_use")))
    for model in TEXTS:
        body = ask(messages, model=model, tools=[WEATHER])
        (use,) = body["content"]
        assert (use["type"], use["name"], use["input"], body["stop_reason"]) == (
            "tool_use",
            "weather",
            PARIS,
            "tool_use",
        )
        assert use["id"]


def test_streamed_calls_whose_fragments_come_in_turns_are_blocks_one_after_the_other(
    messages: Function, fake: FakeProvider
) -> None:
    def fragment(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        name = {"name": first.pop("name")} if "name" in first else {}
        return {"index": index, **first, "function": {**name, "arguments": arguments}}

    parts = [
        chunk({"role": "assistant", "content": "I look."}),
        chunk({"tool_calls": [fragment(0, '{"place"', id="call_0", type="function", name="weather")]}),
        chunk({"tool_calls": [fragment(1, '{"place"', id="call_1", type="function", name="weather")]}),
        chunk({"tool_calls": [fragment(0, ': "Paris"}')]}),
        chunk({"tool_calls": [fragment(1, ': "Rome"}')]}),
        chunk({}, finish="tool_calls"),
    ]
    fake.script(OPENAI_PATH, Reply(stream=Stream([*parts, DONE])))
    found = stream(messages, model="gpt", tools=[WEATHER])
    assert [block["type"] for block in found.message["content"]] == ["text", "tool_use", "tool_use"]
    assert [block.get("input") for block in found.message["content"]] == [None, PARIS, {"place": "Rome"}]
    assert found.message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("model", TEXTS)
def test_a_cut_stream_ends_with_an_error_and_never_as_a_whole_one(
    messages: Function, fake: FakeProvider, second: FakeProvider, claude: FakeProvider, model: str
) -> None:
    fake.script(OPENAI_PATH, Reply(stream=Stream([chunk({"content": "one"})], ending="closed")))
    line = {"model": "llama", "message": {"role": "assistant", "content": "one"}, "done": False}
    second.script(OLLAMA_PATH, Reply(stream=Stream([ndjson(line)], ending="closed")))
    claude.script(
        PATH, Reply(stream=Stream(list(wire.stream(wire.message(wire.text("one two"))))[:5], ending="closed"))
    )
    found = stream(messages, model=model)
    assert not found.is_whole
    assert found.error is not None
    assert found.error["type"] == "api_error"
    assert found.text.startswith("one")

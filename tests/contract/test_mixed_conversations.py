"""One conversation of six turns, carried on alternately by two providers of any two formats: what one has answered, the
other takes as history. The fakes' formats are those of the vendors' own clients, which also check every request.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from ollama._types import ChatRequest as OllamaChatRequest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.anthropic_types import faults
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, ndjson, ollama_chat, sse
from tests.fakes.settings import chat_model, make_settings, provider

CHAT = "/v1/chat/completions"
SIGNATURE = "EqQBsigned"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tells one thing about a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("weather", "population")
]
SHAPE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
JSON_FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": SHAPE, "strict": True}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(png(2, 2)).decode()}}
CITY = '{"city": "Oslo"}'


class Said(NamedTuple):
    """What a fake model answers: reasoning, a text, and calls as (id, name, arguments)."""

    text: str | None = None
    calls: tuple[tuple[str, str, dict[str, str]], ...] = ()
    thought: str = ""


TWO_CALLS = Said(
    None, (("one", "weather", {"city": "Oslo"}), ("two", "population", {"city": "Oslo"})), "I need two facts."
)
ONE_CALL = Said("Let me see.", (("three", "weather", {"city": "Rome"}),), "Once more.")
TEXT = Said("It rains on 700,000 people.")
ANSWERS = (TWO_CALLS, TEXT, Said(CITY), ONE_CALL, TEXT, Said(CITY))


def openai_reply(said: Said, *, is_streamed: bool, body: Mapping[str, Any]) -> Reply:
    calls = [
        {
            "index": i,
            "id": f"call_{call_id}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(args)},
        }
        for i, (call_id, name, args) in enumerate(said.calls)
    ]
    fields: dict[str, Any] = {"tool_calls": calls} if calls else {}
    fields |= {"reasoning_content": said.thought} if said.thought else {}
    if not is_streamed:
        return Reply(body=chat_completion(said.text, model=body["model"], **fields))
    end = {**chat_completion(""), "choices": []}
    first = chunk({"role": "assistant", "content": said.text, **fields})
    return Reply(
        stream=Stream([first, chunk({}, finish="tool_calls" if calls else "stop"), sse(end), b"data: [DONE]\n\n"])
    )


def ollama_reply(said: Said, *, is_streamed: bool, body: Mapping[str, Any]) -> Reply:
    calls = [{"function": {"name": name, "arguments": args}} for _, name, args in said.calls]
    fields: dict[str, Any] = {"tool_calls": calls} if calls else {}
    fields |= {"thinking": said.thought} if said.thought else {}
    answer = ollama_chat(said.text or "", model=body["model"], **fields)
    if not is_streamed:
        return Reply(body=answer)
    lines = [ndjson({**answer, "done": False}), ndjson(ollama_chat("", model=body["model"]))]
    return Reply(stream=Stream(lines, content_type="application/x-ndjson"))


def anthropic_reply(said: Said, *, is_streamed: bool, body: Mapping[str, Any]) -> Reply:
    blocks = [anthropic_wire.thinking(said.thought, SIGNATURE)] if said.thought else []
    blocks += [anthropic_wire.text(said.text)] if said.text else []
    blocks += [anthropic_wire.tool_use(f"toolu_{call_id}", name, **args) for call_id, name, args in said.calls]
    stop = "tool_use" if said.calls else "end_turn"
    answer = anthropic_wire.message(*blocks, stop_reason=stop, model=body["model"])
    return Reply(stream=Stream(list(anthropic_wire.stream(answer)))) if is_streamed else Reply(body=answer)


def bedrock_reply(said: Said, *, is_streamed: bool, body: Mapping[str, Any]) -> Reply:
    stop = "tool_use" if said.calls else "end_turn"
    if not is_streamed:
        thought = {"reasoningContent": {"reasoningText": {"text": said.thought, "signature": SIGNATURE}}}
        calls = [
            {"toolUse": {"toolUseId": f"tooluse_{call_id}", "name": name, "input": args}}
            for call_id, name, args in said.calls
        ]
        answer = bedrock.converse_answer(None, *([thought] if said.thought else []), stop=stop)
        content = answer["output"]["message"]["content"]
        content += ([{"text": said.text}] if said.text else []) + calls
        return Reply(body=answer)
    parts = [bedrock.event("messageStart", {"role": "assistant"})]
    if said.thought:
        parts += [
            bedrock.block_delta({"reasoningContent": {"text": said.thought}}),
            bedrock.block_delta({"reasoningContent": {"signature": SIGNATURE}}),
            bedrock.block_stop(),
        ]
    if said.text:
        parts += [bedrock.text_delta(said.text, 1), bedrock.block_stop(1)]
    for block, (call_id, name, args) in enumerate(said.calls, start=2):
        argument_delta = bedrock.block_delta({"toolUse": {"input": json.dumps(args)}}, block)
        parts += [bedrock.call_start(f"tooluse_{call_id}", name, block), argument_delta, bedrock.block_stop(block)]
    return bedrock.streamed(*parts, bedrock.message_stop(stop), bedrock.metadata())


def check_openai(body: dict[str, Any]) -> None:
    expected = CompletionCreateParamsStreaming if body.get("stream") else CompletionCreateParamsNonStreaming
    # Vendors of OpenAI's format take back the reasoning that their models have given out; OpenAI's own types lack it.
    messages = [
        {name: value for name, value in message.items() if not name.startswith("reasoning")}
        for message in body["messages"]
    ]
    assert list(faults({**body, "messages": messages}, expected)) == []
    _check_ids(message for message in body["messages"])


def _check_ids(messages: Iterable[Mapping[str, Any]]) -> None:
    """Every result refers to a call of the assistant message before it."""
    known: set[str] = set()
    for message in messages:
        if message["role"] == "assistant":
            known = {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool":
            assert message["tool_call_id"] in known
            known.discard(message["tool_call_id"])


def check_anthropic(body: dict[str, Any]) -> None:
    expected = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    assert list(faults(body, expected)) == []
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    for message, following in zip(body["messages"], body["messages"][1:], strict=False):
        calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in following["content"] if block["type"] == "tool_result"]
        assert results == calls
    thoughts = [block for message in body["messages"] for block in message["content"] if block["type"] == "thinking"]
    assert all(block["signature"] == SIGNATURE and block["thinking"] for block in thoughts)


def check_ollama(body: dict[str, Any]) -> None:
    OllamaChatRequest.model_validate(body)
    results = [message["tool_name"] for message in body["messages"] if message["role"] == "tool"]
    called = [call["function"]["name"] for message in body["messages"] for call in message.get("tool_calls", ())]
    assert results == called


def check_bedrock(body: dict[str, Any]) -> None:
    """By botocore's model, and the documented rules."""
    assert bedrock.fault_of(body, _MODEL, "converse") is None
    assert body["inferenceConfig"]["maxTokens"] > 0


class Wire(NamedTuple):
    """One format: how it is configured, what its fake answers, and what a request of it must be."""

    kind: str
    fake: type[FakeProvider]
    suffix: str
    path: str
    stream_path: str
    reply: Callable[..., Reply]
    check: Callable[[dict[str, Any]], None]


_MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
_BEDROCK_PATH = f"/model/{_MODEL.replace(':', '%3A')}"
WIRES = {
    wire.kind: wire
    for wire in (
        Wire("openai", FakeProvider, "/v1", CHAT, CHAT, openai_reply, check_openai),
        Wire("ollama", FakeProvider, "", "/api/chat", "/api/chat", ollama_reply, check_ollama),
        Wire("anthropic", FakeProvider, "", "/v1/messages", "/v1/messages", anthropic_reply, check_anthropic),
        Wire(
            *("bedrock", bedrock.FakeBedrock, "", f"{_BEDROCK_PATH}/converse", f"{_BEDROCK_PATH}/converse-stream"),
            *(bedrock_reply, check_bedrock),
        ),
    )
}
MODELS = {"openai": "gpt", "ollama": "llama", "anthropic": "claude-sonnet-4-5", "bedrock": _MODEL}


@pytest.fixture
def fakes() -> Iterator[dict[str, FakeProvider]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(wire.fake()) for kind, wire in WIRES.items()}


@pytest.fixture
def chat(fakes: Mapping[str, FakeProvider]) -> Function:
    providers = [
        provider(
            *(kind, chat_model(MODELS[kind], supports_vision=True, context_window=100_000)),
            provider_type=kind,
            base_url=fakes[kind].url + wire.suffix,
            api_key="k",
            **({"region": "eu-west-1"} if kind == "bedrock" else {}),
        )
        for kind, wire in WIRES.items()
    ]
    return Function("chat_completions", make_bridge(make_settings(*providers)))


def message_of(answer: FunctionResponse, *, is_streamed: bool) -> dict[str, Any]:
    """The message of an answer, as a client puts it into the history."""
    assert answer.status == 200, answer.text
    if not is_streamed:
        message: dict[str, Any] = answer.json()["choices"][0]["message"]
        return message
    assert answer.text.endswith("data: [DONE]\n\n"), answer.text
    chunks = [json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n")[:-2]]
    joined: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for delta in (choice["delta"] for one in chunks for choice in one["choices"]):
        for name in ("content", "reasoning_content", "reasoning_details"):
            if delta.get(name):
                joined[name] = joined[name] + delta[name] if joined.get(name) else delta[name]
        for part in delta.get("tool_calls", ()):
            call = calls.setdefault(part["index"], {**part, "function": {**part["function"], "arguments": ""}})
            call["function"]["arguments"] += part["function"]["arguments"]
    calls_in_order = [{name: call[name] for name in ("id", "type", "function")} for call in calls.values()]
    return {**joined, **({"tool_calls": calls_in_order} if calls else {})}


def results_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") or ()
    return [{"role": "tool", "tool_call_id": call["id"], "content": f"facts of {call['id']}"} for call in calls]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("second", WIRES)
@pytest.mark.parametrize("first", WIRES)
def test_what_one_format_answers_the_other_takes_as_history(
    chat: Function,
    fakes: Mapping[str, FakeProvider],
    first: str,
    second: str,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is known of this city?"}, IMAGE]},
    ]
    for turn, said in enumerate(ANSWERS):
        kind = (first, second)[turn % 2]
        wire, fake = WIRES[kind], fakes[kind]
        body: dict[str, Any] = {"model": MODELS[kind], "messages": history, "tools": TOOLS, "max_tokens": 2048}
        body |= {"response_format": JSON_FORMAT} if said.text == CITY else {}
        body |= {"stream": True} if is_streamed else {}
        path = wire.stream_path if is_streamed else wire.path
        fake.script(path, wire.reply(said, is_streamed=is_streamed, body=body))
        answer = chat("POST", CHAT, body)
        sent = [request.body for request in fake.received if request.path == path][-1]
        wire.check(sent)
        message = message_of(answer, is_streamed=is_streamed)
        assert (message.get("content") or None) == said.text
        called = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ]
        assert called == [(name, arguments) for _, name, arguments in said.calls]
        assert message.get("reasoning_content", "") == said.thought
        history = [*history, message, *(results_of(message) or [{"role": "user", "content": "And then?"}])]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ["anthropic", "bedrock"])
def test_signed_reasoning_comes_back_to_its_provider_with_its_signature(
    chat: Function,
    fakes: Mapping[str, FakeProvider],
    kind: str,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    wire, fake = WIRES[kind], fakes[kind]
    history: list[dict[str, Any]] = [{"role": "user", "content": "Weather and people of Oslo?"}]
    body = {"model": MODELS[kind], "messages": history, "tools": TOOLS, "max_tokens": 2048, "stream": is_streamed}
    path = wire.stream_path if is_streamed else wire.path
    fake.script(path, wire.reply(TWO_CALLS, is_streamed=is_streamed, body=body))
    message = message_of(chat("POST", CHAT, body), is_streamed=is_streamed)
    assert chat("POST", CHAT, {**body, "messages": [*history, message, *results_of(message)]}).status == 200
    block = next(request.body for request in fake.received[::-1] if request.path == path)["messages"][1]["content"][0]
    if kind == "anthropic":
        assert block == {"type": "thinking", "thinking": TWO_CALLS.thought, "signature": SIGNATURE}
    else:
        text = {"text": TWO_CALLS.thought, "signature": SIGNATURE}
        assert block == {"reasoningContent": {"reasoningText": text}}

"""OpenAI's client assembles from a stream what the whole answer says, and takes back any answer as history."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_assistant_message_param import ChatCompletionAssistantMessageParam
from pydantic import ConfigDict, TypeAdapter, with_config

from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.providers.openai.stream import ChunkReader, join_chunks
from tests.fakes.openai_format import answer_body, chat_answer, chunk_body

ARGUMENTS = st.sampled_from(['{"x": 1}', '{"city": "Tromsø", "n": [1, 2]}', "{}"])
ASSISTANT = TypeAdapter(with_config(ConfigDict(extra="allow"))(ChatCompletionAssistantMessageParam))


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A text, and calls as (name, arguments)."""
    text = draw(st.text(max_size=12))
    calls = draw(st.lists(st.tuples(st.sampled_from(["f", "g"]), ARGUMENTS), max_size=3))
    return text, calls


@st.composite
def whole(draw: st.DrawFn, answer: tuple[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """The answer as some vendor sends it whole."""
    text, calls = answer
    message: dict[str, Any] = {"role": draw(st.sampled_from(["assistant", "model", None])), "content": text}
    message["content"] = draw(st.sampled_from([text, [{"type": "text", "text": text}]])) if text else None
    sent: list[dict[str, Any]] = [_call(draw, f"c{i}", name, arguments) for i, (name, arguments) in enumerate(calls)]
    has_empty_list = draw(st.booleans())
    if calls or has_empty_list:
        message["tool_calls"] = sent
    part = "message" if not (text or calls) else draw(st.sampled_from(["message", "delta"]))
    finish: str | None = "tool_calls" if calls else draw(st.sampled_from(["stop", None, ""]))
    finish = finish or ("stop" if part == "delta" else finish)
    return {"choices": [{part: message, "finish_reason": finish}]}


@st.composite
def streamed(draw: st.DrawFn, answer: tuple[str, list[tuple[str, str]]]) -> list[dict[str, Any]]:
    """The same answer as some vendor streams it."""
    text, calls = answer
    repeats, numbered = draw(st.booleans()), draw(st.booleans())
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": draw(st.sampled_from([None, ""]))}]
    deltas += [{"content": letter, **draw(st.sampled_from([{}, {"tool_calls": []}]))} for letter in text]
    first = draw(st.sampled_from([0, 1]))
    for i, (name, arguments) in enumerate(calls):
        at = draw(st.integers(0, len(arguments)))
        parts = [arguments[:at], arguments[at:]]
        for position, part in enumerate(parts):
            fragment: dict[str, Any] = {"function": {"arguments": part}}
            if position == 0 or repeats:
                fragment["id"] = f"c{i}"
                fragment["function"]["name"] = name
            if numbered:
                fragment["index"] = first + i
            deltas.append({"tool_calls": [fragment]})
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return [*events, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]}]


def _call(draw: st.DrawFn, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    as_sent = draw(st.sampled_from([arguments, json.loads(arguments)]))
    call: dict[str, Any] = {"function": {"name": name, "arguments": as_sent}}
    call |= draw(st.sampled_from([{}, {"id": call_id}, {"id": ""}, {"id": None}]))
    return call | draw(st.sampled_from([{}, {"type": "function"}, {"type": None}]))


def assembled(chunks: list[AnswerChunk]) -> Any:
    """What OpenAI's client makes of the chunks."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk_body(chunk)))
    return state.get_final_completion().choices[0]


def contents(message: Any) -> tuple[str, list[tuple[str, Any]]]:
    calls = message.tool_calls or []
    return message.content or "", [(one.function.name, json.loads(one.function.arguments)) for one in calls]


@given(st.data())
def test_a_stream_assembles_to_what_the_whole_answer_says(data: st.DataObject) -> None:
    answer = data.draw(answers())
    body = answer_body(chat_answer(data.draw(whole(answer))))
    completion = ChatCompletion.model_validate(
        {
            **body,
            "object": "chat.completion",
            "model": "m",
            "choices": [{**body["choices"][0], "finish_reason": "stop"}],
        }
    )
    reader = ChunkReader(1, lambda: 1)
    events = data.draw(streamed(answer))
    choice = assembled([reader.read(event) for event in copy.deepcopy(events)])
    assert contents(choice.message) == contents(completion.choices[0].message)
    ids = [call.id for call in choice.message.tool_calls or []]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    joined = answer_body(chat_answer(join_chunks(events)))["choices"][0]["message"]
    assert (joined.get("content") or "") == (choice.message.content or "")
    assert len(joined.get("tool_calls", [])) == len(ids)


@given(st.data())
def test_any_answer_is_accepted_back_as_history(data: st.DataObject) -> None:
    answer = data.draw(answers())
    body = answer_body(chat_answer(data.draw(whole(answer))))
    message = body["choices"][0]["message"]
    message = message if message.get("content") is not None or message.get("tool_calls") else {**message, "content": ""}
    ASSISTANT.validate_python(message)
    assert message.get("tool_calls") != []
    ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}, message]})

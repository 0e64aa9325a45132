"""Ollama's requests and answers: what both formats can say survives the way there and back, and no body is too odd."""

import contextlib
import json
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.api.chat.request import ChatRequest as OpenAIRequest
from sekha_llm_bridge.api.conversations.left_out import fields_left_out
from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.api.ollama.answers import chat_fields
from sekha_llm_bridge.api.ollama.stream import OllamaStreamEncoder
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta, Reasoning, ToolCallDelta
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.execution import StreamedAnswer
from sekha_llm_bridge.execution.counted_chunks import CountedChunks
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.providers.ollama.adapter import CAPABILITIES
from sekha_llm_bridge.providers.ollama.request import chat_payload as ollama_payload
from sekha_llm_bridge.providers.openai.request import chat_payload as openai_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.ollama_lines import check_ollama_lines, read_lines
from tests.fakes.openai_format import chat_call
from tests.fakes.settings import chat_model, make_settings, provider
from tests.property.translators.generated import check_every_adapter, examples, texts, with_other_values
from tests.property.translators.ollama_requests import PNG, chats, completions, conversation_of, objects

full_texts = st.text(min_size=1, max_size=8)
names = st.sampled_from(["f", "g"])
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": full_texts}),
    st.just({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
)


def turn(call_ids: list[tuple[str, str, dict[str, Any]]], thinking: str) -> list[dict[str, Any]]:
    """An answer with calls, and their results in the same order."""
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call_id, name, arguments in call_ids
    ]
    results = [{"role": "tool", "content": name, "tool_call_id": call_id} for call_id, name, _ in call_ids]
    reasoning = {"reasoning_content": thinking} if thinking else {}
    return [{"role": "assistant", "content": None, "tool_calls": calls, **reasoning}, *results]


turns = st.builds(
    turn, st.lists(st.tuples(st.uuids().map(str), names, objects), min_size=1, max_size=3), texts
) | st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": full_texts}).map(
    lambda m: [m]
)
openai_requests = st.fixed_dictionaries(
    {"messages": st.lists(turns, min_size=1, max_size=4).map(lambda found: [one for some in found for one in some])},
    optional={
        "tools": st.lists(
            st.fixed_dictionaries({"name": names, "description": texts, "parameters": objects}).map(
                lambda function: {"type": "function", "function": function}
            ),
            min_size=1,
            max_size=2,
        ),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(0, 9),
        "stop": st.lists(full_texts, min_size=1, max_size=2),
        "max_tokens": st.integers(1, 99),
        "presence_penalty": st.floats(-2, 2),
        "response_format": st.just({"type": "json_object"})
        | objects.map(lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
        "logprobs": st.just(value=True),
    },
)


@examples
@given(openai_requests)
def test_a_chat_in_openais_format_is_the_same_after_its_translation_to_ollamas_and_back(
    request: dict[str, Any],
) -> None:
    OpenAIRequest.model_validate(request)
    sent = ollama_payload(chat_call("m", request, None, 4096), stream=False)
    conversation = conversation_of(json.loads(json.dumps(sent)))
    back = openai_payload(ChatCall("m", conversation, None, 4096), VENDORS[ProviderType.LITELLM])
    assert with_numbered_ids(back) == with_numbered_ids({**request, "model": "m"})


def with_numbered_ids(request: dict[str, Any]) -> dict[str, Any]:
    """The request with the ids of the calls replaced by their numbers, and their arguments parsed: Ollama has no ids, and
    no texts of arguments.
    """
    numbers: dict[str, int] = {}
    copied: dict[str, Any] = json.loads(json.dumps(request))
    for message in copied["messages"]:
        for call in message.get("tool_calls", ()):
            call["id"] = numbers.setdefault(call["id"], len(numbers))
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        if message["role"] == "tool":
            message["tool_call_id"] = numbers[message["tool_call_id"]]
    return copied


@examples
@given(st.lists(parts, min_size=1, max_size=3))
def test_the_images_and_texts_of_a_message_survive(sent: list[dict[str, Any]]) -> None:
    request = {"messages": [{"role": "user", "content": sent}]}
    body = ollama_payload(chat_call("m", request, None, 4096), stream=False)
    back = openai_payload(ChatCall("m", conversation_of({**body}), None, 4096), VENDORS[ProviderType.LITELLM])
    content = back["messages"][0]["content"]
    found = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for kind in ("text", "image_url"):
        before = [part[kind] for part in sent if part["type"] == kind]
        after = [part[kind] for part in found if part["type"] == kind]
        assert after == (["\n".join(before)] if kind == "text" and before else before)


@examples
@given(chats | completions)
def test_every_valid_request_is_translated_for_every_format(body: dict[str, Any]) -> None:
    check(body)


@examples
@given(with_other_values(chats | completions))
def test_any_request_is_translated_or_refused_as_the_callers_mistake(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        check(body)


def check(body: dict[str, Any]) -> None:
    """Checks that the conversation can be planned, sent to every kind of provider, and noted."""
    conversation = conversation_of(body)
    route_request(conversation, Options(), bridge())
    check_every_adapter(conversation)
    fields_left_out(conversation, CAPABILITIES)


@cache
def bridge() -> Bridge:
    return make_bridge(make_settings(provider("p", chat_model(supports_vision=True), provider_type="ollama")))


calls = st.lists(st.tuples(names, objects | st.just(None)), max_size=3)
deltas = st.lists(
    st.builds(
        lambda text, thinking: ChoiceDelta(text=text, reasoning=(Reasoning(thinking),) if thinking else ()),
        texts | st.none(),
        texts,
    ),
    max_size=5,
)


@examples
@given(
    deltas=deltas,
    called=calls,
    reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    data=st.data(),
)
def test_any_answer_makes_a_stream_that_obeys_the_published_order_and_loses_nothing(
    deltas: list[ChoiceDelta], called: list[tuple[str, Any]], reason: str, data: Any
) -> None:
    """A call without arguments stands for one that was cut: it is left out."""
    clock = FakeClock()
    encoder = OllamaStreamEncoder(chat_fields, clock, clock.monotonic_s())
    encoder.begin("m")
    pieces: list[ChoiceDelta] = []
    for position, (name, arguments) in enumerate(called):
        text = "{" if arguments is None else json.dumps(arguments)
        cut = data.draw(st.integers(0, len(text)))
        pieces += [
            ChoiceDelta(tool_calls=(ToolCallDelta(position, text[:cut], f"c{position}", "function", name),)),
            ChoiceDelta(tool_calls=(ToolCallDelta(position, text[cut:]),)),
        ]
    sent = [*deltas, *pieces, ChoiceDelta(finish_reason=reason)]
    written = b"".join(encoder.chunk(AnswerChunk("id", 0, (delta,), is_progress=True)) for delta in sent)
    chunks = SimpleNamespace(usage=Usage(3, 4))
    answer = cast("StreamedAnswer[CountedChunks]", SimpleNamespace(chunks=chunks))
    written += encoder.end(answer, {"notes": []})
    stream = check_ollama_lines(read_lines(written.decode()))
    assert stream.is_whole
    assert stream.text == "".join(delta.text or "" for delta in deltas)
    assert stream.thinking == "".join(thought.text for delta in deltas for thought in delta.reasoning)
    found = [(call["function"]["name"], call["function"]["arguments"]) for call in stream.tool_calls]
    whole = [(name, arguments) for name, arguments in called if arguments is not None]
    assert found == whole
    assert len(stream.last["bridge"]["notes"]) == len(called) - len(whole)
    assert (stream.last["prompt_eval_count"], stream.last["eval_count"]) == (3, 4)

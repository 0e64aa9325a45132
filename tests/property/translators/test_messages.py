"""The Messages API: any request, any answer, and conversations that it and OpenAI's chat completions both can say."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge.api.chat import openai_format
from sekha_llm_bridge.api.chat.conversation import conversation_of as conversation_of_chat
from sekha_llm_bridge.api.conversations.features import features_with_unbounded_cost, requested_features
from sekha_llm_bridge.api.conversations.left_out import fields_left_out
from sekha_llm_bridge.api.conversations.packed_reasoning import packed
from sekha_llm_bridge.api.messages.conversation import conversation_of
from sekha_llm_bridge.api.messages.events import MessageEvents
from sekha_llm_bridge.api.messages.features import own_features
from sekha_llm_bridge.api.messages.request import CountRequest, MessagesRequest
from sekha_llm_bridge.api.messages.response import message_body
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta, Reasoning, ReasoningKind, ToolCallDelta
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.providers.anthropic.request import chat_payload as anthropic_payload
from sekha_llm_bridge.providers.anthropic.response import read_answer
from sekha_llm_bridge.providers.anthropic.stream import MessageReader
from sekha_llm_bridge.providers.ollama.adapter import CAPABILITIES
from sekha_llm_bridge.providers.openai.request import chat_payload as openai_payload
from sekha_llm_bridge.providers.openai.response import read_chat_answer
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from sekha_llm_bridge.usage import Usage
from tests.fakes.message_events import CheckedStream, check_message_events, read_events
from tests.property.translators.generated import (
    Json,
    check_every_adapter,
    examples,
    examples_of_variants,
    json_values,
    texts,
    variants,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HI: Json = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
VENDOR = VENDORS[ProviderType.LITELLM]
MODEL = "claude-opus-4-5"

caches = st.fixed_dictionaries({"type": st.just("ephemeral")}, optional={"ttl": st.sampled_from(["5m", "1h"])})
arguments = st.dictionaries(texts, json_values, max_size=2)


def objects(fields: Json, **optional: Any) -> st.SearchStrategy[Json]:
    """Objects with these fields, and perhaps some of the optional ones."""
    return st.fixed_dictionaries(fields, optional=optional)


def blocks_of(kind: str, fields: Json, **optional: Any) -> st.SearchStrategy[Json]:
    return objects({"type": st.just(kind), **fields}, cache_control=caches, **optional)


sources = st.one_of(
    st.just({"type": "base64", "media_type": "image/png", "data": PNG}),
    st.just({"type": "url", "url": "https://example.org/a.png"}),
    objects({"type": st.just("file"), "file_id": texts}),
)
document_sources = sources | st.one_of(
    objects({"type": st.just("text"), "media_type": st.just("text/plain"), "data": texts}),
    objects({"type": st.just("content"), "content": texts | st.lists(blocks_of("text", {"text": texts}), max_size=2)}),
)
plain = st.one_of(
    blocks_of("text", {"text": texts}, citations=st.none() | st.lists(json_values, max_size=1)),
    blocks_of("image", {"source": sources}),
    blocks_of("document", {"source": document_sources}, title=texts, context=texts, citations=json_values),
    blocks_of("search_result", {"source": texts, "title": texts, "content": json_values}),
    blocks_of("tool_reference", {"tool_name": texts}),
)
results = blocks_of(
    "tool_result", {"tool_use_id": texts}, content=texts | st.lists(plain, max_size=2), is_error=st.booleans()
)
signatures = texts | st.sampled_from([packed([Reasoning("")]), packed([]), "bridge1.e30=", "bridge1."])
said = st.one_of(
    blocks_of("text", {"text": texts}),
    blocks_of("tool_use", {"id": texts, "name": texts, "input": arguments}),
    objects({"type": st.just("thinking"), "thinking": texts}, signature=signatures),
    objects({"type": st.just("redacted_thinking"), "data": signatures}),
    blocks_of("server_tool_use", {"id": texts, "name": texts, "input": arguments}),
)
messages = st.one_of(
    objects({"role": st.just("user"), "content": texts | st.lists(plain | results, max_size=3)}),
    objects({"role": st.just("assistant"), "content": texts | st.lists(said, max_size=3)}),
    objects({"role": st.just("system"), "content": texts | st.lists(blocks_of("text", {"text": texts}), max_size=2)}),
)
schemas = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}, "additionalProperties": False},
    ]
) | st.dictionaries(texts, json_values, max_size=2)
tools = objects(
    {"name": st.text(min_size=1, max_size=3), "input_schema": schemas},
    type=st.sampled_from(["custom", None]),
    description=texts,
    strict=st.booleans(),
    cache_control=caches,
) | objects({"type": st.sampled_from(["web_search_20250305", "bash_20250124", "x"]), "name": texts})
formats = objects({"type": st.just("json_schema"), "schema": schemas})
requests = objects(
    {"messages": st.lists(messages, min_size=1, max_size=4), "max_tokens": st.integers(1, 9999)},
    system=texts | st.lists(blocks_of("text", {"text": texts}), max_size=2),
    tools=st.lists(tools, max_size=2),
    tool_choice=st.sampled_from([{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "x"}]),
    thinking=st.sampled_from(
        [
            {"type": "disabled"},
            {"type": "adaptive"},
            {"type": "enabled", "budget_tokens": 2000},
            {"type": "between_tools"},
        ]
    ),
    output_config=objects({}, effort=st.sampled_from(["low", "max", "x"]), format=formats),
    output_format=formats,
    stop_sequences=st.lists(texts, max_size=2),
    temperature=st.floats(0, 1),
    top_k=st.integers(0, 9),
    metadata=objects({}, user_id=texts),
    cache_control=caches,
    context_management=objects({"edits": st.lists(objects({"type": texts}), max_size=1)}),
    container=texts | objects({"id": texts}),
    x_new=json_values,
)


def check_request(body: Any) -> None:
    """Any request is refused as the caller's fault, or becomes a conversation that every adapter can work with."""
    for model in (MessagesRequest, CountRequest):
        try:
            validated(model, body)
        except InvalidRequest:
            continue
        conversation = conversation_of(body)
        requested_features(conversation)
        features_with_unbounded_cost(conversation)
        own_features(conversation)
        fields_left_out(conversation, CAPABILITIES)
        check_every_adapter(conversation)
        check_every_adapter(conversation._replace(original=None))


@examples_of_variants
@given(variants(requests))
@example([{**HI, "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]}])
@example([{**HI, "tools": [{"type": None, "name": "a", "input_schema": {"required": [[]], "type": []}}]}])
def test_any_request_is_refused_in_words_or_can_be_sent_to_providers_of_every_format(bodies: list[Json]) -> None:
    for body in bodies:
        check_request(body)


@examples
@given(json_values)
def test_any_json_is_refused_in_words(body: Any) -> None:
    check_request(body)
    check_request({**HI, "messages": body})


words = st.text("ab c\n", min_size=1, max_size=6).filter(lambda text: bool(text.strip()))
ids = st.from_regex(r"[a-zA-Z0-9_-]{1,9}", fullmatch=True)
images = st.just({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}})


said_by_users = words | st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, words) | images, min_size=1, max_size=2
).filter(lambda parts: len(parts) > 1 or parts[0]["type"] != "text")


@st.composite
def chats(draw: Any) -> Json:
    """Chat requests in the form that both formats have: the system first, then user and assistant in turns, calls with
    their results after them, and a text where a list of one text says the same.
    """
    turns: list[Json] = []
    names = draw(st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=1, max_size=2, unique=True))
    call_ids = iter(draw(st.lists(ids, min_size=6, max_size=6, unique=True)))
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(words)})
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(said_by_users)})
        n_calls = draw(st.integers(0, 2))
        calls = [
            {
                "id": next(call_ids),
                "type": "function",
                "function": {
                    "name": draw(st.sampled_from(names)),
                    "arguments": json.dumps(
                        draw(st.dictionaries(texts, texts | st.integers(-9, 9), max_size=2)),
                        separators=(",", ":"),
                        ensure_ascii=False,
                    ),
                },
            }
            for _ in range(n_calls)
        ]
        said_before = {"content": draw(words)} if not calls or draw(st.booleans()) else {"content": None}
        turns.append({"role": "assistant", **said_before, **({"tool_calls": calls} if calls else {})})
        turns += [{"role": "tool", "tool_call_id": call["id"], "content": draw(words)} for call in calls]
    turns.append({"role": "user", "content": draw(said_by_users)})
    functions = [
        {
            "name": name,
            "description": draw(words),
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
        }
        for name in names
    ]
    choices = ["auto", "required", "none", {"type": "function", "function": {"name": names[0]}}]
    optional = objects(
        {},
        temperature=st.floats(0, 1, exclude_min=True, exclude_max=True),
        top_p=st.floats(0.1, 0.9),
        top_k=st.integers(1, 9),
        stop=st.lists(words, min_size=1, max_size=2),
        tool_choice=st.sampled_from(choices),
        parallel_tool_calls=st.sampled_from([False]),
    )
    tools = [{"type": "function", "function": function} for function in functions]
    return {"messages": turns, "max_tokens": draw(st.integers(1, 99)), "tools": tools, **draw(optional)}


@examples
@given(chats())
def test_a_chat_is_the_same_after_its_translation_to_a_messages_request_and_back(chat: Json) -> None:
    there = anthropic_payload(ChatCall(MODEL, conversation_of_chat(chat), None, 4096))
    sent = {name: value for name, value in there.items() if name != "model"}
    validated(MessagesRequest, sent)
    back = openai_payload(ChatCall("m", conversation_of(sent), None, 4096), VENDOR)
    expected = {**chat, "model": "m"}
    if chat.get("tool_choice") == "none":
        expected.pop("parallel_tool_calls", None)  # no call is made, so there is no place for it
    elif "parallel_tool_calls" in chat:
        expected.setdefault("tool_choice", "auto")
    assert back == expected


answers = st.builds(
    lambda text, calls, thought, finish: {
        "id": "chatcmpl-1",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": text,
                    **({"tool_calls": calls} if calls else {}),
                    **({"reasoning_content": thought} if thought else {}),
                },
                "finish_reason": "tool_calls" if calls else finish,
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}},
    },
    words,
    st.lists(
        st.builds(
            lambda call_id, name, sent: {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(sent, separators=(",", ":"), ensure_ascii=False)},
            },
            ids,
            words,
            st.dictionaries(texts, texts, max_size=2),
        ),
        max_size=2,
        unique_by=lambda call: call["id"],
    ),
    words | st.none(),
    st.sampled_from(["stop", "length"]),
)


@examples
@given(answers)
def test_an_answer_is_the_same_after_its_translation_to_a_message_and_back(body: Json) -> None:
    answer = read_chat_answer(body, Usage(11, 7, cached_tokens=2), created=0)
    message = message_body(answer, "m", {}, conversation_of(HI))
    back = read_answer(message, created=0)
    assert back.usage == Usage(11, 7, cached_tokens=2)
    (choice,) = openai_format.answer_body(back)["choices"]
    expected = openai_format.answer_body(answer)["choices"][0]
    for name in ("content", "tool_calls", "reasoning_content"):
        assert choice["message"].get(name) == expected["message"].get(name)
    assert choice["finish_reason"] == expected["finish_reason"]


def encoded(chunks: Sequence[AnswerChunk]) -> CheckedStream:
    """The events of an answer, which have been checked."""
    events = MessageEvents(conversation_of(HI), 5)
    events.model_id = "m"
    sent = b"".join(map(events.encode, chunks)) + events.end(Usage(5, 3), {"cost": 1}, is_estimated=False)
    return check_message_events(read_events(sent.decode()))


kinds = st.sampled_from(list(ReasoningKind))
thoughts = st.builds(lambda *parts: Reasoning(*parts), texts, kinds, st.none() | texts, st.none() | texts)
calls = st.builds(
    lambda *parts: ToolCallDelta(*parts),
    st.integers(0, 2),
    st.sampled_from(["", "{", "}", "{}", '"a":', "1"]),
    st.none() | ids,
    st.none(),
    st.none() | words,
)
deltas = st.builds(
    lambda **fields: ChoiceDelta(**fields),
    text=st.none() | texts,
    reasoning=st.lists(thoughts, max_size=2).map(tuple),
    refusal=st.none() | texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    citations=st.lists(objects({"type": st.sampled_from(["x", "url_citation"])}), max_size=1).map(tuple),
    finish_reason=st.sampled_from([None, "stop", "length", "x"]),
    stop_sequence=st.none() | texts,
    extra=objects({}, stop_reason=json_values, stop_details=json_values),
)


@examples
@given(st.lists(deltas, max_size=8))
def test_the_events_of_any_answer_are_in_anthropics_order_and_lose_no_text(parts: list[ChoiceDelta]) -> None:
    checked = encoded([AnswerChunk("a", 0, (part,), is_progress=True) for part in parts])
    assert checked.is_whole
    assert checked.text == "".join((part.text or "") + (part.refusal or "") for part in parts)
    thinking = "".join(block.get("thinking", "") for block in checked.message["content"])
    assert thinking == "".join(thought.text for part in parts for thought in part.reasoning)


@st.composite
def interleaved_calls(draw: Any) -> tuple[list[ChoiceDelta], dict[int, Json]]:
    """The deltas of up to three calls whose fragments come in any order, and what each call says."""
    inputs = draw(st.lists(arguments, min_size=1, max_size=3))
    fragments: list[list[str]] = []
    for sent in inputs:
        whole = json.dumps(sent)
        cut = draw(st.integers(0, len(whole)))
        fragments.append([whole[:cut], whole[cut:]])
    order = draw(st.permutations([position for position in range(len(inputs)) for _ in range(2)]))
    parts: list[ChoiceDelta] = []
    for position in order:
        is_first = len(fragments[position]) == 2
        call = ToolCallDelta(
            position, fragments[position].pop(0), *(("c" + str(position), "function", "f") if is_first else ())
        )
        parts.append(ChoiceDelta(text=draw(st.none() | words), tool_calls=(call,)))
    return parts, dict(enumerate(inputs))


@examples
@given(interleaved_calls())
def test_calls_whose_fragments_come_in_any_order_keep_their_arguments(
    case: tuple[list[ChoiceDelta], dict[int, Json]],
) -> None:
    parts, inputs = case
    checked = encoded([AnswerChunk("a", 0, (part,), is_progress=True) for part in parts])
    found = {block["id"]: block["input"] for block in checked.message["content"] if block["type"] == "tool_use"}
    assert found == {f"c{position}": sent for position, sent in inputs.items()}
    assert checked.text == "".join(part.text or "" for part in parts)


@examples
@given(interleaved_calls())
def test_a_stream_says_the_same_after_its_translation_to_events_and_back(
    case: tuple[list[ChoiceDelta], dict[int, Json]],
) -> None:
    parts, inputs = case
    events = MessageEvents(conversation_of(HI), 5)
    sent = b"".join(events.encode(AnswerChunk("a", 0, (part,), is_progress=True)) for part in parts)
    sent += events.end(Usage(5, 3), {}, is_estimated=False)
    reader = MessageReader({}, created=0)
    chunks = list(reader.read(json.dumps(one).encode() for one in read_events(sent.decode())))
    reader.require_complete()
    found = [call for chunk in chunks for delta in chunk.choices for call in delta.tool_calls]
    ids_by_position = {call.position: call.call_id for call in found if call.call_id}
    for position, call_id in ids_by_position.items():
        joined = "".join(call.arguments for call in found if call.position == position)
        assert json.loads(joined) == inputs[int(str(call_id)[1:])]
    assert len(ids_by_position) == len(inputs)

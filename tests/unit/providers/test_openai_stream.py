"""Normalisation of chunks in which vendors deviate from OpenAI's format: clients join them by ids, roles and indexes."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from sekha_llm_bridge.conversation import AnswerChunk, AnswerState
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.base import malformed_answer_guard
from sekha_llm_bridge.providers.openai.stream import ChunkReader
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import chunk_body
from tests.fakes.provider import chat_completion

OPEN, FINISHED = AnswerState.OPEN, AnswerState.FINISHED


@pytest.fixture
def reader(clock: FakeClock) -> ChunkReader:
    """A reader for an answer with one choice."""
    return chunk_reader(clock, 1)


def chunk_reader(clock: FakeClock, n_choices: int) -> ChunkReader:
    return ChunkReader(n_choices, lambda: int(clock.now().timestamp()))


def event(delta: object, *, finish: object = None, index: object = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def choices_of(chunks: Sequence[AnswerChunk]) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk_body(chunk)["choices"]]


def deltas_of(reader: ChunkReader, *deltas: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for choice in choices_of([reader.read(event(delta)) for delta in deltas])]


def test_every_chunk_has_the_id_and_created_of_the_first_and_the_configured_model(reader: ChunkReader) -> None:
    events = [
        event({}, id="one", created=5, model="theirs", object="x"),
        event({}, id="two", created=6, model="other"),
        event({"content": "x"}),
        {"choices": []},
    ]
    bodies = [chunk_body(reader.read(sent)) for sent in events]
    frame = {"id": "one", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    assert [{name: body[name] for name in frame} for body in bodies] == [frame] * 4


@pytest.mark.parametrize(("given_id", "created"), [(None, None), ("", 0), (5, "2024"), ([], True), ({}, -1)])
def test_an_answer_without_usable_id_and_created_gets_the_same_ones_in_every_chunk(
    reader: ChunkReader, clock: FakeClock, given_id: object, created: object
) -> None:
    first = chunk_body(reader.read({"choices": [], "id": given_id, "created": created}))
    clock.advance(60)
    second = chunk_body(reader.read(event({"content": "x"}, id="late", created=7)))
    assert first["id"].startswith("chatcmpl-")
    assert first["created"] == int(clock.now().timestamp()) - 60
    assert (second["id"], second["created"]) == (first["id"], first["created"])


@pytest.mark.parametrize("role", ["assistant", "model", "", None, 5])
def test_the_first_delta_has_the_assistant_role_and_the_second_has_none(reader: ChunkReader, role: object) -> None:
    first, second = deltas_of(reader, {"role": role, "content": "Hel"}, {"content": "lo"})
    assert (first, second) == ({"role": "assistant", "content": "Hel"}, {"content": "lo"})


def test_a_first_delta_without_a_role_gets_one(reader: ChunkReader) -> None:
    assert deltas_of(reader, {"content": "x"}) == [{"role": "assistant", "content": "x"}]


def test_interleaved_choices_keep_their_indexes_and_each_has_its_role(clock: FakeClock) -> None:
    reader = chunk_reader(clock, 2)
    events = [
        event({"content": "a"}, index=1),
        event({"content": "b"}, index=0),
        event({"content": "c"}, index=1),
        event({}, index=1, finish="stop"),
        event({"content": "d"}, index=0),
        event({}, index=0, finish="length"),
    ]
    chunks = [reader.read(sent) for sent in events]
    assert [(choice["index"], choice["delta"]) for choice in choices_of(chunks)] == [
        (1, {"role": "assistant", "content": "a"}),
        (0, {"role": "assistant", "content": "b"}),
        (1, {"content": "c"}),
        (1, {}),
        (0, {"content": "d"}),
        (0, {}),
    ]
    assert [chunk.state for chunk in chunks] == [OPEN] * 5 + [FINISHED]


@pytest.mark.parametrize("index", [None, "x", True, -1])
def test_choices_of_one_chunk_without_usable_indexes_are_numbered_in_their_order(
    clock: FakeClock, index: object
) -> None:
    reader = chunk_reader(clock, 2)
    choice = {"index": index, "delta": {"content": "x"}, "finish_reason": "stop"}
    chunk = reader.read({"choices": [choice, choice]})
    assert [choice["index"] for choice in chunk_body(chunk)["choices"]] == [0, 1]
    assert chunk.state is FINISHED


def test_an_answer_is_finished_only_when_every_requested_choice_has_a_finish_reason(clock: FakeClock) -> None:
    reader = chunk_reader(clock, 2)
    assert reader.read(event({"content": "x"}, finish="stop")).state is OPEN
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="cut off"):
        reader.require_complete()
    assert reader.read(event({"content": "x"}, index=1, finish="stop")).state is FINISHED
    reader.require_complete()


def test_an_answer_stays_open_until_a_choice_beyond_the_requested_ones_has_ended(reader: ChunkReader) -> None:
    states = [
        reader.read(event({"content": "x"}, index=0)).state,
        reader.read(event({"content": "x"}, index=1)).state,
        reader.read(event({}, index=0, finish="stop")).state,
        reader.read(event({}, index=1, finish="stop")).state,
    ]
    assert states == [OPEN, OPEN, OPEN, FINISHED]


def test_a_choice_that_begins_after_the_end_opens_the_answer_again(reader: ChunkReader) -> None:
    states = [
        reader.read(event({"content": "x"}, index=0, finish="stop")).state,
        reader.read(event({"content": "x"}, index=1)).state,
        reader.read(event({}, index=1, finish="stop")).state,
    ]
    assert states == [FINISHED, OPEN, FINISHED]


def test_finish_reasons_of_the_provider_are_kept(reader: ChunkReader) -> None:
    chunks = [reader.read(event({"content": "x"}, finish=finish)) for finish in (None, "", "brand_new")]
    assert [choice["finish_reason"] for choice in choices_of(chunks)] == [None, None, "brand_new"]
    assert [chunk.state for chunk in chunks] == [OPEN, OPEN, FINISHED]


@pytest.mark.parametrize("finish", [5, True, {"why": "stop"}, ["stop"]])
def test_a_finish_reason_that_is_not_text_becomes_null(reader: ChunkReader, finish: object) -> None:
    chunk = reader.read(event({"content": "x"}, finish=finish))
    assert chunk_body(chunk)["choices"][0]["finish_reason"] is None
    assert chunk.state is OPEN


@pytest.mark.parametrize("body", [{"choices": []}, {}, event({}), event({"content": ""}, usage={})], ids=str)
def test_events_without_content_after_the_end_leave_the_answer_finished(
    reader: ChunkReader, body: dict[str, Any]
) -> None:
    reader.read(event({}, finish="stop"))
    assert reader.read(body).state is FINISHED


def test_finish_reasons_and_every_kind_of_content_are_progress(reader: ChunkReader) -> None:
    parts: list[dict[str, Any]] = [
        {"content": "x"},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"content": [{"type": "text", "text": "x"}]},
    ]
    assert all(reader.read(event(delta)).is_progress for delta in parts)
    assert reader.read(event({}, finish="stop")).is_progress


@pytest.mark.parametrize(
    "delta",
    [
        {},
        None,
        {"role": "assistant"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "reasoning_content": None, "tool_calls": None},
        {"content": [], "tool_calls": []},
    ],
    ids=str,
)
def test_a_delta_without_content_is_no_progress(reader: ChunkReader, delta: object) -> None:
    assert not reader.read(event(delta)).is_progress


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": None}, {}, {"choices": [], "usage": {}}], ids=str)
def test_a_chunk_without_choices_is_no_progress_and_no_end(reader: ChunkReader, body: dict[str, Any]) -> None:
    chunk = reader.read(body)
    assert chunk_body(chunk)["choices"] == []
    assert not chunk.is_progress
    assert chunk.state is OPEN


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 2},
    "cost": 0.01,
}


def test_usage_is_read_and_kept_as_sent_beside_the_chunk(reader: ChunkReader) -> None:
    chunk = reader.read({"choices": [], "usage": USAGE})
    assert chunk.usage == Usage(11, 7, cached_tokens=2)
    assert chunk.provider_usage == USAGE
    assert "usage" not in chunk_body(chunk)


def test_usage_in_every_chunk_is_read_in_every_chunk(reader: ChunkReader) -> None:
    counts = [{**USAGE, "completion_tokens": count, "total_tokens": 11 + count} for count in (1, 2, 3)]
    chunks = [reader.read(event({"content": "x"}, usage=count)) for count in counts]
    assert [chunk.usage for chunk in chunks] == [Usage(11, count, cached_tokens=2) for count in (1, 2, 3)]
    assert [chunk.provider_usage for chunk in chunks] == counts


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 3}, "x", 5]
)
def test_usage_without_usable_counts_is_ignored(reader: ChunkReader, usage: object) -> None:
    chunk = reader.read(event({"content": "x"}, usage=usage))
    assert chunk.usage is None
    assert "usage" not in chunk_body(chunk)


def test_text_in_parts_is_joined(reader: ChunkReader) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "reference"}, {"type": "text", "text": "lo"}]
    assert deltas_of(reader, {}, {"content": parts})[1] == {"content": "Hello"}


@pytest.mark.parametrize("thought", ["hm", [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]])
def test_thinking_parts_become_reasoning_content_and_are_progress(reader: ChunkReader, thought: object) -> None:
    """Mistral sends reasoning like this."""
    parts = [{"type": "thinking", "thinking": thought}]
    chunk = reader.read({"choices": [{"index": 0, "delta": {"content": parts}}]})
    assert chunk_body(chunk)["choices"][0]["delta"] == {"role": "assistant", "content": "", "reasoning_content": "hm"}
    assert chunk.is_progress


def test_only_the_first_delta_has_a_role(reader: ChunkReader) -> None:
    """OpenAI's client concatenates the roles of all deltas."""
    deltas = deltas_of(reader, *[{"role": "assistant", "content": "a"}] * 3)
    assert deltas == [{"role": "assistant", "content": "a"}, {"content": "a"}, {"content": "a"}]


def test_the_first_fragment_of_a_tool_call_without_an_id_gets_one(reader: ChunkReader) -> None:
    first, second = deltas_of(
        reader, {"tool_calls": [call("a", index=0, name="f")]}, {"tool_calls": [call("b", index=0)]}
    )
    assert first["tool_calls"][0]["id"].startswith("call_")
    assert "id" not in second["tool_calls"][0]


def test_unknown_fields_are_kept(reader: ChunkReader) -> None:
    sent: dict[str, Any] = {
        "choices": [{"index": 0, "delta": {"new": {"x": [1, None]}}, "finish_reason": None, "logprobs": {"a": 1}}],
        "system_fingerprint": "fp",
        "service_tier": None,
        "brand_new": [{}],
    }
    body = chunk_body(reader.read(sent))
    assert {name: body[name] for name in ("system_fingerprint", "service_tier", "brand_new")} == {
        "system_fingerprint": "fp",
        "service_tier": None,
        "brand_new": [{}],
    }
    assert body["choices"][0]["delta"]["new"] == {"x": [1, None]}
    assert body["choices"][0]["logprobs"] == {"a": 1}


def test_the_event_itself_is_not_changed(reader: ChunkReader) -> None:
    sent = event({"content": [{"text": "x"}], "tool_calls": [{"function": {"name": "f"}}]}, index=None, usage=USAGE)
    before = orjson.dumps(sent)
    reader.read(sent)
    assert orjson.dumps(sent) == before


def call(arguments: str, *, name: str | None = None, **more: Any) -> dict[str, Any]:
    """A fragment of a tool call; one with an id has a name, unless `name` is empty."""
    name = "f" if name is None and more.get("id") else name
    return {"function": {"arguments": arguments, **({"name": name} if name else {})}, **more}


def calls_of(reader: ChunkReader, *deltas: list[dict[str, Any]]) -> dict[int, str]:
    """The arguments of each call by its index, joined as OpenAI's client does."""
    joined: dict[int, str] = {}
    for delta in deltas_of(reader, *({"tool_calls": calls} for calls in deltas)):
        for one in delta["tool_calls"]:
            joined[one["index"]] = joined.get(one["index"], "") + one["function"]["arguments"]
    return joined


CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "as OpenAI sends them": [
        [call("a", index=0, id="x")],
        [call("b", index=0)],
        [call("c", index=1, id="y")],
        [call("d", index=1)],
    ],
    "interleaved": [
        [call("a", index=0, id="x")],
        [call("c", index=1, id="y")],
        [call("b", index=0)],
        [call("d", index=1)],
    ],
    "several in one chunk": [
        [call("a", index=0, id="x"), call("c", index=1, id="y")],
        [call("b", index=0), call("d", index=1)],
    ],
    "without indexes": [[call("a", id="x")], [call("b")], [call("c", id="y")], [call("d")]],
    "with another id in every fragment": [
        [call("a", index=0, id="x")],
        [call("b", index=0, id="y", name="")],
        [call("c", index=1, id="z"), call("d", index=1, id="w", name="")],
    ],
    "with names only, with one index for all": [[call("ab", index=0, name="f"), call("cd", index=0, name="g")]],
    "with the name in every fragment": [
        [call("a", index=0, id="x"), call("c", index=1, id="y")],
        [call("b", index=0, name="f"), call("d", index=1, id="y")],
    ],
    "without indexes and ids, complete, in one chunk": [[call("ab", name="f"), call("cd", name="f")]],
    "without indexes, complete, in one chunk": [[call("ab", id="x"), call("cd", id="y")]],
    "with unusable indexes": [
        [call("a", index=None, id="x")],
        [call("b", index="0")],
        [call("c", index=True, id="y")],
        [call("d", index=-1)],
    ],
    "complete, with one index for all": [[call("ab", index=0, id="x")], [call("cd", index=0, id="y")]],
    "in fragments, with one index for all": [
        [call("a", index=0, id="x")],
        [call("b", index=0)],
        [call("c", index=0, id="y")],
        [call("d", index=0)],
    ],
    "with one index for all and ids on every delta": [
        [call("a", index=0, id="x")],
        [call("c", index=0, id="y")],
        [call("b", index=0, id="x")],
        [call("d", index=0, id="y")],
    ],
    "with ids on every delta": [
        [call("a", index=0, id="x")],
        [call("b", index=0, id="x")],
        [call("c", index=1, id="y")],
        [call("d", index=1, id="y")],
    ],
    "with ids on every delta, without indexes": [
        [call("a", id="x")],
        [call("b", id="x")],
        [call("c", id="y")],
        [call("d", id="y")],
    ],
    "with empty ids after the first": [
        [call("a", index=0, id="x")],
        [call("b", index=0, id="")],
        [call("c", index=1, id="y")],
        [call("d", index=1, id=None)],
    ],
    "with the id in the second fragment": [
        [call("a", index=0)],
        [call("b", index=0, id="x")],
        [call("c", index=1)],
        [call("d", index=1, id="y")],
    ],
}


@pytest.mark.parametrize("deltas", CALLS.values(), ids=CALLS)
def test_each_tool_call_has_its_own_index(reader: ChunkReader, deltas: list[list[dict[str, Any]]]) -> None:
    assert calls_of(reader, *deltas) == {0: "ab", 1: "cd"}


def test_indexes_that_do_not_begin_at_zero_are_numbered_from_zero(reader: ChunkReader) -> None:
    deltas = [[call("a", index=1, id="x")], [call("b", index=1)], [call("cd", index=1, id="y")]]
    assert calls_of(reader, *deltas) == {0: "ab", 1: "cd"}


def test_a_new_index_for_one_call_does_not_collide_with_the_vendors_next_index(reader: ChunkReader) -> None:
    deltas = [[call("a", index=0, id="x")], [call("b", index=0, id="y")], [call("c", index=1, id="z")]]
    assert calls_of(reader, *deltas) == {0: "a", 1: "b", 2: "c"}


def test_the_tool_calls_of_each_choice_are_numbered_separately(clock: FakeClock) -> None:
    reader = chunk_reader(clock, 2)
    events = [event({"tool_calls": [call("a", id=f"x{index}")]}, index=index) for index in (0, 1)]
    choices = choices_of([reader.read(sent) for sent in events])
    assert [choice["delta"]["tool_calls"][0]["index"] for choice in choices] == [0, 0]


MALFORMED: dict[str, dict[str, Any]] = {
    "choices that are a string": {"choices": "abc"},
    "choices that are an object": {"choices": {"index": 0}},
    "choices that are a number": {"choices": 5},
    "a choice that is a string": {"choices": ["x"]},
    "a choice that is null": {"choices": [None]},
    "a delta that is a list": event([1]),
    "a delta that is a list of pairs": event([["content", "x"]]),
    "a delta that is a list of strings": event(["ab"]),
    "a delta that is a string": event("x"),
    "a delta that is a number": event(5),
    "content that is a number": event({"content": 5}),
    "content that is an object": event({"content": {"text": "x"}}),
    "content in parts that are not objects": event({"content": ["x"]}),
    "tool calls that are a string": event({"tool_calls": "x"}),
    "tool calls that are a number": event({"tool_calls": 5}),
    "tool calls that are an object": event({"tool_calls": {"index": 0}}),
    "a tool call that is a number": event({"tool_calls": [1]}),
    "a tool call with a function that is not an object": event({"tool_calls": [{"function": "f"}]}),
}


@pytest.mark.parametrize("finish", [None, "stop"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_chunk_of_another_shape_is_malformed_and_leaves_the_answer_open(
    reader: ChunkReader, body: dict[str, Any], finish: str | None
) -> None:
    choices = body["choices"]
    if isinstance(choices, list) and isinstance(choices[0], dict):
        body = {**body, "choices": [{**choices[0], "finish_reason": finish}]}
    with raises_failure(FailureKind.MALFORMED_ANSWER), malformed_answer_guard(None):
        reader.read(body)
    assert reader.state is OPEN


def test_a_malformed_choice_discards_the_finish_reason_of_another_in_its_chunk(reader: ChunkReader) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER), malformed_answer_guard(None):
        reader.read({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}, 5]})
    assert reader.state is OPEN


@pytest.mark.parametrize(
    "choice", [{"delta": {"content": "x"}, "finish_reason": "error"}, {"delta": {}, "error": {"code": 502}}]
)
def test_a_choice_that_ends_with_an_error_is_malformed(reader: ChunkReader, choice: dict[str, Any]) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="interrupted its answer"):
        reader.read({"choices": [choice]})
    assert reader.state is OPEN


def test_an_answer_that_is_not_streamed_is_one_chunk_with_everything(reader: ChunkReader) -> None:
    tools = [call("a", id="x", type="function"), call("b", id="y", type="function")]
    chunk = reader.read_unstreamed(chat_completion("Hello.", tool_calls=tools, reasoning_content="hm"))
    (choice,) = chunk_body(chunk)["choices"]
    assert choice == {
        "index": 0,
        "delta": {
            "role": "assistant",
            "content": "Hello.",
            "tool_calls": [{**tools[0], "index": 0}, {**tools[1], "index": 1}],
            "reasoning_content": "hm",
        },
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert chunk_body(chunk)["object"] == "chat.completion.chunk"
    assert chunk_body(chunk)["model"] == "m"
    assert chunk.usage == Usage(11, 7, cached_tokens=2)
    assert chunk.is_progress
    assert chunk.state is FINISHED


@pytest.mark.parametrize("finish", [None, "", 5])
def test_an_answer_that_is_not_streamed_is_finished_even_without_a_finish_reason(
    reader: ChunkReader, finish: object
) -> None:
    chunk = reader.read_unstreamed({"choices": [{"message": {"content": "x"}, "finish_reason": finish}]})
    assert chunk_body(chunk)["choices"][0]["finish_reason"] == "stop"
    assert chunk.state is FINISHED


@pytest.mark.parametrize("n_requested", [1, 2, 3])
def test_an_answer_that_is_not_streamed_is_finished_with_any_number_of_choices(
    clock: FakeClock, n_requested: int
) -> None:
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    chunk = chunk_reader(clock, n_requested).read_unstreamed({"choices": [choice, choice]})
    assert [choice["index"] for choice in chunk_body(chunk)["choices"]] == [0, 1]
    assert chunk.state is FINISHED


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"delta": {}}]}, {"choices": [{}]}], ids=str)
def test_an_answer_that_is_not_streamed_without_a_message_is_malformed(
    reader: ChunkReader, answer: dict[str, Any]
) -> None:
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        reader.read_unstreamed(answer)
    assert reader.state is OPEN

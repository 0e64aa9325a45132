"""Streamed responses, through the function's own handler, against a provider over HTTP. `events` checks the order of
every stream, and each event by OpenAI's own types.
"""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, chunk, sse
from tests.fakes.response_events import Event, check_response_events, parse_response_events
from tests.unit.api.responses_function import CHAT_PATH, PATH, answer, error, events, streams

STOP = chunk({}, finish="stop")
DONE = b"data: [DONE]\n\n"
ONE, TWO = chunk({"role": "assistant", "content": "one"}), chunk({"content": " two"})
F: Event = {"type": "function", "name": "f", "parameters": {"type": "object"}}
G: Event = {**F, "name": "g"}
PATCH: Event = {"type": "custom", "name": "patch"}
WITHOUT_RANDOM_IDS = {"id": None}


def call(index: int, arguments: str, name: str | None = None, **more: Any) -> bytes:
    """A chunk with a fragment of a call; the first fragment of a call has its name."""
    begin = {} if name is None else {"id": f"call_{index}", "type": "function"}
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, **begin, "function": function}], **more})


def types(found: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


def test_a_text_has_openais_events_in_their_order(responses: Function, fake: FakeProvider) -> None:
    streams(fake, ONE, TWO, STOP, DONE)
    found = events(responses)
    assert types(found) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    assert [event["delta"] for event in found if event["type"].endswith("delta")] == ["one", " two"]


def test_the_last_event_has_the_whole_response_with_its_usage_and_the_receipt(responses: Function) -> None:
    last = events(responses, max_cost=1)[-1]["response"]
    assert last["usage"]["total_tokens"] == 18
    assert (last["bridge"]["provider_id"], last["model"], last["status"]) == ("first", "gpt", "completed")


@pytest.mark.parametrize(
    "fields", [{}, {"reasoning": {"summary": "auto"}}, {"include": ["reasoning.encrypted_content"]}]
)
def test_a_stream_and_a_whole_answer_have_the_same_items(
    responses: Function, fake: FakeProvider, fields: dict[str, Any]
) -> None:
    message = {
        "role": "assistant",
        "content": "I do it.",
        "reasoning_content": "I think.",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "call_1", "type": "function", "function": {"name": "patch", "arguments": '{"input": "+ a"}'}},
        ],
    }
    fake.script(CHAT_PATH, Reply(body={"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
    whole = answer(responses, tools=[F, PATCH], **fields)
    streams(
        fake,
        chunk({"role": "assistant", "reasoning_content": "I "}),
        chunk({"reasoning_content": "think."}),
        chunk({"content": "I do"}),
        chunk({"content": " it."}),
        call(0, '{"a"', "f"),
        call(0, ": 1}"),
        call(1, '{"input": "+ ', "patch"),
        call(1, 'a"}'),
        chunk({}, finish="tool_calls"),
        DONE,
    )
    streamed = events(responses, tools=[F, PATCH], **fields)[-1]["response"]
    assert [item | WITHOUT_RANDOM_IDS for item in streamed["output"]] == [
        item | WITHOUT_RANDOM_IDS for item in whole["output"]
    ]
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call", "custom_tool_call"]


def test_parallel_calls_that_come_interleaved_keep_their_places(responses: Function, fake: FakeProvider) -> None:
    streams(fake, call(0, "{", "f", role="assistant"), call(1, "[", "g"), call(0, "}"), call(1, "]"), STOP, DONE)
    found = events(responses, tools=[F, G])
    deltas = [event for event in found if event["type"].endswith("arguments.delta")]
    assert [(event["output_index"], event["delta"]) for event in deltas] == [(0, "{"), (1, "["), (0, "}"), (1, "]")]
    output = found[-1]["response"]["output"]
    assert [(item["name"], item["call_id"], item["arguments"]) for item in output] == [
        ("f", "call_0", "{}"),
        ("g", "call_1", "[]"),
    ]


def test_a_call_ends_before_the_next_one_begins(responses: Function, fake: FakeProvider) -> None:
    """agno reads one call at a time."""
    streams(fake, call(0, '{"a"', "f"), call(0, ": 1}"), call(1, "{}", "g"), STOP, DONE)
    items = [event for event in events(responses, tools=[F, G]) if event["type"].startswith("response.output_item")]
    assert [(event["type"].rpartition(".")[2], event["output_index"]) for event in items] == [
        ("added", 0),
        ("done", 0),
        ("added", 1),
        ("done", 1),
    ]


def test_where_parallel_calls_are_forbidden_only_the_first_is_in_the_answer(
    responses: Function, fake: FakeProvider
) -> None:
    """Many servers ignore the field."""
    streams(fake, call(0, '{"a"', "f"), call(1, "{}", "g"), call(0, ": 1}"), STOP, DONE)
    (item,) = events(responses, tools=[F, G], parallel_tool_calls=False)[-1]["response"]["output"]
    assert (item["name"], item["arguments"]) == ("f", '{"a": 1}')


def test_a_call_begins_when_its_name_is_known(responses: Function, fake: FakeProvider) -> None:
    """Some vendors send the name after the id, and even after the first arguments."""
    begun = chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"arguments": "{"}}]})
    named = chunk({"tool_calls": [{"index": 0, "function": {"name": "patch", "arguments": ""}}]})
    streams(fake, begun, named, call(0, '"input": "x"}'), STOP, DONE)
    found = events(responses, tools=[PATCH])
    (added,) = [event["item"] for event in found if event["type"] == "response.output_item.added"]
    assert (added["type"], added["name"], added["call_id"]) == ("custom_tool_call", "patch", "c1")
    assert found[-1]["response"]["output"][0]["input"] == "x"


def test_a_call_that_never_gets_a_name_is_in_the_answer_without_one(responses: Function, fake: FakeProvider) -> None:
    streams(fake, call(0, "{}", None), call(1, "{}", "f"), STOP, DONE)
    output = events(responses, tools=[F])[-1]["response"]["output"]
    assert sorted((item["name"], item["arguments"]) for item in output) == [("", "{}"), ("f", "{}")]


def test_reasoning_is_content_unless_a_summary_is_asked_for(responses: Function, fake: FakeProvider) -> None:
    parts = (chunk({"role": "assistant", "reasoning_content": "Hm."}), ONE, STOP, DONE)
    streams(fake, *parts)
    assert "reasoning_text.delta" in types(events(responses))
    streams(fake, *parts)
    assert "reasoning_summary_text.delta" in types(events(responses, reasoning={"summary": "auto"}))


def test_a_refusal_is_a_part_of_its_own(responses: Function, fake: FakeProvider) -> None:
    streams(fake, chunk({"role": "assistant", "refusal": "I can"}), chunk({"refusal": "not."}), STOP, DONE)
    found = events(responses)
    assert types(found)[4:7] == ["refusal.delta", "refusal.delta", "refusal.done"]
    assert found[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I cannot."}]


def test_log_probabilities_are_in_the_deltas_and_in_the_whole_text(responses: Function, fake: FakeProvider) -> None:
    token = {"token": "one", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "two", "logprob": -1.0}]}
    choice = {"index": 0, "delta": {"content": "one"}, "finish_reason": "stop", "logprobs": {"content": [token]}}
    streams(fake, sse({"choices": [choice]}), DONE)
    found = events(responses, include=["message.output_text.logprobs"], top_logprobs=1)
    (delta,) = (event for event in found if event["type"] == "response.output_text.delta")
    (part,) = found[-1]["response"]["output"][0]["content"]
    assert delta["logprobs"] == part["logprobs"]
    assert part["logprobs"][0]["bytes"] == list(b"one")


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_stopped_early_is_incomplete(
    responses: Function, fake: FakeProvider, finish: str, reason: str
) -> None:
    streams(fake, ONE, chunk({}, finish=finish), DONE)
    last = events(responses)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert last["response"]["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("ending", ["closed", "reset"])
def test_a_cut_answer_ends_with_an_error_and_a_failure_and_with_nothing_else(
    responses: Function, fake: FakeProvider, ending: Any
) -> None:
    streams(fake, ONE, TWO, ending=ending)
    found = events(responses)
    assert types(found)[-3:] == ["output_text.delta", "error", "failed"]
    assert found[-2]["error"]["code"] == found[-2]["code"] == "answer_broken"
    assert found[-1]["response"]["error"]["code"] == "server_error"


def test_a_finish_reason_that_is_followed_by_a_cut_still_ends_the_answer(
    responses: Function, fake: FakeProvider
) -> None:
    streams(fake, ONE, STOP, ending="closed")
    assert types(events(responses))[-1] == "completed"


def test_text_after_a_call_is_a_message_after_it(responses: Function, fake: FakeProvider) -> None:
    streams(fake, ONE, call(0, "{}", "f"), TWO, STOP, DONE)
    output = events(responses, tools=[F])[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


def test_an_error_before_the_first_token_is_an_ordinary_error_answer(responses: Function, fake: FakeProvider) -> None:
    fake.always(CHAT_PATH, Reply(500, {"error": {"message": "no"}}))
    found = responses("POST", PATH, {"input": "Hello", "stream": True}, remaining_ms=900_000)
    assert found.status == 502
    assert error(found)["code"] == "all_providers_failed"


def test_annotations_are_announced(responses: Function, fake: FakeProvider) -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "Example"}}
    streams(fake, ONE, chunk({"annotations": [cited]}), STOP, DONE)
    found = events(responses)
    assert "output_text.annotation.added" in types(found)
    (annotation,) = found[-1]["response"]["output"][0]["content"][0]["annotations"]
    assert (annotation["url"], annotation["start_index"], annotation["end_index"]) == ("https://example.org", 3, 3)


def test_an_empty_answer_has_one_empty_message(responses: Function, fake: FakeProvider) -> None:
    streams(fake, chunk({"role": "assistant", "content": ""}), STOP, DONE)
    (item,) = events(responses)[-1]["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]


def test_the_state_machine_finds_what_is_wrong() -> None:
    """The checks of this module would mean nothing otherwise."""
    good = [
        'event: error\ndata: {"type": "error", "sequence_number": 0, "message": "no", "code": null, "param": null}\n\n',
    ]
    with pytest.raises(AssertionError, match="precedes"):
        check_response_events(parse_response_events("".join(good)))

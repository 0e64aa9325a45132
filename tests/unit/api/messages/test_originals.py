"""A Messages request to an Anthropic provider: nothing is lost on the way there, nor on the way back."""

from typing import Any

import pytest

from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.conversations.packed_reasoning import packed
from sekha_llm_bridge.api.messages.request import KNOWN_FIELDS
from sekha_llm_bridge.conversation import Reasoning
from sekha_llm_bridge.providers.anthropic import original
from tests.fakes import anthropic_wire as wire
from tests.fakes.functions import Function
from tests.fakes.message_events import read_events
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import COUNT_PATH, HI, PATH, ask, error, function, post, stream

MODEL = "claude-opus-4-6"
SERVER_CALL = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sums"}}
RESULT = {
    "type": "web_search_result",
    "url": "https://example.org",
    "title": "Sums",
    "encrypted_content": "x",
    "page_age": None,
}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [RESULT]}
CITED = {
    **wire.text("A sum."),
    "citations": [
        {
            "type": "web_search_result_location",
            "url": "https://example.org",
            "title": "Sums",
            "cited_text": "a sum",
            "encrypted_index": "y",
        }
    ],
}
ANSWER = wire.message(
    wire.thinking("I search.", "c2ln"),
    wire.redacted("cmVk"),
    SERVER_CALL,
    FOUND,
    CITED,
    wire.tool_use("toolu_1", "edit", path="a"),
    stop_reason="tool_use",
    model="claude-opus-4-6-20260101",
    usage={
        **wire.usage(9, 7, read=20, written=3),
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    },
    container=None,
    stop_details=None,
)
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_a_whole_answer_is_anthropics_own_with_the_receipt(messages: Function, claude: FakeProvider) -> None:
    claude.script(PATH, Reply(body=ANSWER))
    body = ask(messages, model=MODEL, tools=[SEARCH])
    receipt = body.pop("bridge")
    assert body == {**ANSWER, "model": MODEL}
    assert receipt["provider_id"] == "anthropic"


def test_a_stream_has_anthropics_own_events_with_the_receipt_in_the_last_but_one(
    messages: Function, claude: FakeProvider
) -> None:
    sent = wire.events(ANSWER)
    claude.script(PATH, Reply(stream=Stream(list(map(wire.sse, sent)))))
    answer = post(messages, model=MODEL, tools=[SEARCH], stream=True)
    start, *blocks, ending, stop = read_events(answer.text)
    assert start["message"] == {**sent[0]["message"], "model": MODEL}
    assert blocks == sent[1:-2]
    assert stop == sent[-1]
    receipt = ending.pop("bridge")
    assert receipt["model_id"] == MODEL
    assert ending == sent[-2]


def test_a_call_that_a_server_begins_without_its_input_has_one(messages: Function, claude: FakeProvider) -> None:
    """llama.cpp does: Anthropic's clients require the field."""
    call = wire.tool_use("toolu_1", "now")
    bare = {name: value for name, value in call.items() if name != "input"}
    answer = wire.message(bare, stop_reason="tool_use")
    begun = {"type": "content_block_start", "index": 0, "content_block": bare}
    first, *_, ending, stop = wire.events(wire.message())
    ending = {**ending, "delta": {"stop_reason": "tool_use", "stop_sequence": None}}
    sent = [first, begun, {"type": "content_block_stop", "index": 0}, ending, stop]
    claude.script(PATH, Reply(body=answer), Reply(stream=Stream(list(map(wire.sse, sent)))))
    assert ask(messages, model=MODEL)["content"] == [call]
    assert stream(messages, model=MODEL).message["content"] == [call]


def test_both_say_the_same(messages: Function, claude: FakeProvider) -> None:
    claude.script(PATH, Reply(body=ANSWER), Reply(stream=Stream(list(wire.stream(ANSWER)))))
    whole, streamed = ask(messages, model=MODEL, tools=[SEARCH]), stream(messages, model=MODEL, tools=[SEARCH])
    names = whole.keys() - {"bridge"}
    assert {name: streamed.message[name] for name in names} == {name: whole[name] for name in names}


def test_the_end_of_a_message_is_held_back_until_the_answer_is_known_to_be_complete(
    messages: Function, claude: FakeProvider
) -> None:
    parts = list(wire.stream(ANSWER))
    claude.script(PATH, Reply(stream=Stream(parts[:-2], ending="closed")))
    cut = stream(messages, model=MODEL)
    assert not cut.is_whole
    assert cut.ending == {}


def test_a_whole_message_in_place_of_a_stream_becomes_one(messages: Function, claude: FakeProvider) -> None:
    answer = wire.message(wire.text("Hello there."), wire.tool_use("toolu_1", "edit", path="a"), stop_reason="tool_use")
    claude.script(PATH, Reply(body=answer))
    found = stream(messages, model=MODEL)
    assert (found.is_whole, found.text) == (True, "Hello there.")
    assert found.message["content"][1]["input"] == {"path": "a"}


def test_a_stream_that_begins_without_its_first_event_gets_one(messages: Function, claude: FakeProvider) -> None:
    claude.script(PATH, Reply(stream=Stream(list(wire.stream(wire.message(wire.text("Hi."))))[2:])))
    found = stream(messages, model=MODEL)
    assert (found.is_whole, found.text, found.message["model"]) == (True, "Hi.", MODEL)


def test_the_bridges_own_fields_and_the_other_headers_stay_here(messages: Function, claude: FakeProvider) -> None:
    headers = {"anthropic-beta": "one-2026-01-01", "anthropic-version": "2023-06-01", "x-app": "cli", "x-api-key": "k"}
    post(messages, model=f"anthropic/{MODEL}", max_cost=1, allow_fallback=False, stream=False, headers=headers)
    received = claude.calls(PATH)[0]
    assert received.body == {"model": MODEL, "messages": HI, "max_tokens": 100}
    assert received.headers["anthropic-beta"] == "one-2026-01-01"
    assert "x-app" not in received.headers
    assert received.headers.get("x-api-key") != "k"


def test_the_headers_of_anthropics_format_reach_no_other_provider(messages: Function, fake: FakeProvider) -> None:
    post(messages, model="gpt", headers={"anthropic-beta": "one-2026-01-01", "anthropic-version": "2023-06-01"})
    received = fake.received[0]
    assert not [name for name in received.headers if name.startswith("anthropic")]


def test_fields_that_the_bridge_does_not_know_are_passed_on_and_noted(messages: Function, claude: FakeProvider) -> None:
    body = ask(messages, model=MODEL, x_new={"a": 1})
    assert claude.calls(PATH)[0].body["x_new"] == {"a": 1}
    assert body["bridge"]["notes"] == ["passed on, unknown to the bridge: x_new"]


def test_under_a_cost_limit_fields_that_the_bridge_does_not_know_are_left_out_and_noted(
    messages: Function, claude: FakeProvider
) -> None:
    """What Anthropic adds to its API may be billed in a way that the bridge cannot know."""
    body = ask(messages, model=MODEL, max_cost=1, x_new={"a": 1}, provider={"only": ["x"]})
    assert claude.calls(PATH)[0].body == {"model": MODEL, "messages": HI, "max_tokens": 100}
    note = "left out under the cost limit, unknown to the bridge: provider, x_new; see `allow_fields`"
    assert body["bridge"]["notes"] == [note]


def test_under_a_cost_limit_a_field_that_the_operator_allows_is_passed_on(claude: FakeProvider) -> None:
    section = provider(
        "anthropic", chat_model(MODEL), provider_type="anthropic", base_url=claude.url, allow_fields=["x_new"]
    )
    body = ask(function(section), model=MODEL, max_cost=1, x_new=1)
    assert claude.calls(PATH)[0].body["x_new"] == 1
    assert body["bridge"]["notes"] == []


def test_the_fields_whose_cost_the_adapter_knows_are_those_that_the_api_knows() -> None:
    """Others are left out under a cost limit."""
    assert original.KNOWN_FIELDS == KNOWN_FIELDS - OPTION_FIELDS


def test_a_caller_decides_no_address_and_no_key_for_a_gateway_of_anthropics_format(
    messages: Function, claude: FakeProvider
) -> None:
    for name in ("api_base", "api_key", "extra_headers", "aws_region_name"):
        fields: dict[str, Any] = {name: "x"}
        answer = post(messages, model=MODEL, **fields)
        assert (answer.status, error(answer)["code"]) == (400, "no_capable_model")
        assert name in error(answer)["message"]
    assert not claude.received


@pytest.mark.parametrize("fields", [{"models": ["a/b"]}, {"plugins": [{"id": "web"}]}, {"preset": "x"}])
def test_a_field_by_which_a_gateway_takes_other_models_or_searches_excludes_a_paid_model_under_a_limit(
    messages: Function, claude: FakeProvider, fields: dict[str, Any]
) -> None:
    answer = post(messages, model=MODEL, max_cost=1, **fields)
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")
    assert not claude.received


def test_an_openrouter_of_anthropics_format_is_sent_no_field_by_which_it_takes_other_models(
    claude: FakeProvider,
) -> None:
    """Its name is the user of the test server's address."""
    base_url = claude.url.replace("//", "//openrouter.ai@")
    router = function(provider("router", chat_model(MODEL), provider_type="anthropic", base_url=base_url))
    answer = post(router, model=MODEL, models=["a/b"])
    assert (answer.status, error(answer)["code"]) == (400, "no_capable_model")
    assert not claude.received


def test_the_receipt_has_the_cost_of_searches_and_names_what_else_may_be_billed(
    messages: Function, claude: FakeProvider
) -> None:
    """(9 + 20 + 3) tokens of input for a dollar, 7 of output for two, each per million, and a search for a cent."""
    claude.always(PATH, Reply(body=ANSWER))
    receipt = ask(messages, model=MODEL, tools=[SEARCH])["bridge"]
    assert receipt["cost"] == pytest.approx((9 + 20 + 3 * 1.25 + 7 * 2) / 1_000_000 + 0.01)
    assert receipt["notes"] == []
    tool = {"type": "code_execution_20250825", "name": "code_execution"}
    receipt = ask(messages, model=MODEL, tools=[tool], speed="fast")["bridge"]
    named = "a tool of type code_execution_20250825, speed"
    assert receipt["notes"] == [f"anthropic may bill more than `cost`, which is that of the tokens, for: {named}"]


@pytest.mark.parametrize(
    "hidden",
    [
        {"tools": [{"name": "f", "input_schema": {"type": "object", "$schema": "word " * 2000}}]},
        {"tools": [{"name": "f" * 10_000, "input_schema": {"type": "object"}}]},
        {"messages": [*HI, {"role": "assistant", "content": [{**wire.text("x"), "citations": {"x": "word " * 2000}}]}]},
    ],
)
def test_a_limit_counts_what_is_sent_and_not_its_translation(messages: Function, hidden: dict[str, Any]) -> None:
    """2,000 words of prompt at a dollar per million."""
    assert ask(messages, model=MODEL, max_cost=1, **hidden)["bridge"]["cost_bound"] >= 10_000 * 1.25 / 1_000_000


def test_a_limit_counts_the_definition_of_a_tool_at_each_reference_to_it(messages: Function) -> None:
    def bound(n_references: int) -> float:
        call = {"role": "assistant", "content": [wire.tool_use("toolu_1", "find")]}
        references = [{"type": "tool_reference", "tool_name": "f"}] * n_references
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": references}
        tool = {"name": "f", "description": "word " * 200, "input_schema": {"type": "object"}, "defer_loading": True}
        sent = [*HI, call, {"role": "user", "content": [result]}]
        found: float = ask(messages, model=MODEL, max_cost=1, messages=sent, tools=[tool])["bridge"]["cost_bound"]
        return found

    assert bound(11) - bound(1) >= 10 * 1000 * 1.25 / 1_000_000


def test_the_tokens_of_search_results_that_the_caller_sends_are_those_that_anthropic_counts(
    claude: FakeProvider,
) -> None:
    found = {"type": "search_result", "source": "a", "title": "b", "content": [wire.text("A sum.")]}
    section = provider("anthropic", chat_model(MODEL), provider_type="anthropic", base_url=claude.url)
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": [found]}], "max_cost": 1}
    assert post(function(section), model=MODEL, **fields).status == 402
    claude.always(COUNT_PATH, Reply(body={"input_tokens": 5000}))
    body = ask(function({**section, "trust_token_counts": True}), model=MODEL, **fields)
    assert body["bridge"]["cost_bound"] >= 5000 * 1.25 / 1_000_000
    assert claude.calls(PATH)[0].body["messages"] == fields["messages"]


def test_another_models_reasoning_is_not_sent_to_anthropic(messages: Function, claude: FakeProvider) -> None:
    def turn(*content: dict[str, Any]) -> list[dict[str, Any]]:
        return [*HI, {"role": "assistant", "content": list(content)}, *HI]

    mark = {"type": "thinking", "thinking": "hm", "signature": packed([Reasoning("")])}
    own = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    text = {"type": "text", "text": "Yes."}
    ask(messages, model=MODEL, messages=turn(mark, own, text))
    assert claude.calls(PATH)[-1].body["messages"] == turn(own, text)
    ask(messages, model=MODEL, messages=turn(mark))
    assert claude.calls(PATH)[-1].body["messages"] == [*HI, *HI]


@pytest.mark.parametrize("fields", [{"n": 5}, {"max_completion_tokens": 90_000}, {"best_of": 2}])
def test_a_field_of_chat_completions_for_more_output_excludes_a_paid_model_under_a_limit(
    messages: Function, claude: FakeProvider, fields: dict[str, Any]
) -> None:
    """The request goes as it came, and a gateway of Anthropic's format may read them."""
    answer = post(messages, model=MODEL, max_cost=1, **fields)
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")
    assert next(iter(fields)) in error(answer)["message"]
    assert not claude.received
    assert post(messages, model=MODEL, max_cost=1, n=1).status == 200


def test_a_field_of_chat_completions_for_more_output_is_refused_where_the_operator_limits_it(
    claude: FakeProvider,
) -> None:
    section = provider("anthropic", chat_model(MODEL), provider_type="anthropic", base_url=claude.url)
    answer = post(function(section, routing={"max_n": 1}), model=MODEL, n=5)
    assert (answer.status, error(answer)["param"]) == (400, "n")
    assert not claude.received


@pytest.mark.parametrize("kept", ["document", "text within"])
def test_a_limit_counts_an_hour_in_the_cache_wherever_a_document_asks_for_it(messages: Function, kept: str) -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    within = {"type": "text", "text": "word " * 2000, **(mark if kept == "text within" else {})}
    document = {"type": "document", "source": {"type": "content", "content": [within]}}
    plain = {"type": "document", "source": {"type": "content", "content": [{**within, "cache_control": None}]}}
    marked = {**document, **(mark if kept == "document" else {})}
    bounds = [
        ask(messages, model=MODEL, messages=[{"role": "user", "content": [one]}])["bridge"]["cost_bound"]
        for one in (plain, marked)
    ]
    assert bounds[1] > bounds[0]


@pytest.mark.parametrize("usage", [None, {}, [1], {"output_tokens": None}])
def test_an_answer_that_is_not_counted_at_its_end_is_estimated(
    messages: Function, claude: FakeProvider, usage: Any
) -> None:
    """The first event counts one token of output, whatever follows."""
    *events, last, stop = wire.events(wire.message(wire.text("word " * 300)))
    sent = [*events, {**last, "usage": usage}, stop]
    claude.script(PATH, Reply(stream=Stream(list(map(wire.sse, sent)))))
    found = stream(messages, model=MODEL)
    assert found.is_whole
    assert found.ending["usage"]["output_tokens"] >= 300
    assert found.ending["usage"]["estimated"] is True

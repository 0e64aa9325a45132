"""Tools: what a provider gets for them, and what its calls become."""

import json
from typing import Any

import pytest

from sekha_llm_bridge.api.responses.tools import function_name
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.response_events import Event
from tests.unit.api.responses_function import CHAT_PATH, answer, sent_to

SCHEMA: Event = {"type": "object", "properties": {"a": {"type": "integer"}}}
F: Event = {"type": "function", "name": "f", "description": "Does f.", "parameters": SCHEMA, "strict": True}
G: Event = {"type": "function", "name": "g", "parameters": None, "strict": None}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}
PATCH: Event = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR}
AGENTS: Event = {
    "type": "namespace",
    "name": "agents",
    "description": "Other agents.",
    "tools": [{**G, "name": "spawn"}],
}


def calls(fake: FakeProvider, name: str, arguments: str) -> None:
    """Lets the provider's next answer be a call."""
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    fake.script(CHAT_PATH, Reply(body=chat_completion(None, tool_calls=[call])))


def sent_names(fake: FakeProvider) -> list[str]:
    return [tool["function"]["name"] for tool in sent_to(fake)["tools"]]


def test_a_function_is_sent_as_chat_completions_have_it(responses: Function, fake: FakeProvider) -> None:
    answer(responses, tools=[F, G])
    assert sent_to(fake)["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA, "strict": True}},
        {"type": "function", "function": {"name": "g"}},
    ]


def test_a_called_function_is_an_item_with_the_providers_call_id(responses: Function, fake: FakeProvider) -> None:
    calls(fake, "f", '{"a": 1}')
    (item,) = answer(responses, tools=[F])["output"]
    assert item.pop("id").startswith("fc_")
    expected = {"type": "function_call", "status": "completed", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
    assert item == expected


def test_a_custom_tool_is_a_function_with_one_text(responses: Function, fake: FakeProvider) -> None:
    calls(fake, "apply_patch", '{"input": "*** Begin\\n+ a"}')
    found = answer(responses, tools=[PATCH])
    (item,) = found["output"]
    assert (item["type"], item["input"], item["id"][:4]) == ("custom_tool_call", "*** Begin\n+ a", "ctc_")
    (sent,) = sent_to(fake)["tools"]
    assert sent["function"]["parameters"]["required"] == ["input"]
    assert "start: /a+/" in sent["function"]["description"]
    assert "no grammar is enforced" in found["bridge"]["notes"][0]


@pytest.mark.parametrize("arguments", ["*** Begin", '{"patch": "x", "path": "a"}', "[1]", '{"patch": 1}', ""])
def test_a_custom_tool_gets_the_whole_arguments_where_the_model_did_not_keep_to_their_form(
    responses: Function, fake: FakeProvider, arguments: str
) -> None:
    calls(fake, "apply_patch", arguments)
    (item,) = answer(responses, tools=[PATCH])["output"]
    assert item["input"] == (arguments or item["input"])


def test_a_custom_tool_gets_the_text_of_the_only_parameter_whatever_its_name(
    responses: Function, fake: FakeProvider
) -> None:
    calls(fake, "apply_patch", '{"patch": "*** Begin"}')
    (item,) = answer(responses, tools=[PATCH])["output"]
    assert item["input"] == "*** Begin"


def test_an_earlier_call_of_a_custom_tool_is_sent_as_a_call_of_its_function(
    responses: Function, fake: FakeProvider
) -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "apply_patch", "input": 'a "b"'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."},
    ]
    answer(responses, input=items, tools=[PATCH])
    _, turn, result = sent_to(fake)["messages"]
    assert json.loads(turn["tool_calls"][0]["function"]["arguments"]) == {"input": 'a "b"'}
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "Done."}


def test_tools_of_a_namespace_have_it_in_their_names(responses: Function, fake: FakeProvider) -> None:
    calls(fake, "agents__spawn", "{}")
    (item,) = answer(responses, tools=[AGENTS])["output"]
    assert (item["name"], item["namespace"]) == ("spawn", "agents")
    assert sent_names(fake) == ["agents__spawn"]
    earlier = [{"role": "user", "content": "Hi"}, item, {**item, "type": "function_call_output", "output": "Done."}]
    answer(responses, input=earlier, tools=[AGENTS])
    assert sent_to(fake)["messages"][1]["tool_calls"][0]["function"]["name"] == "agents__spawn"


@pytest.mark.parametrize(("others", "namespace"), [([], "agents"), ([{**AGENTS, "name": "others"}], None)])
def test_a_namespace_that_the_model_leaves_out_is_added_where_only_one_tool_has_the_name(
    responses: Function, fake: FakeProvider, others: list[Event], namespace: str | None
) -> None:
    calls(fake, "spawn", "{}")
    (item,) = answer(responses, tools=[AGENTS, *others])["output"]
    assert (item["name"], item.get("namespace")) == ("spawn", namespace)


def test_a_name_that_is_too_long_for_providers_is_shortened_and_stays_distinct() -> None:
    names = {function_name(f"tool_{i}", "n" * 80) for i in range(10)}
    assert len(names) == 10
    assert {len(name) for name in names} == {64}


def test_tools_in_an_input_item_are_tools_of_the_request(responses: Function, fake: FakeProvider) -> None:
    """Codex sends them so with OpenAI's own models."""
    added = {"type": "additional_tools", "role": "developer", "tools": [G]}
    answer(responses, input=[added, {"role": "user", "content": "Hi"}], tools=[F])
    assert sent_names(fake) == ["f", "g"]
    assert [message["role"] for message in sent_to(fake)["messages"]] == ["user"]


SEARCH: Event = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": SCHEMA}


def test_a_search_for_tools_in_the_client_is_a_function(responses: Function, fake: FakeProvider) -> None:
    """Codex has one for the models that it knows."""
    calls(fake, "tool_search", '{"query": "agents"}')
    (item,) = answer(responses, tools=[F, SEARCH])["output"]
    assert (item["type"], item["execution"], item["arguments"]) == ("tool_search_call", "client", {"query": "agents"})
    assert sent_names(fake) == ["f", "tool_search"]
    found = {"type": "tool_search_output", "execution": "client", "call_id": item["call_id"], "tools": [AGENTS]}
    calls(fake, "agents__spawn", "{}")
    items = [{"role": "user", "content": "Hi"}, item, found]
    (next_call,) = answer(responses, input=items, tools=[F, SEARCH])["output"]
    assert (next_call["type"], next_call["namespace"], next_call["name"]) == ("function_call", "agents", "spawn")
    assert sent_names(fake) == ["f", "tool_search", "agents__spawn"]
    _, turn, result = sent_to(fake)["messages"]
    assert turn["tool_calls"][0]["function"] == {"name": "tool_search", "arguments": '{"query":"agents"}'}
    assert result["content"] == '[{"name":"agents__spawn","description":null}]'


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "apply_patch"}, {"type": "function", "function": {"name": "apply_patch"}}),
    ],
)
def test_a_choice_has_chat_completions_form(responses: Function, fake: FakeProvider, choice: Any, sent: Any) -> None:
    assert answer(responses, tools=[F, PATCH], tool_choice=choice)["tool_choice"] == choice
    assert sent_to(fake)["tool_choice"] == sent


def test_tools_that_are_not_allowed_are_left_out(responses: Function, fake: FakeProvider) -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    answer(responses, tools=[F, G, PATCH], tool_choice=allowed)
    assert sent_names(fake) == ["g"]
    assert sent_to(fake)["tool_choice"] == "required"


def test_a_choice_without_tools_is_not_sent(responses: Function, fake: FakeProvider) -> None:
    answer(responses, tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert sent_to(fake).keys() == {"model", "messages"}

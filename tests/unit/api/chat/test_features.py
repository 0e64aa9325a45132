"""Features that not every provider supports: they exclude the providers that lack them, and are never dropped silently."""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import HI, ask, error, function


def test_a_field_without_an_equivalent_in_ollamas_format_is_noted(chat: Function) -> None:
    notes = ask(chat, model="llama", brand_new=1).json()["bridge"]["notes"]
    assert notes == ["local has no place for: brand_new"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LONG_CACHE = {"type": "ephemeral", "ttl": "1h"}
BREAKPOINT = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
OPENAI_ONLY: list[dict[str, Any]] = [
    {"logit_bias": {"1": 5}},
    {"web_search_options": {}},
    {"functions": [{"name": "f"}]},
    {"n": 2},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": False},
    {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    {"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]},
    {
        "messages": [
            *HI,
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{oops"}}]},
        ]
    },
    {"messages": [*HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
]


@pytest.mark.parametrize("fields", OPENAI_ONLY, ids=str)
def test_a_request_that_ollama_cannot_express_goes_to_the_next_provider(
    fake: FakeProvider, fields: dict[str, Any]
) -> None:
    local = provider(
        "local", chat_model("llama", price=None), provider_type="ollama", base_url="http://127.0.0.1:9", priority=1
    )
    chat = function(local, provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1", priority=2))
    answer = ask(chat, **fields)
    assert (answer.status, answer.headers["x-bridge-attempts"]) == (200, "1")
    assert answer.headers["x-bridge-provider"] == "p"


COMMON: list[dict[str, Any]] = [
    {"logit_bias": {}, "top_logprobs": 0, "logprobs": False, "functions": [], "function_call": "auto", "n": 1},
    {"logit_bias": None, "logprobs": None, "prediction": None, "web_search_options": None, "seed": None, "user": "u"},
    {"tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"}, "modalities": ["text"]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
        ]
    },
    {
        "stream_options": {"include_usage": True},
        "store": False,
        "metadata": {},
        "service_tier": "auto",
        "extra_body": {},
    },
]


@pytest.mark.parametrize("fields", COMMON, ids=range(len(COMMON)))
def test_defaults_that_clients_often_send_exclude_no_provider_and_are_not_noted(
    chat: Function, fields: dict[str, Any]
) -> None:
    answer = ask(chat, model="llama", **fields)
    assert (answer.status, answer.json()["bridge"]["notes"]) == (200, [])


def test_the_lower_of_two_output_limits_is_sent(chat: Function, fake: FakeProvider) -> None:
    ask(chat, model="gpt", max_tokens=10, max_completion_tokens=5000)
    assert fake.received[0].body["max_tokens"] == 10
    assert "max_completion_tokens" not in fake.received[0].body


def test_legacy_functions_require_a_model_with_function_calling(fake: FakeProvider) -> None:
    models = (chat_model("cannot", supports_function_calling=False), chat_model("can", supports_function_calling=True))
    chat = function(provider("p", *models, base_url=f"{fake.url}/v1"))
    assert ask(chat, functions=[{"name": "f"}]).json()["model"] == "can"


def test_the_cost_bound_includes_every_text_of_the_request(chat: Function) -> None:
    plain = ask(chat, model="gpt").json()["bridge"]["cost_bound"]
    big = "x" * 10_000
    for fields in (
        {"messages": [*HI, {"role": "assistant", "content": "a", "refusal": big}]},
        {"messages": [*HI, {"role": "assistant", "content": "a", "reasoning_content": big}]},
        {"messages": [*HI, {"role": "tool", "content": "a", "tool_call_id": big}]},
        {"documents": [big]},
    ):
        assert ask(chat, model="gpt", **fields).json()["bridge"]["cost_bound"] >= plain + 0.01


@pytest.mark.parametrize(
    "fields",
    [
        {"prediction": {"type": "content"}},
        {"service_tier": "priority"},
        {"models": ["dear/one"]},
        {"plugins": [{"id": "web"}]},
        {"search_parameters": {"mode": "on"}},
        {"prompt_cache_retention": "24h"},
        {"modalities": ["text", "image"]},
        {"tools": [{"type": "web_search"}]},
        {"data_sources": [{"type": "azure_search"}]},
        {"extra_body": {"google": {"cached_content": "x"}}},
        {"preset": "mine"},
        {"messages": [*HI, {"role": "assistant", "content": "a", "audio": {"id": "x"}}]},
        {"messages": [{"role": "user", "content": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"messages": [*HI, {"role": "assistant", "tool_calls": [{**CALL, "cache_control": LONG_CACHE}]}]},
        {"messages": [{"role": "user", "content": [BREAKPOINT]}]},
        {"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": LONG_CACHE}]},
        {"tools": [{"type": "function", "function": {"name": "f", "cache_control": LONG_CACHE}}]},
        {"messages": [{"role": "user", "content": "a", "cache_control": {"type": "ephemeral", "ttl": ["1h"]}}]},
    ],
    ids=str,
)
def test_a_feature_with_unbounded_cost_is_rejected_under_a_cost_limit(chat: Function, fields: dict[str, Any]) -> None:
    answer = ask(chat, model="gpt", max_cost=1, **fields)
    assert answer.status == 402
    assert "cannot be bounded beforehand" in error(answer)["message"]


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"logit_bias": {"1": 5}}, "logit_bias"),
    ({"n": 2, "logit_bias": {"1": 5}}, "logit_bias, n > 1"),
    ({"response_format": {"type": "grammar"}}, "response_format grammar"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "content of type video"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools that are no functions"),
    (
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
        "forced tool_choice",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": False},
        "parallel_tool_calls: false",
    ),
    ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any"}, "tool_choice of type any"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERi0="}}]}]}, "documents"),
    ({"messages": [{**HI[0], "name": "Ann"}, {**HI[0], "name": "Bob"}]}, "names of several participants in one role"),
    ({"verbosity": "low"}, "verbosity"),
    (
        {"messages": [*HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]},
        "such a history of calls",
    ),
]


@pytest.mark.parametrize(("fields", "missing"), REASONS, ids=[missing for _, missing in REASONS])
def test_a_feature_that_ollama_does_not_support_excludes_it_by_name(
    chat: Function, fields: dict[str, Any], missing: str
) -> None:
    answer = ask(chat, model="llama", **fields)
    assert answer.status == 400
    assert f"ollama has no {missing}" in error(answer)["message"]


HINTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{**HI[0], "name": "Ann"}]}, "messages.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, "tools.function.strict"),
]


@pytest.mark.parametrize("should_stream", [False, True])
@pytest.mark.parametrize(("fields", "name"), HINTS, ids=[name for _, name in HINTS])
def test_a_nested_field_that_is_left_out_is_noted(
    chat: Function, fields: dict[str, Any], name: str, *, should_stream: bool
) -> None:
    answer = ask(chat, model="llama", stream=should_stream, **fields)
    assert answer.status == 200
    assert f"local has no place for: {name}" in answer.text

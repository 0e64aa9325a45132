"""Translation of requests to Anthropic's: limits, sampling, tools, output formats and thinking.

Every body is compared with the types of Anthropic's own client; those of its newest version have no sampling fields.
"""

from typing import Any

import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from sekha_llm_bridge.conversation import (
    CacheControl,
    Conversation,
    Function,
    Message,
    OtherTool,
    OutputFormat,
    OutputFormatKind,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.models import traits_of
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL
from sekha_llm_bridge.providers.anthropic.request import betas_of, chat_payload, count_payload
from sekha_llm_bridge.providers.anthropic.schemas import closed_schema
from sekha_llm_bridge.providers.anthropic.thinking import nearest_effort
from sekha_llm_bridge.providers.calls import ChatCall
from tests.fakes.anthropic_types import faults
from tests.fakes.failures import raises_failure

SAMPLING = {"temperature", "top_p", "top_k"}
HI = (Message(Role.USER, (Text("hi"),)),)
F = Function("f", "does it", {"type": "object", "properties": {"x": {"type": "integer"}}})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
JSON_SCHEMA = OutputFormat(OutputFormatKind.JSON_SCHEMA, "x", SCHEMA)
JSON_OBJECT = OutputFormat(OutputFormatKind.JSON_OBJECT)
NATIVE, TOOL, OPUS_5_5 = "claude-opus-4-6", "claude-opus-4-1", "claude-opus-5-5"
HAIKU = "claude-haiku-4-5"


def payload_of(model: str = NATIVE, *, call: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    conversation = Conversation(**{"messages": HI, **fields})
    payload = chat_payload(
        ChatCall(
            **{"model_id": model, "output_cap": None, "context_tokens": 1000, **(call or {})}, conversation=conversation
        )
    )
    declared = {name: value for name, value in payload.items() if name not in SAMPLING}
    assert list(faults(declared, MessageCreateParamsNonStreaming)) == []
    return payload


def test_the_output_limit_is_always_sent_and_is_the_lowest_that_is_known() -> None:
    assert payload_of(max_output_tokens=50, call={"output_cap": 40})["max_tokens"] == 40
    assert payload_of(max_output_tokens=50, call={"max_output_tokens": 9000})["max_tokens"] == 50
    assert payload_of(call={"max_output_tokens": 9000})["max_tokens"] == 9000


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-latest", 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-sonnet-4-0", 64_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("anthropic/claude-opus-4-6", 128_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000),
        ("claude-opus-5-5", 128_000),
        ("smollm2", 4096),
    ],
)
def test_without_a_limit_that_of_the_models_family_is_sent(model: str, limit: int) -> None:
    assert payload_of(model)["max_tokens"] == limit


def test_a_model_that_is_not_in_the_table_is_like_the_newest_family() -> None:
    assert traits_of("claude-novel-9") == traits_of("claude-opus-4-7")
    assert traits_of("claude-fable-5") != traits_of("claude-fable-5-1")


def test_sampling_values_are_sent_as_they_are() -> None:
    payload = payload_of(parameters={"temperature": 0.3, "top_k": 5, "stop": "END"})
    assert (payload["temperature"], payload["top_k"], payload["stop_sequences"]) == (0.3, 5, ["END"])
    assert "top_p" not in payload


def test_a_temperature_above_one_excludes_the_candidate() -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE, match="temperature") as caught:
        payload_of(parameters={"temperature": 1.2})
    assert caught.value.param == "temperature"
    assert payload_of("smollm2", parameters={"temperature": 1.0})["temperature"] == 1.0


def test_default_values_of_sampling_are_left_out_where_they_are_known() -> None:
    defaults = {"temperature": 1, "top_p": 1.0, "top_k": 0}
    assert not payload_of(OPUS_5_5, parameters=defaults).keys() & SAMPLING
    assert payload_of(HAIKU, parameters={**defaults, "temperature": 0.5}).keys() & SAMPLING == {"temperature"}
    assert payload_of("smollm2", parameters=defaults).keys() & SAMPLING == SAMPLING


def test_other_values_are_sent_to_every_model_which_may_reject_them_itself() -> None:
    assert payload_of(OPUS_5_5, parameters={"temperature": 0})["temperature"] == 0


def test_stop_sequences_without_a_visible_character_are_left_out() -> None:
    assert payload_of(parameters={"stop": ["\n", "", "END"]})["stop_sequences"] == ["END"]
    assert "stop_sequences" not in payload_of(parameters={"stop": "\n\n"})


def test_tools_always_have_an_object_schema() -> None:
    tools = (
        F,
        Function("g"),
        Function("h", None, {"properties": {}}),
        Function("s", is_strict=True, cache=CacheControl()),
    )
    assert payload_of(tools=tools)["tools"] == [
        {"name": "f", "description": "does it", "input_schema": F.parameters},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        {"name": "h", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "s",
            "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
    ]


def test_anthropics_own_tools_are_sent_as_they_are_and_those_of_others_exclude_the_candidate() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    assert payload_of(tools=(OtherTool("web_search_20250305", search),))["tools"] == [search]
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        payload_of(tools=(OtherTool("custom", {"type": "custom"}),))


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolChoiceMode.AUTO), None, {"type": "auto"}),
        (ToolChoice(ToolChoiceMode.NONE), False, {"type": "none"}),
        (ToolChoice(ToolChoiceMode.REQUIRED), None, {"type": "any"}),
        (ToolChoice(ToolChoiceMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolChoiceMode.NAMED, "f"), True, {"type": "tool", "name": "f"}),
    ],
)
def test_the_tool_choice_and_sequential_calls_are_one_object(
    choice: ToolChoice | None, parallel: object, expected: object
) -> None:
    assert payload_of(tools=(F,), tool_choice=choice, is_parallel=parallel).get("tool_choice") == expected


def test_without_tools_there_is_no_tool_choice() -> None:
    assert "tool_choice" not in payload_of(tool_choice=ToolChoice(ToolChoiceMode.NONE), is_parallel=False)


def test_a_forced_call_excludes_a_model_that_takes_none() -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        payload_of(OPUS_5_5, tools=(F,), tool_choice=ToolChoice(ToolChoiceMode.REQUIRED))
    assert caught.value.param == "tool_choice"


def test_a_schema_is_the_models_own_structured_output_with_closed_objects() -> None:
    form = payload_of(output_format=JSON_SCHEMA)["output_config"]["format"]
    assert form == {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}


def test_objects_are_closed_in_every_part_of_a_schema_and_free_ones_stay_free() -> None:
    inner = {"type": "object", "properties": {"properties": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": inner}, "b": {"anyOf": [inner, {"type": "object"}]}},
        "$defs": {"c": inner},
        "additionalProperties": True,
    }
    closed = {**inner, "additionalProperties": False}
    assert closed_schema(schema) == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": closed}, "b": {"anyOf": [closed, {"type": "object"}]}},
        "$defs": {"c": closed},
        "additionalProperties": True,
    }


def test_without_structured_output_a_forced_tool_has_the_schema() -> None:
    payload = payload_of(TOOL, output_format=JSON_SCHEMA)
    assert payload["tools"][0]["name"] == ANSWER_TOOL
    assert payload["tools"][0]["input_schema"] == SCHEMA
    assert payload["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}


def test_beside_the_callers_tools_the_model_must_call_one_of_all() -> None:
    payload = payload_of(TOOL, output_format=JSON_SCHEMA, tools=(F,))
    assert [tool["name"] for tool in payload["tools"]] == ["f", ANSWER_TOOL]
    assert payload["tool_choice"] == {"type": "any"}
    forbidden = payload_of(TOOL, output_format=JSON_SCHEMA, tools=(F,), tool_choice=ToolChoice(ToolChoiceMode.NONE))
    assert forbidden["tool_choice"]["name"] == ANSWER_TOOL


def test_where_the_caller_forces_its_own_tool_there_is_no_format() -> None:
    choice = ToolChoice(ToolChoiceMode.NAMED, "f")
    for model in (NATIVE, TOOL):
        payload = payload_of(model, output_format=JSON_SCHEMA, tools=(F,), tool_choice=choice)
        assert payload["tool_choice"] == {"type": "tool", "name": "f"}
        assert "output_config" not in payload


def test_while_the_model_thinks_the_schema_is_an_instruction() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    payload = payload_of(TOOL, output_format=JSON_SCHEMA, thinking=thinking)
    assert "tools" not in payload
    assert '"required":["n"]' in payload["system"]


def test_a_schema_that_is_not_of_an_object_is_an_instruction() -> None:
    form = OutputFormat(OutputFormatKind.JSON_SCHEMA, "x", {"type": "array"})
    assert '{"type":"array"}' in payload_of(TOOL, output_format=form)["system"]


def test_json_without_a_schema_is_an_instruction_after_the_system_prompt() -> None:
    system = Message(Role.SYSTEM, (Text("Be brief."),))
    plain = payload_of(messages=(system, *HI), output_format=JSON_OBJECT)["system"]
    assert plain.startswith("Be brief.\n\nAnswer with one JSON object only")
    marked = payload_of(messages=(system._replace(cache=CacheControl()), *HI), output_format=JSON_OBJECT)["system"]
    assert [block["text"][:6] for block in marked] == ["Be bri", "Answer"]


def test_a_format_of_text_changes_nothing() -> None:
    assert payload_of(output_format=OutputFormat(OutputFormatKind.TEXT)) == payload_of()


def test_another_form_of_the_answer_excludes_the_candidate() -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        payload_of(output_format=OutputFormat(OutputFormatKind.OTHER))


def effort(value: str, model: str, **fields: Any) -> tuple[Any, Any]:
    payload = payload_of(model, parameters={"reasoning_effort": value}, **fields)
    return payload.get("thinking"), payload.get("output_config", {}).get("effort")


def test_an_effort_is_adaptive_thinking_where_the_model_has_it() -> None:
    assert effort("medium", "claude-opus-4-6") == ({"type": "adaptive"}, "medium")
    assert effort("low", OPUS_5_5) == ({"type": "adaptive", "display": "summarized"}, "low")


@pytest.mark.parametrize(
    ("value", "efforts", "expected"),
    [
        ("minimal", ("low", "medium", "high"), "low"),
        ("xhigh", ("low", "medium", "high", "max"), "high"),
        ("max", ("low", "medium", "high"), "high"),
        ("max", ("low", "medium", "high", "xhigh", "max"), "max"),
        ("medium", (), None),
        (None, ("low",), None),
        (["low"], ("low",), None),
    ],
)
def test_an_effort_that_a_model_does_not_have_is_the_next_lower_one(
    value: object, efforts: tuple[str, ...], expected: str | None
) -> None:
    assert nearest_effort(value, efforts) == expected


@pytest.mark.parametrize(("value", "budget"), [("minimal", 1024), ("low", 2000), ("high", 8000)])
def test_an_effort_is_a_share_of_the_output_limit_where_the_model_has_budgets(value: str, budget: int) -> None:
    expected = {"type": "enabled", "budget_tokens": budget}
    assert effort(value, HAIKU, max_output_tokens=10_000) == (expected, None)


def test_a_budget_is_always_lower_than_the_limit() -> None:
    for limit in (1025, 1100, 64_000, 200_000):
        thinking, _ = effort("max", HAIKU, max_output_tokens=limit)
        assert 1024 <= thinking["budget_tokens"] < limit
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        effort("low", HAIKU, max_output_tokens=1024)


def test_no_effort_turns_thinking_off_as_the_model_wants_it() -> None:
    assert effort("none", HAIKU) == (None, None)
    assert effort("none", "claude-opus-5") == ({"type": "disabled"}, None)
    assert effort("none", "claude-sonnet-5-5") == ({"type": "between_tools"}, None)


@pytest.mark.parametrize(("value", "model"), [("none", OPUS_5_5), ("low", "claude-3-haiku-20240307"), ("odd", HAIKU)])
def test_an_effort_that_the_model_cannot_have_excludes_it(value: str, model: str) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        effort(value, model)
    assert caught.value.param == "reasoning_effort"


def test_the_callers_own_thinking_counts_before_the_effort() -> None:
    own = {"type": "enabled", "budget_tokens": 3000}
    assert effort("high", "claude-opus-4-6", thinking=own) == (own, "high")


def test_a_forced_call_turns_off_only_the_thinking_that_the_bridge_would_choose() -> None:
    forced = {"tools": (F,), "tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}
    assert effort("high", HAIKU, **forced) == (None, None)
    assert effort("high", "claude-opus-4-6", **forced) == (None, "high")
    own = {"type": "enabled", "budget_tokens": 3000}
    assert effort("high", HAIKU, thinking=own, **forced) == (own, None)


def test_results_of_calls_of_another_vendors_model_come_without_a_budget() -> None:
    call = Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),))
    done = Message(Role.TOOL, (Text("1"),), call_id="c")
    assert effort("high", HAIKU, messages=(*HI, call, done)) == (None, None)
    assert effort("high", HAIKU, messages=(*HI, call, done, Message(Role.ASSISTANT, (Text("ok"),)), *HI))[0]


def test_the_user_and_the_cache_mark_of_the_request_are_sent() -> None:
    payload = payload_of(parameters={"user": "u1"}, cache=CacheControl("5m"))
    assert payload["metadata"] == {"user_id": "u1"}
    assert payload["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert payload_of(vendor_fields={"metadata": {"user_id": "u2"}})["metadata"] == {"user_id": "u2"}
    assert "metadata" not in payload_of(vendor_fields={"metadata": {"team": "x"}})


def test_anthropics_own_fields_are_sent_and_others_are_not() -> None:
    fields = {"container": "c1", "inference_geo": "us", "speed": "fast", "num_ctx": 5, "extra_body": {"model": "x"}}
    payload = payload_of(vendor_fields=fields)
    assert {name: payload.get(name) for name in fields} == {**fields, "num_ctx": None, "extra_body": None}
    assert betas_of(payload) == ["fast-mode-2026-02-01"]


def test_an_own_output_config_keeps_its_effort_beside_the_format() -> None:
    fields = {"output_config": {"effort": "low"}}
    config = payload_of(vendor_fields=fields, output_format=JSON_SCHEMA, parameters={"reasoning_effort": "high"})
    assert config["output_config"]["effort"] == "low"
    assert config["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize(("tier", "sent"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)])
def test_only_service_tiers_that_anthropic_has_are_sent(tier: str, sent: str | None) -> None:
    assert payload_of(vendor_fields={"service_tier": tier}).get("service_tier") == sent


def test_a_count_has_the_prompt_without_the_limits() -> None:
    payload = payload_of(
        tools=(F,),
        output_format=JSON_SCHEMA,
        parameters={"temperature": 0.5, "stop": "x", "user": "u", "reasoning_effort": "low"},
    )
    counted = count_payload(payload)
    assert counted.keys() == {"model", "messages", "tools", "output_config", "thinking"}
    assert list(faults(counted, MessageCountTokensParams)) == []

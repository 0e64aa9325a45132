"""Limits, tools, formats and the models' own fields in Converse's format."""

import json
from typing import Any

import pytest

from sekha_llm_bridge.conversation import (
    Conversation,
    Function,
    OtherTool,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.bedrock.models import base_model_id, family_of
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL, Guardrail, uses_output_tool
from tests.fakes.failures import raises_failure
from tests.unit.providers.bedrock.conversations import (
    ADD,
    CALL,
    CLAUDE,
    HISTORY,
    LLAMA,
    NOVA,
    OLD_CLAUDE,
    PROFILE,
    assistant,
    choice,
    result,
    sent,
    user,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
JSON_SCHEMA = OutputFormat(OutputFormatKind.JSON_SCHEMA, "city", SCHEMA)
JSON_OBJECT = OutputFormat(OutputFormatKind.JSON_OBJECT)
NEW_CLAUDE = "global.anthropic.claude-opus-5"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 10, "cap": 20, "model_max": 99}, 10),
        ({"max_output_tokens": 30, "cap": 20}, 20),
        ({"model_max": 64_000}, 64_000),
        ({}, 16_384),
        ({"model": LLAMA}, 4096),
        ({"model": PROFILE}, 4096),
    ],
)
def test_an_output_limit_is_always_sent(fields: dict[str, Any], expected: int) -> None:
    assert sent(**fields)["inferenceConfig"]["maxTokens"] == expected


def test_sampling_parameters_have_converses_names() -> None:
    body = sent(parameters={"temperature": 0, "top_p": 0.5, "stop": "end"})
    config = body["inferenceConfig"]
    assert (config["temperature"], config["topP"], config["stopSequences"]) == (0, 0.5, ["end"])


def test_claude_is_asked_at_which_text_it_stopped() -> None:
    assert sent(parameters={"stop": ["a"]})["additionalModelResponseFieldPaths"]
    assert "additionalModelResponseFieldPaths" not in sent()
    assert "additionalModelResponseFieldPaths" not in sent(parameters={"stop": ["a"]}, model=LLAMA)


def test_top_k_is_where_the_model_takes_it() -> None:
    assert sent(parameters={"top_k": 5})["additionalModelRequestFields"] == {"top_k": 5}
    assert sent(parameters={"top_k": 5}, model=NOVA)["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}


def test_tools_have_schemas_of_type_object_and_no_empty_description() -> None:
    tools = (ADD, Function("now", " "), Function("f", "F.", {"properties": {}}, is_strict=True))
    specs = [tool["toolSpec"] for tool in sent(tools=tools)["toolConfig"]["tools"]]
    assert specs[0] == {"name": "add", "description": "Adds numbers.", "inputSchema": {"json": ADD.parameters}}
    assert specs[1] == {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert (specs[2]["inputSchema"]["json"]["type"], specs[2]["strict"]) == ("object", True)
    [of_llama] = sent(tools=tools[2:], model=LLAMA)["toolConfig"]["tools"]
    assert "strict" not in of_llama["toolSpec"]


@pytest.mark.parametrize(
    ("tool_choice", "expected"),
    [
        (None, None),
        (choice(ToolChoiceMode.AUTO), None),
        (choice(ToolChoiceMode.REQUIRED), {"any": {}}),
        (choice(ToolChoiceMode.NAMED, "add"), {"tool": {"name": "add"}}),
    ],
)
def test_a_tool_choice_has_converses_form(tool_choice: ToolChoice | None, expected: object) -> None:
    assert sent(tools=(ADD,), tool_choice=tool_choice)["toolConfig"].get("toolChoice") == expected


def test_with_the_choice_none_no_tools_are_sent() -> None:
    assert "toolConfig" not in sent(tools=(ADD,), tool_choice=choice(ToolChoiceMode.NONE))


def test_one_call_at_a_time_is_claudes_own_field_and_excludes_other_models() -> None:
    body = sent(tools=(ADD,), is_parallel=False)
    assert body["additionalModelRequestFields"]["tool_choice"] == {"disable_parallel_tool_use": True, "type": "auto"}
    forced = sent(tools=(ADD,), is_parallel=False, tool_choice=choice(ToolChoiceMode.REQUIRED))
    assert forced["additionalModelRequestFields"]["tool_choice"] == {"disable_parallel_tool_use": True}
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        sent(tools=(ADD,), is_parallel=False, model=LLAMA)
    assert caught.value.failure.unsupported_feature == "parallel_tool_calls"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (OtherTool("web_search", {}),)},
        {"tools": (ADD,), "tool_choice": choice(ToolChoiceMode.OTHER)},
        {"output_format": OutputFormat(OutputFormatKind.OTHER)},
    ],
)
def test_what_converse_does_not_have_excludes_the_model(fields: dict[str, Any]) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        sent(**fields)


def test_a_schema_is_sent_as_structured_output_where_the_model_has_it() -> None:
    body = sent(output_format=JSON_SCHEMA)
    [definition] = body["outputConfig"]["textFormat"]["structure"].values()
    assert json.loads(definition["schema"]) == SCHEMA
    assert definition["name"] == "city"
    assert not uses_output_tool(body)


def test_elsewhere_the_model_must_call_a_tool_with_the_answer() -> None:
    for fields in ({"output_format": JSON_SCHEMA, "model": OLD_CLAUDE}, {"output_format": JSON_OBJECT}):
        body = sent(**fields)
        assert uses_output_tool(body)
        assert body["toolConfig"]["toolChoice"] == {"tool": {"name": OUTPUT_TOOL}}
    [tool] = sent(output_format=JSON_SCHEMA, model=OLD_CLAUDE)["toolConfig"]["tools"]
    assert tool["toolSpec"]["inputSchema"] == {"json": SCHEMA}


def test_the_callers_tools_stay_beside_the_tool_for_the_answer() -> None:
    config = sent(output_format=JSON_SCHEMA, model=OLD_CLAUDE, tools=(ADD,))["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["add", OUTPUT_TOOL]
    assert config["toolChoice"] == {"any": {}}
    forced = sent(
        output_format=JSON_SCHEMA, model=OLD_CLAUDE, tools=(ADD,), tool_choice=choice(ToolChoiceMode.REQUIRED)
    )
    assert not uses_output_tool(forced)


def test_one_answer_at_a_time_has_one_tool_choice_only() -> None:
    body = sent(output_format=JSON_OBJECT, tools=(ADD,), is_parallel=False)
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert body["additionalModelRequestFields"]["tool_choice"] == {"disable_parallel_tool_use": True}


@pytest.mark.parametrize("model", [CLAUDE, NEW_CLAUDE])
def test_while_claude_thinks_no_call_is_forced(model: str) -> None:
    body = sent(model=model, output_format=JSON_OBJECT, parameters={"reasoning_effort": "high"})
    assert "thinking" in body["additionalModelRequestFields"]
    assert "toolConfig" not in body
    assert "JSON schema" in body["system"][0]["text"]


@pytest.mark.parametrize("model", [CLAUDE, NEW_CLAUDE])
def test_with_a_forced_call_the_bridge_chooses_no_thinking(model: str) -> None:
    fields: dict[str, Any] = {"model": model, "tools": (ADD,), "tool_choice": choice(ToolChoiceMode.REQUIRED)}
    body = sent(**fields, parameters={"reasoning_effort": "high"})
    assert "thinking" not in body.get("additionalModelRequestFields", {})
    own = {"type": "enabled", "budget_tokens": 2000}
    assert sent(**fields, thinking=own)["additionalModelRequestFields"] == {"thinking": own}


def test_after_calls_of_another_vendor_claude_gets_no_budget_for_thinking() -> None:
    own = assistant(Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig"), CALL)
    for call, is_sent in ((assistant(CALL), False), (own, True)):
        body = sent(user("1?"), call, result("c1", "2"), tools=(ADD,), parameters={"reasoning_effort": "high"})
        assert ("additionalModelRequestFields" in body) is is_sent
    adaptive = sent(*HISTORY, model=NEW_CLAUDE, tools=(ADD,), parameters={"reasoning_effort": "high"})
    assert adaptive["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}


def test_a_guardrail_is_sent_with_its_version() -> None:
    body = sent(guardrail=Guardrail("gr1", "DRAFT"))
    assert body["guardrailConfig"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT"}


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (NEW_CLAUDE, "minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (NEW_CLAUDE, "max", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        (NEW_CLAUDE, "none", None),
        (CLAUDE, "medium", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        (CLAUDE, "high", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        (CLAUDE, "none", None),
        (OLD_CLAUDE, "none", None),
        (NOVA, "max", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        (NOVA, "none", None),
        ("openai.gpt-6-luna", "minimal", {"reasoning": {"effort": "low"}}),
        ("openai.gpt-oss-120b-1:0", "high", {"reasoning_effort": "high"}),
        ("openai.gpt-oss-120b-1:0", "none", None),
        ("deepseek.v3.2", "low", {"reasoning_effort": "low"}),
        (LLAMA, "none", None),
    ],
)
def test_reasoning_effort_is_told_in_the_models_own_words(model: str, effort: str, expected: object) -> None:
    body = sent(model=model, parameters={"reasoning_effort": effort})
    assert body.get("additionalModelRequestFields") == expected


@pytest.mark.parametrize("model", [OLD_CLAUDE, LLAMA, "us.deepseek.r1-v1:0"])
def test_an_effort_for_a_model_without_levels_is_unsuitable(model: str) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        sent(model=model, parameters={"reasoning_effort": "high"})
    assert caught.value.failure.unsupported_feature == "reasoning_effort"


def test_a_budget_that_does_not_fit_the_output_limit_is_unsuitable() -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
        sent(parameters={"reasoning_effort": "low"}, max_output_tokens=1500)
    assert caught.value.failure.unsupported_feature is None


@pytest.mark.parametrize("model", [CLAUDE, PROFILE])
def test_anthropics_thinking_is_sent_as_it_is_to_claude(model: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert sent(model=model, thinking=thinking)["additionalModelRequestFields"] == {"thinking": thinking}


@pytest.mark.parametrize("model", [NOVA, LLAMA])
def test_anthropics_thinking_is_unsuitable_for_other_models(model: str) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        sent(model=model, thinking={"type": "enabled", "budget_tokens": 2000})
    assert "additionalModelRequestFields" not in sent(model=model, thinking={"type": "disabled"})


def test_effort_and_thinking_together_are_both_sent() -> None:
    body = sent(model=NEW_CLAUDE, thinking={"type": "adaptive"}, parameters={"reasoning_effort": "high"})
    expected = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    assert body["additionalModelRequestFields"] == expected


@pytest.mark.parametrize(
    ("model_id", "base"),
    [
        ("anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("us-gov.anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("zai.glm-5.3", "zai.glm-5.3"),
        ("deepseek.v3.2", "deepseek.v3.2"),
        ("meta.llama4-scout-17b-instruct-v1:0", "meta.llama4-scout-17b-instruct-v1:0"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (PROFILE, None),
    ],
)
def test_the_model_behind_an_id_is_known_unless_the_id_hides_it(model_id: str, base: str | None) -> None:
    assert base_model_id(model_id) == base


@pytest.mark.parametrize(
    ("model_id", "has_schema"),
    [
        ("anthropic.claude-opus-4-20250514-v1:0", False),
        ("anthropic.claude-opus-4-1-20250805-v1:0", False),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", False),
        ("anthropic.claude-opus-4-6-v1", True),
        ("qwen.qwen3-32b-v1:0", True),
        ("mistral.ministral-3-8b-instruct", True),
        ("mistral.mixtral-8x7b-instruct-v0:1", False),
        ("amazon.nova-2-lite-v1:0", False),
    ],
)
def test_families_say_which_models_have_structured_output(model_id: str, *, has_schema: bool) -> None:
    assert family_of(model_id).has_output_schema is has_schema


def test_a_conversation_without_anything_but_text_has_only_messages_and_a_limit() -> None:
    assert sorted(sent()) == ["inferenceConfig", "messages"]
    assert Conversation(()).parameters == {}

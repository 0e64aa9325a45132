"""Translates a conversation into the body of Converse and ConverseStream, which is the same.

Source: Amazon Bedrock API Reference, "Converse". The body is checked against botocore's service model in the tests.
"""

from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.conversation import (
    CacheControl,
    Conversation,
    Function,
    Json,
    OutputFormatKind,
    Role,
    ToolCall,
    ToolChoiceMode,
    WireFormat,
)
from sekha_llm_bridge.errors import ProviderError
from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT
from sekha_llm_bridge.providers.bedrock.content import Content, MessageTranslator, cache_point, unsuitable
from sekha_llm_bridge.providers.bedrock.models import ModelFamily, ReasoningStyle, family_of
from sekha_llm_bridge.providers.bedrock.reasoning import REASONING_FIELDS, reasoning_fields, takes_thinking
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.thinking_budgets import THINKING_WITHOUT_ROOM, within_output_limit

OWN_FIELDS = frozenset({"top_k", "thinking", "cache_control"})
"""The fields that `chat_body` translates besides OpenAI's, which are in the field table."""

OUTPUT_TOOL = "answer_in_json"
"""The tool whose input is the answer, where the model has no structured output of its own."""

ChatBody = dict[str, Any]
"""The body of a request of Converse."""

_OUTPUT_TOOL_DESCRIPTION = "Gives the answer to the user. The input of this tool is the whole answer, as JSON."
_INSTRUCTION = "Answer with one JSON value only, without other text and without a code fence. Its JSON schema: {}"
_THINKING = frozenset({"enabled", "adaptive"})
_ANY_OBJECT: Json = {"type": "object", "additionalProperties": True}
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}
_STOP_SEQUENCE_PATHS = ["/stop_sequence", "/delta/stop_sequence"]  # of Claude's answer, whole and streamed


class Guardrail(NamedTuple):
    """A guardrail of Bedrock that checks prompts and answers."""

    guardrail_id: str
    version: str


def chat_body(call: ChatCall, guardrail: Guardrail | None = None) -> ChatBody:
    """Returns the body of a request.

    `maxTokens` is always sent: unset, Bedrock reserves the model's maximum of the account's quota. Raises
    `ProviderError` (CANDIDATE_UNSUITABLE) for what Converse, or this model, has no place for.
    """
    family = family_of(call.model_id)
    max_tokens = call.output_limit or call.max_output_tokens or family.default_max_tokens
    conversation = within_output_limit(call, max_tokens)
    tools = _tools(conversation, family)
    body: ChatBody = _messages(conversation, family, has_tools=bool(tools))
    body["inferenceConfig"] = _inference_config(conversation, max_tokens)
    must_not_think = conversation.forces_call or _has_calls_without_reasoning(body["messages"])
    additional = _additional_fields(conversation, family, max_tokens, must_not_think=must_not_think)
    if tools:
        body["toolConfig"] = {"tools": tools}
        if choice := _tool_choice(conversation):
            body["toolConfig"]["toolChoice"] = choice
        if conversation.is_parallel is False:
            additional["tool_choice"] = _sequential_calls(family, has_choice=bool(choice))
    if additional:
        body["additionalModelRequestFields"] = additional
    if family.is_claude and "stopSequences" in body["inferenceConfig"]:
        body["additionalModelResponseFieldPaths"] = _STOP_SEQUENCE_PATHS
    if guardrail is not None:
        body["guardrailConfig"] = {
            "guardrailIdentifier": guardrail.guardrail_id,
            "guardrailVersion": guardrail.version,
        }
    body = _with_output_format(body, conversation, family)
    return _with_marked_prefix(body, family) if call.marks_prefix else body


def _with_marked_prefix(body: ChatBody, family: ModelFamily) -> ChatBody:
    """Returns the body with a cache mark after its system prompt, or after its tools, where it has none."""
    mark = cache_point(CacheControl(), family)
    if "system" in body:
        return {**body, "system": [*body["system"], *mark]}
    if "toolConfig" in body:
        return {**body, "toolConfig": {**body["toolConfig"], "tools": [*body["toolConfig"]["tools"], *mark]}}
    return body


def uses_output_tool(body: ChatBody) -> bool:
    """Returns whether the input of `OUTPUT_TOOL` is the answer to this request."""
    tools = body.get("toolConfig", {}).get("tools", ())
    return any(tool.get("toolSpec", {}).get("name") == OUTPUT_TOOL for tool in tools)


def with_output_tool(body: ChatBody, schema: Json) -> ChatBody:
    """Returns the body with a tool that takes the answer. The model must call it, or one of the caller's tools.

    The caller's own tool choice takes precedence: then the answer is a call. While Claude thinks, no call can be
    forced: it gets an instruction instead.
    """
    config = body.get("toolConfig", {"tools": []})
    if "toolChoice" in config:
        return body
    additional = body.get("additionalModelRequestFields", {})
    if additional.get("thinking", {}).get("type") in _THINKING:
        text = _INSTRUCTION.format(orjson.dumps(schema).decode())
        return {**body, "system": [*body.get("system", ()), {"text": text}]}
    if "tool_choice" in additional:  # Converse refuses its `type` beside its own tool choice
        own_choice = {name: value for name, value in additional["tool_choice"].items() if name != "type"}
        body = {**body, "additionalModelRequestFields": {**additional, "tool_choice": own_choice}}
    spec = {"name": OUTPUT_TOOL, "description": _OUTPUT_TOOL_DESCRIPTION, "inputSchema": {"json": schema}}
    choice = {"any": {}} if config["tools"] else {"tool": {"name": OUTPUT_TOOL}}
    return {**body, "toolConfig": {"tools": [*config["tools"], {"toolSpec": spec}], "toolChoice": choice}}


def _messages(conversation: Conversation, family: ModelFamily, *, has_tools: bool) -> ChatBody:
    has_calls = any(
        message.role is Role.TOOL or any(isinstance(block, ToolCall) for block in message.blocks)
        for message in conversation.messages
    )
    translator = MessageTranslator(family, writes_calls_as_text=has_calls and not has_tools)
    for message in conversation.messages:
        translator.add(message)
    translator.finish(conversation.cache)
    return {"messages": translator.messages, **({"system": translator.system} if translator.system else {})}


def _inference_config(conversation: Conversation, max_tokens: int) -> dict[str, Any]:
    parameters = conversation.parameters
    config: dict[str, Any] = {"maxTokens": max_tokens}
    if (temperature := parameters.get("temperature")) is not None:
        config["temperature"] = temperature
    if (top_p := parameters.get("top_p")) is not None:
        config["topP"] = top_p
    if stop := parameters.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    return config


def _has_calls_without_reasoning(messages: list[dict[str, Any]]) -> bool:
    """Returns whether the prompt ends with results of calls that another vendor's model made: with a budget, Claude
    requires its own reasoning before them.
    """
    if len(messages) < 2 or not any("toolResult" in content for content in messages[-1]["content"]):
        return False
    return "reasoningContent" not in messages[-2]["content"][0]


def _additional_fields(
    conversation: Conversation, family: ModelFamily, max_tokens: int, *, must_not_think: bool
) -> dict[str, Any]:
    """Returns the model's own fields. `must_not_think`: Claude would refuse a budget that the bridge has chosen."""
    fields = _reasoning_fields(conversation, family, max_tokens)
    if must_not_think and conversation.thinking is None:
        is_allowed = family.reasoning is ReasoningStyle.CLAUDE_ADAPTIVE and not conversation.forces_call
        fields = fields if is_allowed else {name: value for name, value in fields.items() if name != "thinking"}
    if (top_k := conversation.parameters.get("top_k")) is not None:
        fields |= {"inferenceConfig": {"topK": top_k}} if family.is_nova else {"top_k": top_k}
    return fields


def _reasoning_fields(conversation: Conversation, family: ModelFamily, max_tokens: int) -> dict[str, Any]:
    """Returns what tells the model to reason. A hint does not exclude a model that has no such setting."""
    effort, hint = conversation.parameters.get("reasoning_effort"), conversation.effort_hint
    if hint is None and conversation.wire_format is not WireFormat.ANTHROPIC:
        return reasoning_fields(effort, conversation.thinking, family, max_tokens)
    thinking = conversation.thinking if takes_thinking(family) else None
    try:
        return reasoning_fields(effort or hint, thinking, family, max_tokens)
    except ProviderError:
        return {}


def unsent_wishes(conversation: Conversation, body: ChatBody) -> list[str]:
    """Returns what the caller asks for, and the body does not: the names for a note."""
    fields = body.get("additionalModelRequestFields", {})
    if REASONING_FIELDS & fields.keys():
        return []
    if conversation.effort_hint not in {None, "none"}:
        return [REASONING_EFFORT]
    thinks = conversation.thinking is not None and conversation.thinking.get("type") == "enabled"
    return [THINKING_WITHOUT_ROOM] if thinks else []


def _tools(conversation: Conversation, family: ModelFamily) -> list[Content]:
    """Returns the tools that the model may call: none for the choice `none`, which Converse does not have."""
    choice = conversation.tool_choice
    if choice is not None and choice.mode is ToolChoiceMode.NONE:
        return []
    tools: list[Content] = []
    for tool in conversation.tools:
        if not isinstance(tool, Function):
            raise unsuitable("Bedrock takes only tools that are functions")
        tools += [{"toolSpec": _tool_spec(tool, family)}, *_tool_mark(tool.cache, family)]
    return tools


def _tool_mark(cache: CacheControl | None, family: ModelFamily) -> list[Content]:
    """Returns the mark after a tool; Nova takes marks only in system prompts and messages."""
    return [] if family.is_nova else cache_point(cache, family)


def _tool_spec(tool: Function, family: ModelFamily) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": tool.name,
        "inputSchema": {"json": {"type": "object", **tool.parameters} if tool.parameters else _NO_PARAMETERS},
    }
    if tool.description and tool.description.strip():
        spec["description"] = tool.description
    if tool.is_strict and family.has_output_schema:
        spec["strict"] = True
    return spec


def _tool_choice(conversation: Conversation) -> dict[str, Any]:
    choice = conversation.tool_choice
    match choice.mode if choice else ToolChoiceMode.AUTO:
        case ToolChoiceMode.REQUIRED:
            return {"any": {}}
        case ToolChoiceMode.NAMED if choice is not None and choice.name:
            return {"tool": {"name": choice.name}}
        case ToolChoiceMode.AUTO:
            return {}  # the default; some models refuse even `auto`
        case _:
            raise unsuitable("Bedrock does not have this tool_choice")


def _sequential_calls(family: ModelFamily, *, has_choice: bool) -> dict[str, Any]:
    """Returns Claude's own field for one call at a time. Converse refuses its `type` beside its own tool choice."""
    if not family.is_claude:
        raise unsuitable("this model cannot be limited to one call at a time", "parallel_tool_calls")
    return {"disable_parallel_tool_use": True, **({} if has_choice else {"type": "auto"})}


def _with_output_format(body: ChatBody, conversation: Conversation, family: ModelFamily) -> ChatBody:
    output = conversation.output_format
    if output is None or output.kind is OutputFormatKind.TEXT:
        return body
    if output.kind is OutputFormatKind.OTHER:
        raise unsuitable("Bedrock does not have this response_format")
    schema = output.schema if output.kind is OutputFormatKind.JSON_SCHEMA else None
    if schema is None or not family.has_output_schema:
        return with_output_tool(body, schema or _ANY_OBJECT)
    definition = {
        "schema": orjson.dumps(schema).decode(),
        **({"name": output.name} if output.name else {}),
        **({"description": output.description} if output.description else {}),
    }
    return {**body, "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}}

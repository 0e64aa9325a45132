"""Translates a request into the body of Anthropic's `POST /v1/messages`.

- `max_tokens` is always sent, because Anthropic requires it: the request's limit, else the configured maximum of the
  model, else that of its family.
- A temperature above 1 cannot be translated: OpenAI's range ends at 2, Anthropic's at 1. Other sampling values are sent
  as they are; a model that rejects them is not suitable. Claude's default values are left out: they change nothing, and
  newer models reject two values together, or any.
- Stop sequences without a visible character are left out: Anthropic rejects them.

Source: platform.claude.com, API reference, "Create a Message", "Count tokens in a Message", API version 2023-06-01:
version 2026-10-21 has no sampling parameters, and other servers know only the former.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from sekha_llm_bridge.conversation import Conversation, Json
from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT
from sekha_llm_bridge.providers.anthropic.blocks import cache_control, unsuitable
from sekha_llm_bridge.providers.anthropic.messages import WireMessage, blocks_of, wire_prompt
from sekha_llm_bridge.providers.anthropic.models import ModelTraits, ThinkingMode, traits_of
from sekha_llm_bridge.providers.anthropic.original import original_of, original_payload
from sekha_llm_bridge.providers.anthropic.output_format import Payload, with_output_format
from sekha_llm_bridge.providers.anthropic.thinking import Thinking, thinking_of
from sekha_llm_bridge.providers.anthropic.tools import wire_tool_choice, wire_tools
from sekha_llm_bridge.providers.cache_control import MARK
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.thinking_budgets import THINKING_WITHOUT_ROOM, within_output_limit

OWN_FIELDS = frozenset({"container", "context_management", "inference_geo", "mcp_servers", "speed"})
"""Anthropic's own fields of a request, which are sent as they are."""

TRANSLATED_OWN_FIELDS = OWN_FIELDS | {"top_k", "thinking", "cache_control", "output_config"}
"""The fields that `chat_payload` translates besides OpenAI's, which are in the field table."""

_DEFAULT_SAMPLING = {"temperature": 1, "top_p": 1, "top_k": 0}
_MAX_TEMPERATURE = 1
_SERVICE_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
_BETAS_OF_FIELDS = {"context_management": "context-management-2025-06-27", "speed": "fast-mode-2026-02-01"}
_TOOLS_PROMPT_TOKENS = 1_000  # it has up to some 500, and the answer tool some 100 besides its schema
_FILES_BETA = "files-api-2025-04-14"
_COUNTED_FIELDS = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"),
        *("mcp_servers", "context_management", "speed", "output_format"),
    }
)
"""The fields that the counting of tokens takes."""


def chat_payload(call: ChatCall, *, stream: bool = False) -> Payload:
    """Returns the body of a request: as it was sent, where that was in Anthropic's format; with the bridge's own cache
    mark, where the call has it. Raises `ProviderError` (CANDIDATE_UNSUITABLE, REQUEST_REJECTED) for what cannot be
    translated.
    """
    conversation, traits = call.conversation, traits_of(call.model_id)
    if (sent := original_of(conversation)) is not None:
        payload = original_payload(call, sent, _max_tokens(call, traits), stream=stream)
    else:
        payload = _translated(call, traits, stream=stream)
    return with_marked_prefix(payload) if call.marks_prefix else payload


def _translated(call: ChatCall, traits: ModelTraits, *, stream: bool) -> Payload:
    max_tokens = _max_tokens(call, traits)
    conversation = within_output_limit(call, max_tokens)
    prompt = wire_prompt(conversation)
    payload: Payload = {"model": call.model_id, "max_tokens": max_tokens, "messages": prompt.messages}
    if prompt.system:
        payload["system"] = prompt.system
    if conversation.tools:
        payload["tools"] = wire_tools(conversation)
    if (choice := wire_tool_choice(conversation, traits)) is not None:
        payload["tool_choice"] = choice
    thinking = _thinking(payload, conversation, traits)
    payload |= _thinking_fields(thinking, conversation) | _sampling(conversation, traits) | _settings(conversation)
    if stream:
        payload["stream"] = True
    is_thinking = thinking.is_on or (traits.off is None and traits.thinking is ThinkingMode.ADAPTIVE)
    return with_output_format(payload, conversation, traits, is_thinking=is_thinking)


def with_marked_prefix(payload: Payload) -> Payload:
    """Returns the request with a cache mark after its system prompt, which follows the tools; after these, where there
    is none. A text without a visible character and a tool that is loaded later take no mark.
    """
    system = payload.get("system") or []
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else [*system]
    if marked := _marked_last(blocks, lambda block: bool(str(block.get("text", "")).strip())):
        return {**payload, "system": marked}
    tools = _marked_last(payload.get("tools") or [], lambda tool: not tool.get("defer_loading"))
    return {**payload, "tools": tools} if tools else payload


def _marked_last(items: Sequence[Payload], takes_mark: Callable[[Payload], bool]) -> list[Payload]:
    """Returns the items with a mark on the last one that takes it; nothing where none does."""
    last = next((at for at in reversed(range(len(items))) if takes_mark(items[at])), None)
    if last is None:
        return []
    return [{**item, "cache_control": MARK} if at == last else item for at, item in enumerate(items)]


def unsent_wishes(conversation: Conversation, payload: Payload) -> list[str]:
    """Returns what the caller asks for, and the body does not: the names for a note."""
    if "thinking" in payload:
        return []
    if conversation.thinking is not None:
        return [THINKING_WITHOUT_ROOM]
    is_hinted = conversation.effort_hint not in {None, "none"} and original_of(conversation) is None
    return [REASONING_EFFORT] if is_hinted and "effort" not in payload.get("output_config", {}) else []


def count_payload(payload: Payload) -> Payload:
    """Returns the body of a request that counts the tokens of `payload`."""
    return {name: value for name, value in payload.items() if name in _COUNTED_FIELDS}


def tokens_of_another_form(payload: Payload) -> int:
    """Returns the most tokens by which the prompt grows where a server does not take its schema, and the answer tool or
    an instruction takes the place of that: the schema itself, and the prompt with which Anthropic introduces tools.
    """
    form = payload.get("output_config", {}).get("format")
    return 0 if form is None else _TOOLS_PROMPT_TOKENS + len(orjson.dumps(form))


def betas_of(payload: Payload) -> list[str]:
    """Returns the sorted names of the beta features that a request uses, for the header `anthropic-beta`."""
    betas = {beta for name, beta in _BETAS_OF_FIELDS.items() if name in payload}
    blocks = [block for message in payload["messages"] for block in blocks_of(message)]
    blocks += [inner for block in blocks if block["type"] == "tool_result" for inner in block.get("content", ())]
    if any(block.get("source", {}).get("type") == "file" for block in blocks if isinstance(block, dict)):
        betas.add(_FILES_BETA)
    return sorted(betas)


def _max_tokens(call: ChatCall, traits: ModelTraits) -> int:
    limits = (call.output_limit, call.max_output_tokens, traits.max_output_tokens)
    return next(limit for limit in limits if limit is not None)


def _thinking(payload: Payload, conversation: Conversation, traits: ModelTraits) -> Thinking:
    return thinking_of(
        conversation,
        traits,
        max_tokens=payload["max_tokens"],
        is_tool_forced=conversation.forces_call,
        needs_thinking=_has_calls_without_thinking(payload["messages"]),
    )


def _has_calls_without_thinking(messages: list[WireMessage]) -> bool:
    """Returns whether the prompt ends with results of calls that another vendor's model made: a model with a budget
    requires its own reasoning before them.
    """
    last = messages[-1]
    if last["role"] != "user" or last["content"][0]["type"] != "tool_result" or len(messages) < 2:
        return False
    return messages[-2]["content"][0]["type"] not in {"thinking", "redacted_thinking"}


def _thinking_fields(thinking: Thinking, conversation: Conversation) -> Payload:
    fields: Payload = {} if thinking.fields is None else {"thinking": thinking.fields}
    own = conversation.vendor_fields.get("output_config")
    output_config = dict(own) if isinstance(own, dict) else {}
    if thinking.effort is not None:
        output_config.setdefault("effort", thinking.effort)
    return {**fields, "output_config": output_config} if output_config else fields


def _sampling(conversation: Conversation, traits: ModelTraits) -> Payload:
    values: dict[str, Any] = {name: conversation.field(name) for name in _DEFAULT_SAMPLING}
    temperature = values["temperature"]
    if temperature is not None and temperature > _MAX_TEMPERATURE:
        raise unsuitable("Anthropic takes a temperature from 0 to 1", "temperature")
    sent = {name: value for name, value in values.items() if value is not None}
    if traits.is_claude:
        sent = {name: value for name, value in sent.items() if value != _DEFAULT_SAMPLING[name]}
    stop = conversation.field("stop")
    sequences = [one for one in ([stop] if isinstance(stop, str) else stop or ()) if one.strip()]
    return {**sent, "stop_sequences": sequences} if sequences else sent


def _settings(conversation: Conversation) -> Payload:
    fields: Payload = {name: value for name, value in conversation.vendor_fields.items() if name in OWN_FIELDS}
    if (user := conversation.field("user") or conversation.field("safety_identifier")) is not None:
        fields["metadata"] = {"user_id": user}
    metadata: Json = conversation.vendor_fields.get("metadata") or {}
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        fields["metadata"] = {"user_id": metadata["user_id"]}
    if conversation.cache is not None:
        fields["cache_control"] = cache_control(conversation.cache)
    tier = conversation.vendor_fields.get("service_tier")
    if isinstance(tier, str) and tier in _SERVICE_TIERS:  # other tiers are other vendors'; the answer is the same
        fields["service_tier"] = _SERVICE_TIERS[tier]
    return fields

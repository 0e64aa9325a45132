"""The other forms of a request that this adapter sends where a server rejects what the bridge has chosen.

Whether a server takes the signatures of earlier reasoning, a schema, or calls without tools depends on the content, so
those forms are not remembered.

Sources: Anthropic's error messages, as they are quoted in public reports: "Invalid `signature` in `thinking` block",
"`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified", "Expected `thinking` or
`redacted_thinking`, but found `tool_use`", "output_config: Extra inputs are not permitted", "Requests which include
`tool_use` or `tool_result` blocks must define tools".
"""

from collections.abc import Sequence
from typing import Any

from sekha_llm_bridge.conversation import Conversation, Json
from sekha_llm_bridge.errors import Failure
from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT, Adaptation, by_rejection, names_unknown
from sekha_llm_bridge.providers.anthropic.messages import blocks_of
from sekha_llm_bridge.providers.anthropic.models import traits_of
from sekha_llm_bridge.providers.anthropic.original import BETA_HEADER
from sekha_llm_bridge.providers.anthropic.output_format import Payload, without_native_format
from sekha_llm_bridge.providers.anthropic.repairs import repairs
from sekha_llm_bridge.providers.anthropic.thinking import without_thinking
from sekha_llm_bridge.providers.cache_control import CACHE_ADAPTATIONS
from sekha_llm_bridge.providers.output_caps import limit_adaptations
from sekha_llm_bridge.providers.system_messages import with_system_as_user
from sekha_llm_bridge.providers.thinking_budgets import MIN_BUDGET_TOKENS

_REASONING = frozenset({"thinking", "redacted_thinking"})


def _without_display(payload: Payload) -> Payload | None:
    """Drops `thinking.display`, which servers with another version of the API do not know."""
    thinking = payload.get("thinking") or {}
    if "display" not in thinking:
        return None
    return {**payload, "thinking": {name: value for name, value in thinking.items() if name != "display"}}


def _without_earlier_reasoning(payload: Payload) -> Payload | None:
    """Drops earlier reasoning: another model or account cannot read it."""
    kept = [
        {**message, "content": [block for block in blocks_of(message) if block["type"] not in _REASONING]}
        if blocks_of(message)
        else message
        for message in payload["messages"]
    ]
    messages = [message for message in kept if message["content"]]
    return None if messages == payload["messages"] else {**payload, "messages": messages}


def _without_budget(payload: Payload) -> Payload | None:
    """Drops a budget for thinking: with one, the model requires its own reasoning before the last calls, which another
    vendor's model has made.
    """
    is_on = (payload.get("thinking") or {}).get("type") == "enabled"
    return without_thinking(payload) if is_on else None


def _with_lower_budget(payload: Payload) -> Payload:
    """Lowers a budget for thinking that is not below `max_tokens`, which it is a part of."""
    thinking, max_tokens = payload.get("thinking") or {}, payload["max_tokens"]
    if thinking.get("budget_tokens", 0) < max_tokens:
        return payload
    if max_tokens <= MIN_BUDGET_TOKENS:
        return without_thinking(payload)
    return {**payload, "thinking": {**thinking, "budget_tokens": max(MIN_BUDGET_TOKENS, max_tokens // 2)}}


def _without_thinking(payload: Payload) -> Payload | None:
    """Drops what the caller says about thinking, where it has said it for another model."""
    return without_thinking(payload) if "thinking" in payload else None


def _without_effort(payload: Payload) -> Payload | None:
    config: Json = payload.get("output_config") or {}
    if "effort" not in config:
        return None
    without = {name: value for name, value in payload.items() if name != "output_config"}
    rest = {name: value for name, value in config.items() if name != "effort"}
    return {**without, "output_config": rest} if rest else without


def _without(field: str, pattern: str = "") -> Adaptation:
    """Returns the form without a field of the request. `pattern` matches the rejections; by default, those of servers
    that do not know the field.
    """

    def change(payload: Payload) -> Payload | None:
        return {name: value for name, value in payload.items() if name != field} if field in payload else None

    return Adaptation(pattern or names_unknown(rf"\b{field}\b"), change, leaves_out=field)


def _without_in_tools(field: str) -> Adaptation:
    """Returns the form without a field of tools that a server does not know."""

    def change(payload: Payload) -> Payload | None:
        tools = payload.get("tools") or []
        kept = [{name: value for name, value in tool.items() if name != field} for tool in tools]
        return None if kept == tools else {**payload, "tools": kept}

    return Adaptation(names_unknown(rf"\b{field}\b"), change, leaves_out=f"{field} of tools")


def _without_refused_betas(payload: Payload, failure: Failure) -> Payload | None:
    """Drops the caller's beta features that the rejection names; all, where it names none."""
    betas = payload.get(BETA_HEADER) or []
    kept = [name for name in betas if name not in failure.provider_text]
    if not betas:
        return None
    return {**payload, BETA_HEADER: kept if len(kept) < len(betas) else []}


def _with_system_at_beginning(payload: Payload) -> Payload | None:
    changed = with_system_as_user(payload["messages"])
    return None if changed == payload["messages"] else {**payload, "messages": changed}


def _with_tools_of_history(payload: Payload) -> Payload | None:
    """Adds the tools that earlier calls name, where the request has none. The model must not call them."""
    blocks = [block for message in payload["messages"] for block in blocks_of(message)]
    names = dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use")
    if payload.get("tools") or not names:
        return None
    tools: list[dict[str, Any]] = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    return {**payload, "tools": tools, "tool_choice": {"type": "none"}}


ADAPTATIONS = (Adaptation(r"\bdisplay\b", _without_display), *CACHE_ADAPTATIONS)
"""Forms that a server needs for every request."""

_BY_CONTENT = (
    Adaptation(r"\bexpected\W+thinking\b", _without_budget),
    Adaptation(
        r"\bsignature\b|redacted_thinking|\bthinking\W+blocks?\b|\bbe\W+text\b.{0,60}\btool_result\b",
        _without_earlier_reasoning,
    ),
    Adaptation(r"must define tools|tools=? (?:param|must)", _with_tools_of_history),
)


# Only where the model does not have it: a wrong value is the caller's to correct.
_NO_EFFORT = r"\beffort\b.{0,80}\bnot\b|\bnot support.{0,60}\beffort\b|output_config\b.{0,40}\bnot permitted"
_NO_THINKING = r"\badaptive\b|\bthinking\b.{0,80}\b(?:not|unsupported)\b|\bnot support.{0,60}\bthinking\b"
# What agents send for one of Anthropic's models, whichever of them answers. It must not exclude the others.
_OF_HINTS = (
    Adaptation(_NO_EFFORT, _without_effort, leaves_out=REASONING_EFFORT),
    Adaptation(_NO_THINKING, _without_thinking, leaves_out="thinking"),
    _without("context_management", r"context_management"),
    *map(_without, ("diagnostics", "speed", "service_tier", "inference_geo", "metadata")),
    *map(_without_in_tools, ("defer_loading", "eager_input_streaming", "input_examples", "allowed_callers", "strict")),
    by_rejection(r"\banthropic-beta\b|\bbeta flag", _without_refused_betas, leaves_out="beta features"),
    Adaptation(r"\broles?\b|\bunknown variant\W+system\b", _with_system_at_beginning),
)


def content_adaptations(conversation: Conversation, model_id: str) -> Sequence[Adaptation]:
    """Returns the other forms that this one request may need."""
    form, traits = conversation.output_format, traits_of(model_id)

    def _without_structured_output(payload: Payload) -> Payload | None:
        output_config: Json = payload.get("output_config") or {}
        if form is None or "format" not in output_config:
            return None
        rest = {name: value for name, value in output_config.items() if name != "format"}
        without = {name: value for name, value in payload.items() if name != "output_config"}
        is_thinking = (payload.get("thinking") or {}).get("type") in {"enabled", "adaptive"}
        can_force_tool = traits.takes_forced_tools and traits.off is not None and not is_thinking
        return without_native_format(
            {**without, "output_config": rest} if rest else without, form, can_force_tool=can_force_tool
        )

    pattern = r"output_config|output_format|structured output|\bschema\b|additionalProperties"
    is_hinted = conversation.original is not None or conversation.effort_hint is not None
    hints = _OF_HINTS if is_hinted else ()
    limits = limit_adaptations(conversation, "max_tokens", adjust=_with_lower_budget)
    by_content = (*_BY_CONTENT, *repairs(conversation), *hints)
    return (*by_content, Adaptation(pattern, _without_structured_output), *limits)

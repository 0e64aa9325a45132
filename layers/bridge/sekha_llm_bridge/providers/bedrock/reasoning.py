"""The fields that tell a model how much to reason. They differ by family, and Converse passes them on as they are."""

from typing import Any

from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.providers.bedrock.content import unsuitable
from sekha_llm_bridge.providers.bedrock.models import HIDDEN_FAMILY, ModelFamily, ReasoningStyle

REASONING_FIELDS = frozenset({"thinking", "output_config", "reasoning", "reasoning_effort", "reasoningConfig"})
"""The names of the fields that `reasoning_fields` may return."""

_MIN_BUDGET_TOKENS = 1024  # Anthropic's minimum
_BUDGET_TOKENS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_OPEN_MODELS_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}


def reasoning_fields(effort: str | None, thinking: Json | None, family: ModelFamily, max_tokens: int) -> dict[str, Any]:
    """Returns the model's own fields for OpenAI's `reasoning_effort` or Anthropic's `thinking`, which takes precedence.

    Raises `ProviderError` (CANDIDATE_UNSUITABLE) where the model has no such setting, and where `max_tokens` leaves no
    room for the smallest budget.
    """
    if thinking is not None and takes_thinking(family):
        has_effort = effort is not None and family.reasoning is ReasoningStyle.CLAUDE_ADAPTIVE
        return {"thinking": dict(thinking), **(_claude_effort(effort) if has_effort and effort else {})}
    if thinking is not None and thinking.get("type") != "disabled":
        raise unsuitable("only Claude takes `thinking`", "thinking")
    if effort is None:
        return {}
    match family.reasoning:
        case ReasoningStyle.CLAUDE_ADAPTIVE:
            return {} if effort == "none" else {"thinking": {"type": "adaptive"}, **_claude_effort(effort)}
        case ReasoningStyle.CLAUDE_BUDGET:
            return _budget(effort, max_tokens)
        case ReasoningStyle.NOVA:
            level = _NOVA_EFFORTS.get(effort)
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}} if level else {}
        case ReasoningStyle.OPENAI_GPT:
            return {"reasoning": {"effort": "low" if effort == "minimal" else effort}}
        case ReasoningStyle.FLAT:
            level = _OPEN_MODELS_EFFORTS.get(effort)
            return {"reasoning_effort": level} if level else {}
        case ReasoningStyle.NONE if effort != "none":
            raise unsuitable("the model has no levels of reasoning", "reasoning_effort")
        case _:
            return {}


def takes_thinking(family: ModelFamily) -> bool:
    """Returns whether a model may take Anthropic's `thinking`."""
    return family.is_claude or family is HIDDEN_FAMILY


def _claude_effort(effort: str) -> dict[str, Any]:
    return {"output_config": {"effort": "low" if effort == "minimal" else effort}}


def _budget(effort: str, max_tokens: int) -> dict[str, Any]:
    """Returns at most half of the output as budget: the budget is a part of `max_tokens`."""
    if effort == "none":
        return {}
    budget = min(_BUDGET_TOKENS.get(effort, _MIN_BUDGET_TOKENS), max_tokens // 2)
    if budget < _MIN_BUDGET_TOKENS:
        raise unsuitable("the output limit leaves no room for the smallest budget of reasoning")
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}

"""Translates `reasoning_effort` into Anthropic's `thinking` and `output_config.effort`, where the caller has not sent
Anthropic's own `thinking`.

Budgets are shares of `max_tokens`, which they are part of. Sources: platform.claude.com, "Extended thinking" (at least
1,024 tokens, and fewer than `max_tokens`; not with a forced tool), "Effort"; the shares are OpenRouter's ("Reasoning
Tokens").
"""

from typing import Any, NamedTuple

from sekha_llm_bridge.conversation import Conversation, Json
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.anthropic.models import ModelTraits, ThinkingMode
from sekha_llm_bridge.providers.thinking_budgets import MIN_BUDGET_TOKENS

_MAX_BUDGET_TOKENS = 128_000
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
_LEVELS = tuple(_SHARES)


def without_thinking(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns a request without `thinking`, and without the edit that clears earlier thinking: Anthropic refuses that
    edit where the model does not think.
    """
    rest = {name: value for name, value in payload.items() if name != "thinking"}
    management = rest.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    if not isinstance(edits, list):
        return rest
    kept = [edit for edit in edits if not (isinstance(edit, dict) and _clears_thinking(edit))]
    if kept == edits:
        return rest
    if kept:
        return {**rest, "context_management": {**rest["context_management"], "edits": kept}}
    return {name: value for name, value in rest.items() if name != "context_management"}


def _clears_thinking(edit: Json) -> bool:
    return str(edit.get("type")).startswith("clear_thinking_")


class Thinking(NamedTuple):
    """What a request says about thinking: its `thinking` object and the `effort` of its `output_config`, where it has
    them. `is_chosen`: the bridge has chosen the object.
    """

    fields: Json | None = None
    effort: str | None = None
    is_chosen: bool = False

    @property
    def is_on(self) -> bool:
        """Whether the request turns thinking on."""
        return self.fields is not None and self.fields.get("type") in {"enabled", "adaptive"}


def thinking_of(
    conversation: Conversation, traits: ModelTraits, *, max_tokens: int, is_tool_forced: bool, needs_thinking: bool
) -> Thinking:
    """Returns what the request says about thinking.

    Where a tool is forced, and where the last turn has calls without reasoning (`needs_thinking`: a budget requires it
    there), the bridge chooses no thinking: that would be rejected. A hint that the model cannot follow is left out.
    Raises `ProviderError` (CANDIDATE_UNSUITABLE) where the model cannot think, or cannot do without it, as requested.
    """
    requested, hint = conversation.field("reasoning_effort"), conversation.effort_hint
    if conversation.thinking is not None:
        return Thinking(conversation.thinking, nearest_effort(requested, traits.efforts))
    wanted = hint if requested is None else requested
    if wanted is None:
        return Thinking()
    must_not = _MustNot(is_tool_forced, needs_thinking)
    try:
        return _by_effort(wanted, traits, max_tokens, must_not)
    except ProviderError:
        if requested is not None:
            raise
        return Thinking()


class _MustNot(NamedTuple):
    """Why the bridge must not choose that the model thinks. See `thinking_of`."""

    is_tool_forced: bool
    needs_thinking: bool


def _by_effort(requested: str, traits: ModelTraits, max_tokens: int, must_not: _MustNot) -> Thinking:
    if requested == "none":
        return _without_thinking(traits)
    if requested not in _LEVELS:
        raise _unsuitable(f"Anthropic has no reasoning_effort {requested!r:.20}")
    if traits.thinking is ThinkingMode.ADAPTIVE:
        effort = nearest_effort(requested, traits.efforts)
        return Thinking(None if must_not.is_tool_forced else _adaptive(traits), effort, is_chosen=True)
    if traits.thinking is ThinkingMode.NONE:
        raise _unsuitable("this model cannot reason")
    if any(must_not):
        return Thinking()
    return Thinking({"type": "enabled", "budget_tokens": _budget_tokens(requested, max_tokens)}, is_chosen=True)


def _without_thinking(traits: ModelTraits) -> Thinking:
    if traits.off is None:
        raise _unsuitable("this model always reasons")
    is_needed = traits.thinking is ThinkingMode.ADAPTIVE  # models with a budget do not think unless they are told
    return Thinking({"type": traits.off}, is_chosen=True) if is_needed else Thinking()


def _adaptive(traits: ModelTraits) -> Json:
    return {"type": "adaptive", **({"display": "summarized"} if traits.is_thinking_hidden else {})}


def _budget_tokens(effort: str, max_tokens: int) -> int:
    if max_tokens <= MIN_BUDGET_TOKENS:
        raise _unsuitable(f"this model reasons only with more than {MIN_BUDGET_TOKENS} output tokens, not {max_tokens}")
    return max(MIN_BUDGET_TOKENS, min(int(max_tokens * _SHARES[effort]), _MAX_BUDGET_TOKENS))


def nearest_effort(effort: object, efforts: tuple[str, ...]) -> str | None:
    """Returns the highest of the model's `efforts` that is not above `effort`, else the lowest; None for no effort, and
    for a model without efforts.
    """
    if effort not in _LEVELS or not efforts:
        return None
    allowed = [one for one in efforts if _LEVELS.index(one) <= _LEVELS.index(str(effort))]
    return allowed[-1] if allowed else efforts[0]


def _unsuitable(message: str) -> ProviderError:
    return ProviderError(FailureKind.CANDIDATE_UNSUITABLE, message, param="reasoning_effort")

"""What Anthropic's `thinking` and `output_config.effort` ask of models that know only an effort."""

from sekha_llm_bridge.conversation import Json

NO_EFFORT = "none"
_DEFAULT_EFFORT = "medium"
_EFFORTS_BY_BUDGET = ((4096, "low"), (16_384, "medium"))  # tokens: below each, the effort; above all, "high"


def hinted_effort(thinking: Json | None, effort: str | None) -> str | None:
    """Returns the `reasoning_effort` that stands for both; None where the model should decide."""
    kind = None if thinking is None else thinking.get("type")
    if kind == "disabled":
        return NO_EFFORT
    if effort is not None or kind != "enabled" or thinking is None:
        return effort
    if (budget := thinking.get("budget_tokens")) is None:  # other servers of Anthropic's format need none
        return _DEFAULT_EFFORT
    return next((name for limit, name in _EFFORTS_BY_BUDGET if budget < limit), "high")

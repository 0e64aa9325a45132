"""Translates OpenAI's `reasoning_effort` into Ollama's `think`.

Ollama takes true, false, or a level ("low", "medium", "high"). Only gpt-oss has levels; a model without levels answers
a level with status 400, and a model that cannot think answers true with status 400: then the bridge asks again with a
simpler value. Source: Ollama's API documentation, "Thinking"; ollama/ollama issue 12561.
"""

from typing import Any

from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT, Adaptation

_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_MODEL_WITH_LEVELS = "gpt-oss"


def think_of_effort(model_id: str, effort: object) -> str | bool | None:
    """Returns the value of `think` for an effort; None: the field is left out."""
    if effort == "none":
        return False
    level = _LEVELS.get(effort) if isinstance(effort, str) else None
    return level if level is None or _MODEL_WITH_LEVELS in model_id.lower() else True


def _without_level(payload: dict[str, Any]) -> dict[str, Any] | None:
    return {**payload, "think": True} if isinstance(payload.get("think"), str) else None


def _without_think(payload: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in payload.items() if name != "think"} if "think" in payload else None


EFFORT_ADAPTATIONS = (
    Adaptation("think", _without_level),
    Adaptation("think", _without_think, leaves_out=REASONING_EFFORT),
)
"""For requests whose `think` is the bridge's own; a caller's value is not changed."""

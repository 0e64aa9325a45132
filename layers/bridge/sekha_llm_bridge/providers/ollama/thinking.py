"""Translates OpenAI's `reasoning_effort` into Ollama's `think`.

Ollama takes true, false, or a level ("low", "medium", "high"). Only gpt-oss has levels; a model without levels answers
a level with status 400, and a model that cannot think answers true with status 400. Source: Ollama's API documentation,
"Thinking"; ollama/ollama issue 12561.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from sekha_llm_bridge.providers.base import ChatCall

Think: TypeAlias = str | bool | None
"""A value of `think`; None: the field is left out."""

_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_MODEL_WITH_LEVELS = "gpt-oss"


def think_values(model_id: str, effort: Any) -> tuple[Think, ...]:
    """Returns the values of `think` for an effort, each to be tried if the model rejects the one before it."""
    if effort == "none":
        return False, None
    level = _LEVELS.get(effort) if isinstance(effort, str) else None
    if level is None:
        return (None,)
    return (level, True, None) if _MODEL_WITH_LEVELS in model_id.lower() else (True, None)


class ThinkValues:
    """The values that the models of one server accept. What a model has rejected is not sent to it again."""

    def __init__(self) -> None:
        self._rejected: set[tuple[str, Think]] = set()

    def for_call(self, call: ChatCall) -> tuple[Think, ...]:
        """Returns the values to try for a call. The caller's own `think` takes precedence over the effort."""
        if call.request.get("think") is not None:
            return (None,)
        values = think_values(call.model_id, call.request.get("reasoning_effort"))
        return tuple(value for value in values if (call.model_id, value) not in self._rejected)

    def remember_rejected(self, model_id: str, values: Iterable[Think]) -> None:
        """Remembers the values that the model rejected before it accepted another one."""
        self._rejected.update((model_id, value) for value in values)

"""Reads the JSON answers of models: entities and scores. What does not have the required form is a fault; nothing is
invented or corrected.
"""

from typing import Any

import orjson

ENTITY_KINDS = ("people", "organizations", "technical_terms", "concepts")
_MIN_SCORE, _MAX_SCORE = 1, 10
_FENCE = "```"


class AnswerFault(Exception):
    """Why an answer of a model cannot be used. The message has no text of the answer. `is_cut_off`: it reached the
    maximum of output tokens.
    """

    def __init__(self, fault: str, *, is_cut_off: bool = False) -> None:
        super().__init__(fault)
        self.is_cut_off = is_cut_off


def read_entities(answer: str) -> dict[str, list[str]]:
    """Returns the entities by kind, each once, in order. Raises `AnswerFault`."""
    found = _json_object(answer)
    return {kind: _texts(kind, found.get(kind)) for kind in ENTITY_KINDS}


def read_score(answer: str) -> tuple[float, str]:
    """Returns (score, reasoning). Raises `AnswerFault`."""
    found = _json_object(answer)
    score, reasoning = found.get("score"), found.get("reasoning")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise AnswerFault("`score` must be a number")
    if not _MIN_SCORE <= score <= _MAX_SCORE:
        raise AnswerFault(f"`score` must be from {_MIN_SCORE} to {_MAX_SCORE}")
    if not isinstance(reasoning, str) or not reasoning.strip():
        raise AnswerFault("`reasoning` must be a text")
    return score, reasoning.strip()


def _texts(kind: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise AnswerFault(f"`{kind}` must be a list of texts")
    return list(dict.fromkeys(text for item in value if (text := item.strip())))


def _json_object(answer: str) -> dict[str, Any]:
    """Returns the object of an answer; a model without JSON schemas often puts it into a block of code."""
    text = answer.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        text = text.removeprefix(_FENCE).removesuffix(_FENCE).strip().removeprefix("json")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise AnswerFault("it is not JSON") from None
    if not isinstance(found, dict):
        raise AnswerFault("it is not a JSON object")
    return found

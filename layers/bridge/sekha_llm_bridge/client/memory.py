"""What Sekha's memory asks of a model: the calls of `summarize`, `extract` and `score`, and their replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.client.call import Call, Usd, post, sent_usd
from sekha_llm_bridge.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of messages; `str()` of it is the text."""

    text: str
    level: str
    model: str
    message_count: int
    tokens_used: int
    request_id: str | None
    raw: Mapping[str, Any]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Entities:
    """What a text names."""

    people: tuple[str, ...]
    organizations: tuple[str, ...]
    technical_terms: tuple[str, ...]
    concepts: tuple[str, ...]
    model: str
    request_id: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """How important a text is, from 1 to 10, and the model's reason."""

    score: float
    reasoning: str
    model: str
    request_id: str | None
    raw: Mapping[str, Any]


def summarize(
    messages: Sequence[str],
    *,
    level: str = "daily",
    model: str | None = None,
    max_words: int | None = None,
    max_cost: Usd | None = None,
) -> Call[Summary]:
    """Summarizes messages. `level` is `daily`, `weekly` or `monthly`: how much is left out."""
    texts = [messages] if isinstance(messages, str) else list(messages)
    fields = {"messages": texts, "level": level, "model": model, "max_words": max_words}
    return post("/api/v1/summarize", {**fields, "max_cost": sent_usd(max_cost)}, _summary)


def extract(text: str, *, model: str | None = None, max_cost: Usd | None = None) -> Call[Entities]:
    """Finds the people, organizations, technical terms and concepts that a text names."""
    fields = {"text": text, "model": model, "max_cost": sent_usd(max_cost)}
    return post("/api/v1/extract", fields, _entities)


def score(
    text: str | None = None,
    *,
    message: Any = None,
    conversation: Any = None,
    model: str | None = None,
    max_cost: Usd | None = None,
) -> Call[Score]:
    """Rates how important a text, a message or a conversation is. Give exactly one of them."""
    rated = {"text": text, "message": message, "conversation": conversation}
    if sum(value is not None for value in rated.values()) != 1:
        raise InvalidRequest("give exactly one of text, message and conversation", param="text")
    return post("/api/v1/score", {**rated, "model": model, "max_cost": sent_usd(max_cost)}, _score)


def _summary(document: Any, request_id: str | None) -> Summary:
    return Summary(
        text=document["summary"],
        level=document["level"],
        model=document["model"],
        message_count=document["message_count"],
        tokens_used=document["tokens_used"],
        request_id=request_id,
        raw=document,
    )


def _entities(document: Any, request_id: str | None) -> Entities:
    found = document["entities"]
    return Entities(
        people=tuple(found["people"]),
        organizations=tuple(found["organizations"]),
        technical_terms=tuple(found["technical_terms"]),
        concepts=tuple(found["concepts"]),
        model=document["model"],
        request_id=request_id,
        raw=document,
    )


def _score(document: Any, request_id: str | None) -> Score:
    return Score(document["score"], document["reasoning"], document["model"], request_id, document)

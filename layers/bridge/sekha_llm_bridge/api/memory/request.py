"""The requests of v1: texts to summarize, a text to take entities from, a text to score."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from sekha_llm_bridge.api.fields import MaxCost, TaskName


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("has no text")
    return text


_Text = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
OWN_FIELDS = frozenset({"max_cost", "preferred_model", "task"})
"""The bridge's own fields of these requests."""


class MemoryRequest(BaseModel):
    """What the three requests have in common: which model answers, as in a chat."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = None
    preferred_model: str | None = None
    task: TaskName | None = None
    max_cost: MaxCost | None = None


class SummarizeRequest(MemoryRequest):
    """`POST /summarize`."""

    messages: list[str] = Field(min_length=1)
    level: Literal["daily", "weekly", "monthly"] = "daily"
    max_words: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None

    @field_validator("messages")
    @classmethod
    def _some_text(cls, messages: list[str]) -> list[str]:
        if not any(text.strip() for text in messages):
            raise ValueError("has no text")
        return messages


class ExtractRequest(MemoryRequest):
    """`POST /extract`."""

    text: _Text


class ScoreRequest(MemoryRequest):
    """`POST /score`: one of `conversation`, `message` and `text`; `context` is what it belongs to."""

    conversation: _Text | None = None
    message: _Text | None = None
    text: _Text | None = None
    context: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "ScoreRequest":
        if sum(value is not None for value in (self.conversation, self.message, self.text)) != 1:
            raise ValueError("give exactly one of conversation, message and text")
        return self

    @property
    def subject_field(self) -> str:
        """The field that has the text to score."""
        return next(name for name in ("conversation", "message", "text") if getattr(self, name) is not None)

    @property
    def subject(self) -> str:
        """The text to score."""
        text: str = getattr(self, self.subject_field)
        return text

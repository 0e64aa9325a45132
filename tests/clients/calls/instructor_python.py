"""instructor, which adds structured output to the `openai` package."""

from typing import Any

import instructor  # type: ignore[import-not-found]  # only in its own environment
import openai
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, QUESTION, Outcome

ASK: Any = [{"role": "user", "content": QUESTION}]


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def client(mode: instructor.Mode = instructor.Mode.TOOLS) -> instructor.Instructor:
    raw = openai.OpenAI(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY, max_retries=0)
    return instructor.from_openai(raw, mode=mode)


def chat() -> Outcome:
    answer = client().chat.completions.create(model=CHAT_MODEL, messages=ASK, response_model=None)
    return outcomes.text_outcome(answer.choices[0].message.content)


def stream() -> Outcome:
    parts = list(client().create_partial(model=CHAT_MODEL, messages=ASK, response_model=Person))
    return {**outcomes.person_outcome(parts[-1]), "is_in_pieces": len(parts) > 1}


def structured() -> Outcome:
    """By a tool, and by a JSON schema."""
    modes = (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)
    persons = [client(mode).create(model=CHAT_MODEL, messages=ASK, response_model=Person) for mode in modes]
    by_tool, by_schema = map(outcomes.person_outcome, persons)
    return by_tool if by_tool == by_schema else {"by_tool": by_tool, "by_schema": by_schema}


def error() -> Outcome:
    try:
        client().create(model="no-such-model", messages=ASK, response_model=Person, max_retries=0)
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    outcomes.run("instructor", {"chat": chat, "stream": stream, "structured": structured, "error": error})

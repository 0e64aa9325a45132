"""The calls of pydantic-ai, whatever its model class: `pydantic_ai_responses` and `pydantic_ai_messages` say which."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent  # type: ignore[import-not-found]  # only in its own environment
from pydantic_ai.exceptions import ModelHTTPError  # type: ignore[import-not-found]  # as above

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


class Calls:
    """The calls. `make` returns the model of a name."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    def run(self) -> None:
        """Makes the calls, and writes their outcomes."""
        calls = {"chat": self.chat, "stream": self.stream, "cut": self.cut, "leave": self.leave, "tools": self.tools}
        calls |= {"turns": self.turns, "structured": self.structured, "error": self.error}
        outcomes.run_with_models("pydantic-ai-slim", calls)

    def chat(self, model: str) -> Outcome:
        return outcomes.text_outcome(Agent(self._make(model)).run_sync(QUESTION).output)

    def _pieces(self, question: str, model: str) -> list[str]:
        return list(Agent(self._make(model)).run_stream_sync(question).stream_text(delta=True, debounce_by=None))

    def stream(self, model: str) -> Outcome:
        read = self._pieces(QUESTION, model)
        return outcomes.text_outcome("".join(read), len(read))

    def cut(self, model: str) -> Outcome:
        return outcomes.cut_outcome(lambda: self._pieces(outcomes.CUT, model))

    async def _first_piece(self, model: str) -> str:
        async with Agent(self._make(model)).run_stream(outcomes.WAIT) as arriving:
            async for piece in arriving.stream_text(delta=True, debounce_by=None):
                await arriving.cancel()
                return str(piece)
        return ""

    def leave(self, model: str) -> Outcome:
        return {"has_begun": asyncio.run(self._first_piece(model)) != ""}

    def _with_tools(self, question: str, model: str) -> Outcome:
        return outcomes.text_outcome(Agent(self._make(model), tools=[outcomes.weather]).run_sync(question).output)

    def tools(self, model: str) -> Outcome:
        return self._with_tools(QUESTION, model)

    def turns(self, model: str) -> Outcome:
        return self._with_tools(outcomes.COMPARE, model)

    def structured(self, model: str) -> Outcome:
        return outcomes.person_outcome(Agent(self._make(model), output_type=Person).run_sync(QUESTION).output)

    def error(self, model: str) -> Outcome:
        try:
            self.chat(outcomes.MISSING_MODEL)
        except ModelHTTPError as exc:
            return outcomes.error_outcome(exc)
        return {}

"""The calls of LangChain, whatever its class of models: `langchain_messages`, `langchain_responses` and
`langchain_ollama` say which.
"""

from collections.abc import Callable, Generator
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


class Calls:
    """The calls. `make` returns the model of a name; `package` is where its class is from."""

    def __init__(self, package: str, make: Callable[[str], Any]) -> None:
        self._package, self._make = package, make

    def run(self, **more: Callable[[str], Outcome]) -> None:
        """Makes the calls, and `more` ones, and writes their outcomes."""
        calls = {"chat": self.chat, "stream": self.stream, "cut": self.cut, "leave": self.leave, "tools": self.tools}
        calls |= {"turns": self.turns, "structured": self.structured, "error": self.error}
        outcomes.run_with_models(self._package, {**calls, **more})

    def chat(self, model: str) -> Outcome:
        return outcomes.text_outcome(self._make(model).invoke(QUESTION).text)

    def _pieces(self, question: str, model: str) -> Generator[str]:
        for chunk in self._make(model).stream(question):
            if chunk.text:
                yield chunk.text

    def stream(self, model: str) -> Outcome:
        read = list(self._pieces(QUESTION, model))
        return outcomes.text_outcome("".join(read), len(read))

    def cut(self, model: str) -> Outcome:
        return outcomes.cut_outcome(lambda: list(self._pieces(outcomes.CUT, model)))

    def leave(self, model: str) -> Outcome:
        return outcomes.left_outcome(self._pieces(outcomes.WAIT, model))

    def _converse(self, question: str, model: str) -> Outcome:
        """Asks by streams, as agents do, and answers calls until there are none."""
        weather = tool(outcomes.weather)
        with_tools = self._make(model).bind_tools([weather])
        messages: list[Any] = [HumanMessage(question)]
        while True:
            first, *rest = with_tools.stream(messages)
            answer = sum(rest, first)
            if not answer.tool_calls:
                return outcomes.text_outcome(answer.text)
            messages += [answer, *(weather.invoke(call) for call in answer.tool_calls)]

    def tools(self, model: str) -> Outcome:
        return self._converse(QUESTION, model)

    def turns(self, model: str) -> Outcome:
        return self._converse(outcomes.COMPARE, model)

    def structured(self, model: str) -> Outcome:
        return outcomes.person_outcome(self._make(model).with_structured_output(Person).invoke(QUESTION))

    def error(self, model: str) -> Outcome:
        try:
            self.chat(outcomes.MISSING_MODEL)
        except Exception as exc:  # noqa: BLE001 — its words are the outcome
            return outcomes.error_outcome(exc)
        return {}

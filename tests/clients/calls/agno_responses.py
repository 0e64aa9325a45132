"""agno with its model class for `/v1/responses`, which is its default for OpenAI."""

from collections.abc import Generator
from typing import Any

from agno.agent import Agent  # type: ignore[import-not-found]  # only in its own environment
from agno.models.openai import OpenAIResponses  # type: ignore[import-not-found]  # as above
from agno.run.agent import RunErrorEvent  # type: ignore[import-not-found]  # as above

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome


def plain(model: str, **more: Any) -> Agent:
    asked = OpenAIResponses(id=model, api_key=outcomes.API_KEY, base_url=outcomes.BASE_URL, max_retries=0)
    return Agent(model=asked, telemetry=False, **more)


def with_tools(model: str) -> Agent:
    return plain(model, tools=[outcomes.weather])


def pieces(agent: Agent, question: str) -> Generator[str]:
    for event in agent.run(question, stream=True):
        if isinstance(event, RunErrorEvent):
            raise ConnectionError(event.content)
        if event.content:
            yield str(event.content)


def chat(model: str) -> Outcome:
    return outcomes.text_outcome(plain(model).run(QUESTION).content)


def stream(model: str) -> Outcome:
    read = list(pieces(plain(model), QUESTION))
    return outcomes.text_outcome("".join(read), len(read))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: list(pieces(plain(model), outcomes.CUT)))


def tools(model: str) -> Outcome:
    return outcomes.text_outcome(with_tools(model).run(QUESTION).content)


def turns(model: str) -> Outcome:
    """By streams."""
    return outcomes.text_outcome("".join(pieces(with_tools(model), outcomes.COMPARE)))


def error(model: str) -> Outcome:
    said = plain(outcomes.MISSING_MODEL).run(QUESTION)
    return outcomes.error_outcome(RuntimeError(said.content))


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "turns": turns, "error": error}
    outcomes.run_with_models("agno", calls)

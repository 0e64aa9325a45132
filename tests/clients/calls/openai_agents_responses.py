"""The OpenAI Agents SDK (`openai-agents`) as it is by default: it asks `/v1/responses`."""

import asyncio
from typing import Any

import openai
from agents import (  # type: ignore[import-not-found]  # only in its own environment
    Agent,
    Runner,
    function_tool,
    set_default_openai_client,
    set_tracing_disabled,
)
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome

set_tracing_disabled(True)


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def an_agent(model: str, **fields: Any) -> Agent:
    """A new client for each agent: a client belongs to the event loop that it was first used in."""
    set_default_openai_client(openai.AsyncOpenAI(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY, max_retries=0))
    return Agent("a", model=model, **fields)


def ask(agent: Agent, question: str = QUESTION) -> object:
    return Runner.run_sync(agent, question).final_output


def chat(model: str) -> Outcome:
    return outcomes.text_outcome(str(ask(an_agent(model, instructions="Be brief."))))


async def pieces(question: str, model: str, *, n_wanted: int | None = None) -> list[str]:
    """Reads a stream, and leaves it after `n_wanted` pieces of text."""
    run = Runner.run_streamed(an_agent(model), question)
    read: list[str] = []
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            read.append(event.data.delta)
        if len(read) == n_wanted:
            run.cancel()
            break
    return read


def stream(model: str) -> Outcome:
    parts = asyncio.run(pieces(QUESTION, model))
    return outcomes.text_outcome("".join(parts), len(parts))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: asyncio.run(pieces(outcomes.CUT, model)))


def leave(model: str) -> Outcome:
    return {"has_begun": asyncio.run(pieces(outcomes.WAIT, model, n_wanted=1)) != []}


def tools(model: str) -> Outcome:
    return outcomes.text_outcome(str(ask(an_agent(model, tools=[function_tool(outcomes.weather)]))))


def turns(model: str) -> Outcome:
    agent = an_agent(model, tools=[function_tool(outcomes.weather)])
    return outcomes.text_outcome(str(ask(agent, outcomes.COMPARE)))


def structured(model: str) -> Outcome:
    return outcomes.person_outcome(ask(an_agent(model, output_type=Person)))


def error(model: str) -> Outcome:
    try:
        chat(outcomes.MISSING_MODEL)
    except openai.NotFoundError as exc:
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "leave": leave, "tools": tools, "turns": turns}
    outcomes.run_with_models("openai-agents", {**calls, "structured": structured, "error": error})

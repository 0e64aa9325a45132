"""The OpenAI Agents SDK (`openai-agents`), with its model class for chat completions."""

import asyncio

import openai
from agents import (  # type: ignore[import-not-found]  # only in its own environment
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, QUESTION, Outcome

set_tracing_disabled(True)


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def model(name: str = CHAT_MODEL) -> OpenAIChatCompletionsModel:
    client = openai.AsyncOpenAI(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY, max_retries=0)
    return OpenAIChatCompletionsModel(name, openai_client=client)


def chat() -> Outcome:
    return outcomes.text_outcome(Runner.run_sync(Agent("a", model=model()), QUESTION).final_output)


async def pieces(question: str) -> list[str]:
    run = Runner.run_streamed(Agent("a", model=model()), question)
    events = [one.data async for one in run.stream_events() if one.type == "raw_response_event"]
    return [one.delta for one in events if one.type == "response.output_text.delta"]


def stream() -> Outcome:
    read = asyncio.run(pieces(QUESTION))
    return outcomes.text_outcome("".join(read), len(read))


def cut() -> Outcome:
    return outcomes.cut_outcome(lambda: asyncio.run(pieces(outcomes.CUT)))


def tools() -> Outcome:
    agent = Agent("a", model=model(), tools=[function_tool(outcomes.weather)])
    return outcomes.text_outcome(Runner.run_sync(agent, QUESTION).final_output)


def structured() -> Outcome:
    return outcomes.person_outcome(
        Runner.run_sync(Agent("a", model=model(), output_type=Person), QUESTION).final_output
    )


def error() -> Outcome:
    try:
        Runner.run_sync(Agent("a", model=model("no-such-model")), QUESTION)
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("openai-agents", {**calls, "error": error})

"""The `anthropic` package of Python."""

from collections.abc import Generator
from typing import Any

import anthropic
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome

CLIENT = anthropic.Anthropic(base_url=outcomes.ADDRESS, api_key=outcomes.API_KEY, max_retries=0)
MAX_TOKENS = 500
WEATHER: Any = {"name": "weather", "input_schema": outcomes.WEATHER_SCHEMA}


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def asking(question: str, model: str) -> Any:
    return {"model": model, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": question}]}


def chat(model: str) -> Outcome:
    (block,) = CLIENT.messages.create(**asking(QUESTION, model)).content
    return outcomes.text_outcome(block.text if block.type == "text" else None)


def pieces(question: str, model: str) -> Generator[str]:
    with CLIENT.messages.stream(**asking(question, model)) as arriving:
        yield from arriving.text_stream
        arriving.get_final_message()


def stream(model: str) -> Outcome:
    read = list(pieces(QUESTION, model))
    return outcomes.text_outcome("".join(read), len(read))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: list(pieces(outcomes.CUT, model)))


def leave(model: str) -> Outcome:
    return outcomes.left_outcome(pieces(outcomes.WAIT, model))


def converse(question: str, model: str) -> Outcome:
    """Asks, and answers calls until there are none."""
    request = asking(question, model)
    while True:
        answer = CLIENT.messages.create(**request, tools=[WEATHER])
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            return outcomes.text_outcome("".join(block.text for block in answer.content if block.type == "text"))
        results = [
            {"type": "tool_result", "tool_use_id": one.id, "content": outcomes.weather(**one.input)} for one in calls
        ]
        request["messages"] += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


def tools(model: str) -> Outcome:
    return converse(QUESTION, model)


def turns(model: str) -> Outcome:
    return converse(outcomes.COMPARE, model)


@anthropic.beta_tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return outcomes.weather(city)


def runner(model: str) -> Outcome:
    loop = CLIENT.beta.messages.tool_runner(**asking(outcomes.COMPARE, model), tools=[weather])
    return outcomes.text_outcome("".join(block.text for block in loop.until_done().content if block.type == "text"))


def structured(model: str) -> Outcome:
    answer = CLIENT.messages.parse(**asking(QUESTION, model), output_format=Person)
    return outcomes.person_outcome(answer.parsed_output)


def count(model: str) -> Outcome:
    ask = asking(QUESTION, model)
    counted = CLIENT.messages.count_tokens(model=model, messages=ask["messages"])
    return {"is_counted": counted.input_tokens > 0}


def error(model: str) -> Outcome:
    try:
        chat(outcomes.MISSING_MODEL)
    except anthropic.NotFoundError as exc:
        return outcomes.error_outcome(exc)
    return {}


def errors(model: str) -> Outcome:
    headers = {"x-bridge-max-cost": outcomes.TOO_LITTLE}
    attempts = {
        "invalid": lambda: CLIENT.messages.create(**{**asking(QUESTION, model), "max_tokens": -1}),
        "expensive": lambda: CLIENT.messages.create(**asking(QUESTION, model), extra_headers=headers),
        "limited": lambda: chat(outcomes.LIMITED_MODEL),
        "broken": lambda: chat(outcomes.BROKEN_MODEL),
    }
    return outcomes.error_kinds(attempts)


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "leave": leave, "tools": tools, "turns": turns}
    calls |= {"runner": runner, "structured": structured, "count": count, "error": error, "errors": errors}
    outcomes.run_with_models("anthropic", calls)

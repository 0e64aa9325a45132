"""The `openai` package of Python with `client.responses`."""

import json
from collections.abc import Generator
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import QUESTION, Outcome

CLIENT = openai.OpenAI(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY, max_retries=0)
WEATHER: Any = {"type": "function", "name": "weather", "parameters": outcomes.WEATHER_SCHEMA, "strict": False}


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def chat(model: str) -> Outcome:
    answer = CLIENT.responses.create(model=model, instructions="Be brief.", input=QUESTION, store=False)
    return outcomes.text_outcome(answer.output_text)


def pieces(question: str, model: str) -> Generator[str]:
    with CLIENT.responses.stream(model=model, input=question) as arriving:
        for event in arriving:
            if event.type == "response.output_text.delta":
                yield event.delta
        arriving.get_final_response()


def stream(model: str) -> Outcome:
    read = list(pieces(QUESTION, model))
    return outcomes.text_outcome("".join(read), len(read))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: list(pieces(outcomes.CUT, model)))


def leave(model: str) -> Outcome:
    return outcomes.left_outcome(pieces(outcomes.WAIT, model))


def converse(question: str, model: str) -> Outcome:
    """Asks, and answers calls until there are none. The whole output is sent back, as for a request that is not stored."""
    items: Any = [{"role": "user", "content": question}]
    while True:
        answer = CLIENT.responses.create(model=model, input=items, tools=[WEATHER], store=False)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return outcomes.text_outcome(answer.output_text)
        items += answer.output
        items += [
            {
                "type": "function_call_output",
                "call_id": one.call_id,
                "output": outcomes.weather(**json.loads(one.arguments)),
            }
            for one in calls
        ]


def tools(model: str) -> Outcome:
    return converse(QUESTION, model)


def turns(model: str) -> Outcome:
    return converse(outcomes.COMPARE, model)


def structured(model: str) -> Outcome:
    """Whole and streamed."""
    whole = CLIENT.responses.parse(model=model, input=QUESTION, text_format=Person).output_parsed
    with CLIENT.responses.stream(model=model, input=QUESTION, text_format=Person) as arriving:
        streamed = arriving.get_final_response().output_parsed
    return outcomes.person_outcome(whole) if whole == streamed else {"whole": str(whole), "streamed": str(streamed)}


def error(model: str) -> Outcome:
    try:
        chat(outcomes.MISSING_MODEL)
    except openai.NotFoundError as exc:
        return outcomes.error_outcome(exc)
    return {}


def errors(model: str) -> Outcome:
    ask: Any = {"model": model, "input": QUESTION}
    headers = {"x-bridge-max-cost": outcomes.TOO_LITTLE}
    attempts = {
        "invalid": lambda: CLIENT.responses.create(**ask, previous_response_id="resp_1"),
        "expensive": lambda: CLIENT.responses.create(**ask, extra_headers=headers),
        "limited": lambda: chat(outcomes.LIMITED_MODEL),
        "broken": lambda: chat(outcomes.BROKEN_MODEL),
    }
    return outcomes.error_kinds(attempts)


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "leave": leave, "tools": tools, "turns": turns}
    outcomes.run_with_models("openai", {**calls, "structured": structured, "error": error, "errors": errors})

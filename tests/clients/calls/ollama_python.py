"""The `ollama` package of Python."""

from collections.abc import Generator
from typing import Any

import ollama
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

CLIENT = ollama.Client(host=outcomes.ADDRESS, headers={"authorization": f"Bearer {outcomes.API_KEY}"})
CHEAP = ollama.Client(host=outcomes.ADDRESS, headers={"x-bridge-max-cost": outcomes.TOO_LITTLE})


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def asking(question: str, model: str) -> Any:
    return {"model": model, "messages": [{"role": "user", "content": question}]}


def chat(model: str) -> Outcome:
    return outcomes.text_outcome(CLIENT.chat(**asking(QUESTION, model)).message.content)


def pieces(question: str, model: str) -> Generator[str]:
    is_done = False
    for part in CLIENT.chat(**asking(question, model), stream=True):
        is_done = bool(part.done)
        if part.message.content:
            yield part.message.content
    if not is_done:
        raise EOFError("the stream ended without a part that is done")


def stream(model: str) -> Outcome:
    read = list(pieces(QUESTION, model))
    return outcomes.text_outcome("".join(read), len(read))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: list(pieces(outcomes.CUT, model)))


def leave(model: str) -> Outcome:
    return outcomes.left_outcome(pieces(outcomes.WAIT, model))


def converse(question: str, model: str) -> Outcome:
    """Asks, and answers calls until there are none."""
    messages: list[Any] = asking(question, model)["messages"]
    while True:
        answer = CLIENT.chat(model=model, messages=messages, tools=[outcomes.weather]).message
        if not answer.tool_calls:
            return outcomes.text_outcome(answer.content)
        messages.append(answer)
        for call in answer.tool_calls:
            result = outcomes.weather(**call.function.arguments)
            messages.append({"role": "tool", "tool_name": call.function.name, "content": result})


def tools(model: str) -> Outcome:
    return converse(QUESTION, model)


def turns(model: str) -> Outcome:
    return converse(outcomes.COMPARE, model)


def structured(model: str) -> Outcome:
    answer = CLIENT.chat(**asking(QUESTION, model), format=Person.model_json_schema()).message.content
    return outcomes.person_outcome(Person.model_validate_json(answer or ""))


def embeddings(model: str) -> Outcome:
    return outcomes.vectors_outcome([list(one) for one in CLIENT.embed(EMBEDDING_MODEL, TEXTS).embeddings])


def generate(model: str) -> Outcome:
    """Whole and streamed."""
    whole = CLIENT.generate(model, QUESTION, system="Be brief.").response
    streamed = "".join(part.response or "" for part in CLIENT.generate(model, QUESTION, stream=True))
    return {"whole": whole, "streamed": streamed}


def models(model: str) -> Outcome:
    """The list of models, which has tags as Ollama's, and what one of them can do."""
    listed = [one.model for one in CLIENT.list().models]
    shown = CLIENT.show(model)
    return {
        "is_listed": f"{model}:latest" in listed,
        "can": sorted(set(shown.capabilities or ()) & {"completion", "tools"}),
    }


def error(model: str) -> Outcome:
    try:
        chat(outcomes.MISSING_MODEL)
    except ollama.ResponseError as exc:
        return outcomes.error_outcome(exc)
    return {}


def errors(model: str) -> Outcome:
    ask = asking(QUESTION, model)
    attempts = {
        "invalid": lambda: CLIENT.chat(**ask, options={"temperature": -1}),
        "expensive": lambda: CHEAP.chat(**ask),
        "limited": lambda: chat(outcomes.LIMITED_MODEL),
        "broken": lambda: chat(outcomes.BROKEN_MODEL),
    }
    return outcomes.error_kinds(attempts)


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "leave": leave, "tools": tools, "turns": turns}
    calls |= {"structured": structured, "embeddings": embeddings, "generate": generate, "models": models}
    outcomes.run_with_models("ollama", {**calls, "error": error, "errors": errors})

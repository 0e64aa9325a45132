"""LiteLLM's client."""

import json
from typing import Any

import litellm  # type: ignore[import-not-found]  # only in the environment of the clients
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

COMMON: Any = {"api_base": outcomes.BASE_URL, "api_key": outcomes.API_KEY, "max_retries": 0}
ASK: Any = [{"role": "user", "content": QUESTION}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": outcomes.WEATHER_SCHEMA}}]


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def complete(model: str = CHAT_MODEL, messages: Any = ASK, **fields: Any) -> Any:
    return litellm.completion(model=f"openai/{model}", messages=messages, **COMMON, **fields)


def chat() -> Outcome:
    return outcomes.text_outcome(complete().choices[0].message.content)


def pieces(question: str) -> list[str]:
    chunks = complete(messages=[{"role": "user", "content": question}], stream=True)
    return [one.choices[0].delta.content for one in chunks if one.choices[0].delta.content]


def stream() -> Outcome:
    read = pieces(QUESTION)
    return outcomes.text_outcome("".join(read), len(read))


def cut() -> Outcome:
    return outcomes.cut_outcome(lambda: pieces(outcomes.CUT))


def tools() -> Outcome:
    first = complete(tools=TOOLS).choices[0].message
    (call,) = first.tool_calls
    result = outcomes.weather(**json.loads(call.function.arguments))
    messages = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": result}]
    return outcomes.text_outcome(complete(messages=messages, tools=TOOLS).choices[0].message.content)


def structured() -> Outcome:
    answer = complete(response_format=Person).choices[0].message.content
    return outcomes.person_outcome(Person.model_validate_json(answer))


def embeddings() -> Outcome:
    answer = litellm.embedding(model=f"openai/{EMBEDDING_MODEL}", input=TEXTS, **COMMON)
    return outcomes.vectors_outcome([row["embedding"] for row in answer.data])


def error() -> Outcome:
    try:
        complete("no-such-model")
    except litellm.NotFoundError as exc:
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("litellm", {**calls, "embeddings": embeddings, "error": error})

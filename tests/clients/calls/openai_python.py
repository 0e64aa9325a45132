"""The `openai` package of Python."""

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

CLIENT = openai.OpenAI(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY, max_retries=0)
ASK: Any = [{"role": "user", "content": QUESTION}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": outcomes.WEATHER_SCHEMA}}]


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def chat() -> Outcome:
    answer = CLIENT.chat.completions.create(model=CHAT_MODEL, messages=ASK)
    return outcomes.text_outcome(answer.choices[0].message.content)


def pieces(question: str) -> list[str]:
    messages: Any = [{"role": "user", "content": question}]
    chunks = CLIENT.chat.completions.create(model=CHAT_MODEL, messages=messages, stream=True)
    return [one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content]


def stream() -> Outcome:
    read = pieces(QUESTION)
    return outcomes.text_outcome("".join(read), len(read))


def cut() -> Outcome:
    return outcomes.cut_outcome(lambda: pieces(outcomes.CUT))


def tools() -> Outcome:
    first = CLIENT.chat.completions.create(model=CHAT_MODEL, messages=ASK, tools=TOOLS).choices[0].message
    call: Any = (first.tool_calls or [])[0]
    result = outcomes.weather(**json.loads(call.function.arguments))
    messages = [*ASK, first, {"role": "tool", "tool_call_id": call.id, "content": result}]
    answer = CLIENT.chat.completions.create(model=CHAT_MODEL, messages=messages, tools=TOOLS)
    return outcomes.text_outcome(answer.choices[0].message.content)


def structured() -> Outcome:
    answer = CLIENT.chat.completions.parse(model=CHAT_MODEL, messages=ASK, response_format=Person)
    return outcomes.person_outcome(answer.choices[0].message.parsed)


def embeddings() -> Outcome:
    answer = CLIENT.embeddings.create(model=EMBEDDING_MODEL, input=TEXTS)
    return outcomes.vectors_outcome([row.embedding for row in answer.data])


def error() -> Outcome:
    try:
        CLIENT.chat.completions.create(model="no-such-model", messages=ASK)
    except openai.NotFoundError as exc:
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("openai", {**calls, "embeddings": embeddings, "error": error})

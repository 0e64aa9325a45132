"""LangChain's package for Ollama's API, `langchain-ollama`."""

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import (  # type: ignore[import-not-found]  # only in its own environment
    ChatOllama,
    OllamaEmbeddings,
)
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

_AT: dict[str, Any] = {
    "base_url": outcomes.ADDRESS,
    "client_kwargs": {"headers": {"authorization": f"Bearer {outcomes.API_KEY}"}},
}


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def named(model: str) -> ChatOllama:
    return ChatOllama(model=model, **_AT)


def chat(model: str) -> Outcome:
    return outcomes.text_outcome(named(model).invoke(QUESTION).text)


def stream(model: str) -> Outcome:
    pieces = [one.text for one in named(model).stream(QUESTION) if one.text]
    return outcomes.text_outcome("".join(pieces), len(pieces))


def cut(model: str) -> Outcome:
    return outcomes.cut_outcome(lambda: list(named(model).stream(outcomes.CUT)))


def converse(question: str, model: str) -> Outcome:
    """Asks, and answers calls until there are none."""
    with_tools = named(model).bind_tools([tool(outcomes.weather)])
    messages: list[Any] = [HumanMessage(question)]
    while True:
        answer = with_tools.invoke(messages)
        if not answer.tool_calls:
            return outcomes.text_outcome(answer.text)
        results = ((outcomes.weather(**call["args"]), call) for call in answer.tool_calls)
        messages += [answer, *(ToolMessage(text, tool_call_id=call["id"], name=call["name"]) for text, call in results)]


def tools(model: str) -> Outcome:
    return converse(QUESTION, model)


def turns(model: str) -> Outcome:
    return converse(outcomes.COMPARE, model)


def structured(model: str) -> Outcome:
    return outcomes.person_outcome(named(model).with_structured_output(Person).invoke(QUESTION))


def embeddings(model: str) -> Outcome:
    return outcomes.vectors_outcome(OllamaEmbeddings(model=EMBEDDING_MODEL, **_AT).embed_documents(TEXTS))


def error(model: str) -> Outcome:
    try:
        chat(outcomes.MISSING_MODEL)
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "turns": turns, "structured": structured}
    outcomes.run_with_models("langchain-ollama", {**calls, "embeddings": embeddings, "error": error})

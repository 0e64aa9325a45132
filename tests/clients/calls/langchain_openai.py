"""LangChain's package for OpenAI's format, `langchain-openai`."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def model(name: str = CHAT_MODEL) -> ChatOpenAI:
    return ChatOpenAI(base_url=outcomes.BASE_URL, api_key=lambda: outcomes.API_KEY, model=name, max_retries=0)


def chat() -> Outcome:
    return outcomes.text_outcome(model().invoke(QUESTION).text)


def stream() -> Outcome:
    pieces = [one.text for one in model().stream(QUESTION) if one.text]
    return outcomes.text_outcome("".join(pieces), len(pieces))


def cut() -> Outcome:
    return outcomes.cut_outcome(lambda: list(model().stream(outcomes.CUT)))


def tools() -> Outcome:
    with_tools = model().bind_tools([tool(outcomes.weather)])
    question = HumanMessage(QUESTION)
    first = with_tools.invoke([question])
    results = [ToolMessage(outcomes.weather(**one["args"]), tool_call_id=one["id"]) for one in first.tool_calls]
    return outcomes.text_outcome(with_tools.invoke([question, first, *results]).text)


def structured() -> Outcome:
    return outcomes.person_outcome(model().with_structured_output(Person).invoke(QUESTION))


def embeddings() -> Outcome:
    embedder = OpenAIEmbeddings(
        openai_api_base=outcomes.BASE_URL,
        openai_api_key=lambda: outcomes.API_KEY,
        model=EMBEDDING_MODEL,
        check_embedding_ctx_length=False,  # send texts; else it sends the tokens of OpenAI's tokenizer
    )
    return outcomes.vectors_outcome(embedder.embed_documents(TEXTS))


def error() -> Outcome:
    try:
        model("no-such-model").invoke(QUESTION)
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("langchain-openai", {**calls, "embeddings": embeddings, "error": error})

"""pydantic-ai, with its model class for chat completions."""

from pydantic import BaseModel
from pydantic_ai import Agent, Embedder  # type: ignore[import-not-found]  # only in its own environment
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel  # type: ignore[import-not-found]  # as above
from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found]  # as above
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]  # as above

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

PROVIDER = OpenAIProvider(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY)


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def model(name: str = CHAT_MODEL) -> OpenAIChatModel:
    return OpenAIChatModel(name, provider=PROVIDER)


def chat() -> Outcome:
    return outcomes.text_outcome(Agent(model()).run_sync(QUESTION).output)


def pieces(question: str) -> list[str]:
    return list(Agent(model()).run_stream_sync(question).stream_text(delta=True, debounce_by=None))


def stream() -> Outcome:
    read = pieces(QUESTION)
    return outcomes.text_outcome("".join(read), len(read))


def cut() -> Outcome:
    return outcomes.cut_outcome(lambda: pieces(outcomes.CUT))


def tools() -> Outcome:
    return outcomes.text_outcome(Agent(model(), tools=[outcomes.weather]).run_sync(QUESTION).output)


def structured() -> Outcome:
    return outcomes.person_outcome(Agent(model(), output_type=Person).run_sync(QUESTION).output)


def embeddings() -> Outcome:
    embedder = Embedder(OpenAIEmbeddingModel(EMBEDDING_MODEL, provider=PROVIDER))
    return outcomes.vectors_outcome([list(one) for one in embedder.embed_documents_sync(TEXTS).embeddings])


def error() -> Outcome:
    try:
        Agent(model("no-such-model")).run_sync(QUESTION)
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("pydantic-ai-slim", {**calls, "embeddings": embeddings, "error": error})

"""LangChain's package for Ollama's API, `langchain-ollama`."""

from typing import Any

from langchain_ollama import (  # type: ignore[import-not-found]  # only in its own environment
    ChatOllama,
    OllamaEmbeddings,
)

from tests.clients.calls import outcomes
from tests.clients.calls.langchain_models import Calls
from tests.clients.calls.outcomes import EMBEDDING_MODEL, TEXTS, Outcome

_AT: dict[str, Any] = {
    "base_url": outcomes.ADDRESS,
    "client_kwargs": {"headers": {"authorization": f"Bearer {outcomes.API_KEY}"}},
}


def embeddings(model: str) -> Outcome:
    return outcomes.vectors_outcome(OllamaEmbeddings(model=EMBEDDING_MODEL, **_AT).embed_documents(TEXTS))


if __name__ == "__main__":
    Calls("langchain-ollama", lambda model: ChatOllama(model=model, **_AT)).run(embeddings=embeddings)

"""Providers of three formats behind Ollama's API."""

from collections.abc import Iterator

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider
from tests.unit.api.ollama.function import function


@pytest.fixture
def claude() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from Claude.") as fake:
        yield fake


@pytest.fixture
def ollama(fake: FakeProvider, second: FakeProvider, claude: FakeProvider) -> Function:
    """One provider of each format; each has its own model."""
    return function(
        provider("openai", chat_model("gpt", supports_vision=True), embedding_model("mini"), base_url=f"{fake.url}/v1"),
        provider("anthropic", chat_model("claude-opus-4-6"), provider_type="anthropic", base_url=claude.url),
        provider(
            "local",
            chat_model("llama3.1:8b", price=None, supports_vision=True, context_window=32_768),
            embedding_model("nomic"),
            provider_type="ollama",
            base_url=second.url,
            priority=60,
        ),
        default_models={"chat_fast": "llama3.1:8b"},
        aliases={"house": ["llama3.1:8b", "gpt"]},
    )

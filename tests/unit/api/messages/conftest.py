"""Providers of three formats behind the Messages API."""

from collections.abc import Iterator

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import function


@pytest.fixture
def claude() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from Claude.") as fake:
        yield fake


@pytest.fixture
def messages(fake: FakeProvider, second: FakeProvider, claude: FakeProvider) -> Function:
    """One provider of each format; each has its own model."""
    return function(
        provider(
            "anthropic", chat_model("claude-opus-4-6"), provider_type="anthropic", base_url=claude.url, priority=1
        ),
        provider("openai", chat_model("gpt", supports_vision=True), base_url=f"{fake.url}/v1", priority=2),
        provider(
            "local",
            chat_model("llama", price=None, supports_vision=True),
            provider_type="ollama",
            base_url=second.url,
            priority=3,
        ),
    )

"""What the tests of the endpoints share."""

from collections.abc import Iterator

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider
from tests.unit.api.chat_function import function


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


@pytest.fixture
def chat(fake: FakeProvider, second: FakeProvider) -> Function:
    """A paid provider first, a local one second."""
    return function(
        provider("first", chat_model("gpt"), embedding_model("e"), base_url=f"{fake.url}/v1", priority=1),
        provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=second.url, priority=2),
        default_models={"chat_fast": "llama"},
    )

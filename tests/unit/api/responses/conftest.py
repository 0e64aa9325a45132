"""What the tests of the Responses API share."""

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.responses_function import function


@pytest.fixture
def responses(fake: FakeProvider) -> Function:
    """One provider of OpenAI's chat completions."""
    return function(
        provider("first", chat_model("gpt", supports_vision=True, supports_audio=True), base_url=f"{fake.url}/v1")
    )

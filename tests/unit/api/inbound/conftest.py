"""What the tests of all inbound APIs share."""

from collections.abc import Iterator

import pytest

from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.inbound.apis import APIS, Ask, Client, InboundApi


@pytest.fixture(params=APIS, ids=lambda api: api.name)
def api(request: pytest.FixtureRequest) -> InboundApi:
    """Each inbound API."""
    found: InboundApi = request.param
    return found


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """A request for a whole answer, and one for a stream."""
    return Ask(stream=request.param)


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


@pytest.fixture
def client(api: InboundApi, fake: FakeProvider, second: FakeProvider) -> Client:
    """A paid provider first, a local one second."""
    return api.over(
        provider("first", chat_model("gpt"), base_url=f"{fake.url}/v1", priority=1),
        provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=second.url, priority=2),
        default_models={"chat_fast": "llama"},
        aliases={"best": ["gpt"], "claude-sonnet-4-5": ["gpt", "llama"]},
    )

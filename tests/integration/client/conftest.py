"""A whole bridge with two scriptable providers and a Chroma server, for the client and for the commands on top of it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.clients.both_clients import CLIENTS, Client
from tests.fakes.chroma import chroma_server
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="package")
def primary() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the first.") as fake:
        yield fake


@pytest.fixture(scope="package")
def backup() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


@pytest.fixture(scope="package")
def stack(
    tmp_path_factory: pytest.TempPathFactory, primary: FakeProvider, backup: FakeProvider
) -> Iterator[RunningStack]:
    """A paid provider first, with vision and embeddings, and a free one second; the last has a model that may cool down."""
    smart = chat_model("gpt-4o", task="chat_smart", supports_vision=True, price=(10, 20))
    paid = provider("paid", chat_model("gpt"), smart, embedding_model("mini"), base_url=f"{primary.url}/v1", priority=1)
    free = provider("local", chat_model("llama3.1:8b", price=None), provider_type="ollama", base_url=backup.url)
    last = provider("last", chat_model("busy"), base_url=f"{primary.url}/v1", priority=100)
    config = {
        "providers": [paid, free, last],
        "default_models": {"embedding": "mini", "chat_fast": "gpt"},
        "chroma": {"url": "${CHROMA_URL}"},
        "routing": {"circuit_breaker": {"failure_threshold": 1000}},
    }
    file = tmp_path_factory.mktemp("config") / "providers.yaml"
    file.write_text(yaml.safe_dump(config))
    with (
        chroma_server(tmp_path_factory.mktemp("chroma")) as chroma_url,
        running_stack(config=file, on_demand=True, env={"CHROMA_URL": chroma_url}) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def _no_script_of_another_test(primary: FakeProvider, backup: FakeProvider) -> Iterator[None]:
    yield
    for fake in (primary, backup):
        fake.reset()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, stack: RunningStack) -> Iterator[Client]:
    """Each client, connected to the stack."""
    with ExitStack() as closing:
        made = CLIENTS[request.param](f"{stack.base_url}/v1", trust_env=False)
        closing.callback(made.close)
        yield made

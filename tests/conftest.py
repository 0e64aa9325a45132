"""What every test may use, and what no test may touch."""

from collections.abc import Iterator
from io import StringIO

import hypothesis
import pytest

from sekha_llm_bridge.observability import logger
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider

# A busy machine is no reason for a property to fail: nothing here is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_OURS = (
    "LLM_CONFIG_PATH",
    "CHROMA_URL",
    "CHROMA_TOKEN",
    "STATE_TABLE",
    "KEYS_TABLE",
    "ANSWERS_TABLE",
    "AUTH_MODE",
    "OPENAI_API_KEY",
    "OLLAMA_URL",
)
_V1 = ("OLLAMA_BASE_URL", "EMBEDDING_MODEL", "CHAT_MODEL")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Removes the bridge's variables and any AWS account from the environment of the tests."""
    for name in (*_OURS, *_V1):
        monkeypatch.delenv(name, raising=False)
    # A stack that runs on this machine is none of the tests'; those that tests start are in a folder of their own.
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(tmp_path_factory.getbasetemp() / "stacks"))
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only moves when a test advances it."""
    return FakeClock()


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    """A provider on loopback."""
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Collects everything that the bridge logs during the test."""
    written = StringIO()
    handler = logger().registered_handler
    before = handler.stream  # type: ignore[attr-defined]  # Powertools' handler writes to a stream
    handler.stream = written  # type: ignore[attr-defined]  # as above
    yield written
    handler.stream = before  # type: ignore[attr-defined]  # as above

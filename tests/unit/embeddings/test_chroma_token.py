"""How the token of a Chroma server is sent, and read again after the server has rejected it."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

from sekha_llm_bridge.config import load_settings, refresh_chroma
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.chroma_token import ChromaToken
from sekha_llm_bridge.embeddings.store import StoreDown
from sekha_llm_bridge.errors import ConfigError
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider, Reply
from tests.unit.config.memory_secrets import MemorySecrets

PATH = "/api/v2/tenants/default_tenant/databases/default_database/collections/notes"
MISSING = Reply(404, {"error": "NotFoundError", "message": "no such collection"})
FILE = """
providers: [{id: a, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 10}]}]
chroma: {url: "http://localhost:8000", auth_token: "${ssm:/sekha/chroma}"}
"""


def server_of(
    fake: FakeProvider, clock: FakeClock, fetch: Callable[[], SecretStr | None] | None, token: str | None = "old"
) -> ChromaServer:
    held = ChromaToken(SecretStr(token) if token else None, fetch, clock)
    return ChromaServer(ChromaConfig(url=fake.url), token=held, clock=clock)


def tokens(fake: FakeProvider) -> list[str | None]:
    """The token of each request, which is the same in both headers."""
    sent = []
    for request in fake.received:
        token = request.headers.get("x-chroma-token")
        assert request.headers.get("authorization") == (token and f"Bearer {token}")
        sent.append(token)
    return sent


def test_the_token_is_sent_in_both_headers_that_chroma_accepts(fake: FakeProvider, clock: FakeClock) -> None:
    fake.always(PATH, MISSING)
    assert server_of(fake, clock, None).find("notes") is None
    assert server_of(fake, clock, None, token=None).find("notes") is None
    assert tokens(fake) == ["old", None]


def test_a_token_can_be_replaced_while_another_thread_fetches_it(clock: FakeClock) -> None:
    finished = []

    def fetch() -> SecretStr:
        replacing = Thread(target=lambda: token.replace(SecretStr("newest")), daemon=True)
        replacing.start()
        replacing.join(2)
        finished.append(not replacing.is_alive())
        return SecretStr("new")

    token = ChromaToken(SecretStr("old"), fetch, clock)
    assert token.has_other_than(SecretStr("old"))
    assert finished == [True], "the event loop replaces it, and must not wait for a store"


@pytest.mark.parametrize("status", [401, 403])
def test_a_rotated_token_is_fetched_and_the_request_sent_again(
    fake: FakeProvider, clock: FakeClock, status: int
) -> None:
    fake.script(PATH, Reply(status, raw=b"no"), MISSING, MISSING)
    server = server_of(fake, clock, lambda: SecretStr("new"))
    assert server.find("notes") is None
    assert server.find("notes") is None
    assert tokens(fake) == ["old", "new", "new"]


def test_a_request_with_a_body_is_sent_again_completely(fake: FakeProvider, clock: FakeClock) -> None:
    path = PATH.removesuffix("/notes")
    fake.script(path, Reply(401, raw=b"no"), Reply(500, raw=b""))
    server = server_of(fake, clock, lambda: SecretStr("new"))
    with pytest.raises(StoreDown, match="status 500"):
        server.find_or_create("notes", metadata=None, configuration={})
    first, second = fake.received
    assert first.body == second.body
    assert first.body["name"] == "notes"


def test_an_unchanged_token_is_fetched_at_most_once_a_minute_and_not_sent_again(
    fake: FakeProvider, clock: FakeClock
) -> None:
    fake.always(PATH, Reply(401, raw=b"no"))
    fetched: list[float] = []

    def fetch() -> SecretStr:
        fetched.append(clock.monotonic_s())
        return SecretStr("old")

    server = server_of(fake, clock, fetch)
    for wait_s in (0, 30, 31):
        clock.advance(wait_s)
        with pytest.raises(StoreDown, match="status 401"):
            server.find("notes")
    assert len(fetched) == 2
    assert tokens(fake) == ["old"] * 3


def test_a_secret_store_that_fails_leaves_the_servers_answer(
    fake: FakeProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch() -> SecretStr:
        raise ConfigError(["hunter2"])

    fake.always(PATH, Reply(401, raw=b"no"))
    with pytest.raises(StoreDown, match="status 401"):
        server_of(fake, clock, fetch).find("notes")
    assert "hunter2" not in caplog.text


def test_the_token_of_the_configuration_is_read_again_without_caches(tmp_path: Path) -> None:
    (tmp_path / "llm.yaml").write_text(FILE)
    values = {"/sekha/chroma": "old"}
    secrets = MemorySecrets(values)
    settings = load_settings(tmp_path / "llm.yaml", environ={}, secrets=secrets)
    values["/sekha/chroma"] = "new"
    assert refresh_chroma(settings, environ={}, secrets=secrets).auth_token == SecretStr("new")
    assert secrets.requests[-1] == ("/sekha/chroma", True)
    del values["/sekha/chroma"]
    with pytest.raises(ConfigError, match=r"chroma\.auth_token"):
        refresh_chroma(settings, environ={}, secrets=secrets)


def test_the_token_of_the_environment_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "llm.yaml").write_text(FILE.partition("chroma:")[0])
    environ = {"CHROMA_URL": "http://localhost:8000", "CHROMA_TOKEN": "old"}
    settings = load_settings(tmp_path / "llm.yaml", environ=environ)
    fresh = refresh_chroma(settings, environ={**environ, "CHROMA_TOKEN": "new"})
    assert (settings.chroma.auth_token, fresh.auth_token) == (SecretStr("old"), SecretStr("new"))

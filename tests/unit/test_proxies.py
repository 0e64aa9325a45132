"""Which proxies of the environment are refused."""

from pathlib import Path

import pytest

from sekha_llm_bridge.bootstrap.live import live_bridge
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.proxies import proxy_fault

URLS = ("https://user:pw@provider.example.com/v1", "http://localhost:11434")


@pytest.fixture(autouse=True)
def _without_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    "address", ["socks5://h:1080", "socks5h://h:1080", "socks://h:1080", "ftp://h:21", "http://h:port", "http://"]
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_named_with_what_can(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    monkeypatch.setenv(variable, address)
    supported = "http://, https://"
    assert proxy_fault(URLS) == (
        f"{variable} in the environment is {address}, which cannot be used:"
        f" give host and port of a proxy after {supported}"
    )


@pytest.mark.parametrize("address", ["h:3128", "http://u:p@h", "https://h"])
def test_a_proxy_for_http_is_accepted(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    assert proxy_fault(URLS) is None


@pytest.mark.parametrize(
    ("urls", "environment"),
    [
        (URLS[1:], {"ALL_PROXY": "socks://h"}),
        (URLS, {"ALL_PROXY": "socks://h", "NO_PROXY": "example.com"}),
        (URLS, {"ALL_PROXY": "socks://h", "HTTPS_PROXY": "http://h:3128"}),
    ],
)
def test_a_proxy_that_is_not_used_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, urls: tuple[str, ...], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_fault(urls) is None


def test_the_password_of_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hunter2@h:1080")
    assert "socks5://***@h:1080," in str(proxy_fault(URLS))


def test_the_bridge_does_not_start_with_a_proxy_that_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "llm.yaml"
    models = "models: [{model_id: m, task: chat_small, context_window: 10}]"
    path.write_text(f"providers: [{{id: a, provider_type: openai, api_key: k, {models}}}]")
    monkeypatch.setenv("LLM_CONFIG_PATH", str(path))
    monkeypatch.setenv("ALL_PROXY", "socks5://h:1080")
    live = live_bridge.__wrapped__()
    assert isinstance(live.current, ConfigError)
    assert "ALL_PROXY" in str(live.current)

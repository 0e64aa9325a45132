"""The provider directory creates one adapter per provider and fetches secrets again after a rejected key."""

import asyncio
from collections.abc import Callable

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, provider


def config(key: str) -> ProviderConfig:
    return ProviderConfig.model_validate(provider("p", chat_model(), api_key=key, base_url="http://127.0.0.1:9/v1"))


def directory(reload: Callable[[str], ProviderConfig], clock: Clock | None = None) -> ProviderDirectory:
    clock = clock or SystemClock()
    return ProviderDirectory([config("old")], JsonHttp(clock), clock, reload)


def test_an_adapter_is_created_once() -> None:
    made = directory(lambda _: config("old"))
    assert made.get("p") is made.get("p")


def test_refresh_returns_false_for_an_unchanged_secret() -> None:
    made = directory(lambda _: config("old"))
    before = made.get("p")
    assert asyncio.run(made.refresh("p", timeout_s=5)) is False
    assert made.get("p") is before


def test_a_changed_secret_creates_a_new_adapter() -> None:
    made = directory(lambda _: config("new"))
    before = made.get("p")
    assert asyncio.run(made.refresh("p", timeout_s=5)) is True
    assert made.get("p") is not before


def test_secrets_are_fetched_at_most_once_a_minute(clock: FakeClock) -> None:
    fetched: list[str] = []

    def reload(provider_id: str) -> ProviderConfig:
        fetched.append(provider_id)
        return config("old")

    made = directory(reload, clock)
    for seconds in (0, 30, 29, 1):
        clock.advance(seconds)
        asyncio.run(made.refresh("p", timeout_s=5))
    assert len(fetched) == 2


def test_refresh_returns_false_when_the_secret_cannot_be_read() -> None:
    def reload(_: str) -> ProviderConfig:
        raise ConfigError(["gone"])

    assert asyncio.run(directory(reload).refresh("p", timeout_s=5)) is False

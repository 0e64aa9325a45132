"""The directory: one adapter for each provider, and fresh secrets when a key is rejected."""

import asyncio
from collections.abc import Callable

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.settings import chat_model, provider


def config(key: str) -> ProviderConfig:
    return ProviderConfig.model_validate(provider("p", chat_model(), api_key=key, base_url="http://127.0.0.1:9/v1"))


def directory(reload: Callable[[str], ProviderConfig]) -> ProviderDirectory:
    clock = SystemClock()
    return ProviderDirectory([config("old")], JsonHttp(clock), clock, reload)


def test_a_provider_is_made_once() -> None:
    made = directory(lambda _: config("old"))
    assert made.get("p") is made.get("p")


def test_an_unchanged_secret_says_that_another_try_is_useless() -> None:
    made = directory(lambda _: config("old"))
    before = made.get("p")
    assert asyncio.run(made.refresh("p")) is False
    assert made.get("p") is before


def test_a_changed_secret_makes_the_provider_anew() -> None:
    made = directory(lambda _: config("new"))
    before = made.get("p")
    assert asyncio.run(made.refresh("p")) is True
    assert made.get("p") is not before

"""The configured providers, by id, each made at its first use."""

import asyncio
from collections.abc import Callable, Iterable

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.observability import code_location, logger
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.registry import make_provider

_REFRESH_EVERY_S = 60.0

Reload = Callable[[str], ProviderConfig]
"""Reads one provider's configuration anew, its secrets fetched fresh. Blocks."""


class ProviderDirectory:
    """Hands out providers; one connection pool serves all of them."""

    def __init__(self, configs: Iterable[ProviderConfig], http: JsonHttp, clock: Clock, reload: Reload) -> None:
        self._configs = {config.id: config for config in configs}
        self._http = http
        self._clock = clock
        self._reload = reload
        self._made: dict[str, Provider] = {}
        self._refreshed_at_s: dict[str, float] = {}

    def get(self, provider_id: str) -> Provider:
        """The provider with that id."""
        if provider_id not in self._made:
            self._made[provider_id] = make_provider(self._configs[provider_id], self._http, self._clock)
        return self._made[provider_id]

    async def refresh(self, provider_id: str, *, timeout_s: float) -> bool:
        """Fetches the provider's secrets again; True when they have changed, so that another try makes sense.

        At most once a minute for each provider: a key that stays wrong must not cost every request a fetch.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._refreshed_at_s.get(provider_id, now_s - _REFRESH_EVERY_S) < _REFRESH_EVERY_S:
            return False
        self._refreshed_at_s[provider_id] = now_s
        try:
            async with asyncio.timeout(timeout_s):
                fresh = await asyncio.to_thread(self._reload, provider_id)
        except Exception as exc:  # noqa: BLE001 — whatever the store raises, the next provider may still answer
            logger().warning(
                "secrets cannot be fetched again", extra={"provider": provider_id, "code_location": code_location(exc)}
            )
            return False
        if fresh == self._configs[provider_id]:
            return False
        self._configs[provider_id] = fresh
        self._made.pop(provider_id, None)
        return True

"""Holds the adapters of the configured providers by id."""

import asyncio
import math
from collections.abc import Callable, Iterable

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.observability import code_location, logger
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.failures import caller_text
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.registry import make_provider
from sekha_llm_bridge.providers.secret_mask import SecretMask, secrets_of

_UNCHANGED_FOR_S = 60.0  # after a fetch that has brought nothing new: a wrong key must not cost every request a fetch
_RETRY_AFTER_S = 3.0  # after a fetch that has failed

Reload = Callable[[str], ProviderConfig]
"""Reads the configuration of one provider again, with its secrets. Blocks."""


class ProviderDirectory:
    """Creates each provider's adapter at its first use. All adapters share one connection pool."""

    def __init__(
        self,
        configs: Iterable[ProviderConfig],
        http: JsonHttp,
        clock: Clock,
        reload: Reload,
        *,
        other_secrets: Iterable[str] = (),
    ) -> None:
        self._configs = {config.id: config for config in configs}
        self._other_secrets = tuple(other_secrets)
        self._mask: SecretMask | None = None
        self._http = http
        self._clock = clock
        self._reload = reload
        self._providers: dict[str, Provider] = {}
        self._no_fetch_until_s: dict[str, float] = {}
        self._fetches: dict[str, asyncio.Future[None]] = {}

    def get(self, provider_id: str) -> Provider:
        """Returns the provider with that id."""
        if provider_id not in self._providers:
            self._providers[provider_id] = make_provider(self._configs[provider_id], self._http, self._clock)
        return self._providers[provider_id]

    def config(self, provider_id: str) -> ProviderConfig:
        """Returns the configuration that is in use; another object after a secret was replaced."""
        return self._configs[provider_id]

    def mask(self, text: str) -> str:
        """Returns a provider's text as a caller may read it: without any configured secret. See `caller_text`."""
        if self._mask is None:
            of_providers = (secret for config in self._configs.values() for secret in secrets_of(config))
            self._mask = SecretMask([*of_providers, *self._other_secrets])
        return caller_text(text, self._mask)

    def replace(self, configs: Iterable[ProviderConfig], *, other_secrets: Iterable[str] = ()) -> None:
        """Takes over configurations that were read again. A call under way keeps the adapter that it has."""
        self._other_secrets += tuple(other_secrets)
        self._mask = None
        for config in configs:
            if config != self._configs.get(config.id):
                self._put(config)

    async def refresh(self, provider_id: str, *, timeout_s: float, used: ProviderConfig | None = None) -> bool:
        """Fetches the provider's secrets again. Returns whether they are others than those of `used`, whose key was
        rejected, so that a retry makes sense.

        Requests that are rejected at the same time wait for one fetch. After a fetch that has brought nothing new, none
        is made for a minute.
        """
        before = used or self._configs[provider_id]
        if self._configs[provider_id] is not before:
            return True
        if self._clock.monotonic_s() < self._no_fetch_until_s.get(provider_id, -math.inf):
            return False
        fetch = self._fetches.get(provider_id)
        if fetch is None or fetch.done() or fetch.get_loop() is not asyncio.get_running_loop():
            fetch = self._fetches[provider_id] = asyncio.ensure_future(self._fetch(provider_id))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(fetch)
        except TimeoutError:
            logger().warning("secrets are not fetched again in time", extra={"provider": provider_id})
        return self._configs[provider_id] is not before

    async def _fetch(self, provider_id: str) -> None:
        """Fetches the secrets, takes over what has changed, and decides when they may be fetched again."""
        wait_s = _UNCHANGED_FOR_S
        try:
            config = await asyncio.to_thread(self._reload, provider_id)
            if config != self._configs[provider_id]:
                self._put(config)
                wait_s = 0.0
        except Exception as exc:  # noqa: BLE001 — a secret store may raise anything; the next provider may still answer
            logger().warning(
                "secrets cannot be fetched again", extra={"provider": provider_id, "code_location": code_location(exc)}
            )
            wait_s = _RETRY_AFTER_S
        self._no_fetch_until_s[provider_id] = self._clock.monotonic_s() + wait_s

    def _put(self, config: ProviderConfig) -> None:
        """Replaces a configuration. What was a secret is still one, and is masked."""
        if (old := self._configs.get(config.id)) is not None:
            self._other_secrets += tuple(secrets_of(old))
        self._configs[config.id], self._mask = config, None
        self._providers.pop(config.id, None)

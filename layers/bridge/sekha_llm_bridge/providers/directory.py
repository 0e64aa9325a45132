"""Holds the adapters of the configured providers by id."""

import asyncio
from collections.abc import Callable, Iterable

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.observability import code_location, logger
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.failures import caller_text
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.registry import make_provider
from sekha_llm_bridge.providers.secret_mask import SecretMask, secrets_of

_MIN_REFRESH_INTERVAL_S = 60.0

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
        self._refreshed_at_s: dict[str, float] = {}

    def get(self, provider_id: str) -> Provider:
        """Returns the provider with that id."""
        if provider_id not in self._providers:
            self._providers[provider_id] = make_provider(self._configs[provider_id], self._http, self._clock)
        return self._providers[provider_id]

    def mask(self, text: str) -> str:
        """Returns a provider's text as a caller may read it: without any configured secret. See `caller_text`."""
        if self._mask is None:
            of_providers = (secret for config in self._configs.values() for secret in secrets_of(config))
            self._mask = SecretMask([*of_providers, *self._other_secrets])
        return caller_text(text, self._mask)

    async def refresh(self, provider_id: str, *, timeout_s: float) -> bool:
        """Fetches the provider's secrets again. Returns whether they have changed, so that a retry makes sense.

        Fetches at most once per minute and provider; otherwise a wrong key would cost every request a fetch.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._refreshed_at_s.get(provider_id, now_s - _MIN_REFRESH_INTERVAL_S) < _MIN_REFRESH_INTERVAL_S:
            return False
        self._refreshed_at_s[provider_id] = now_s
        try:
            async with asyncio.timeout(timeout_s):
                config = await asyncio.to_thread(self._reload, provider_id)
        except Exception as exc:  # noqa: BLE001 — a secret store may raise anything; the next provider may still answer
            logger().warning(
                "secrets cannot be fetched again", extra={"provider": provider_id, "code_location": code_location(exc)}
            )
            return False
        if config == self._configs[provider_id]:
            return False
        self._other_secrets += tuple(secrets_of(self._configs[provider_id]))  # the old key is still a secret
        self._configs[provider_id], self._mask = config, None
        self._providers.pop(provider_id, None)
        return True

"""One call of one provider within its time: every exception becomes a `ProviderError`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.observability import code_location, logger
from sekha_llm_bridge.providers import ProviderDirectory

T = TypeVar("T")


async def call_within(
    call: Callable[[], Awaitable[T]], *, provider_id: str, timeout_s: float, timeout_message: str
) -> T:
    """Returns what a provider's adapter returns within `timeout_s`; cancelling the call closes its connection.

    Raises `ProviderError`: that of the adapter; TIMEOUT with `timeout_message`; ADAPTER_FAULT for any other exception,
    because a mistake in one adapter must not keep the next provider from answering.
    """
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            return await call()
    except ProviderError:
        raise
    except Exception as exc:
        if timeout.expired():
            raise ProviderError(FailureKind.TIMEOUT, timeout_message) from exc
        extra = {"provider": provider_id, "code_location": code_location(exc)}
        logger().error("unexpected error in an adapter", extra=extra)
        message = "the bridge could not work with this provider; its log says where"
        raise ProviderError(FailureKind.ADAPTER_FAULT, message) from exc


async def has_new_credentials(
    error: ProviderError, providers: ProviderDirectory, provider_id: str, *, used: ProviderConfig, timeout_s: float
) -> bool:
    """Returns whether a retry makes sense because the provider rejected the key of `used`, which has been replaced
    since.

    Fetches the provider's secrets again for that, within `timeout_s`.
    """
    is_rejected = error.kind is FailureKind.CREDENTIALS_REJECTED
    return is_rejected and await providers.refresh(provider_id, timeout_s=timeout_s, used=used)

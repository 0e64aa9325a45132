"""Asks providers for the exact number of a prompt's tokens, where a plan depends on it."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.execution.provider_call import call_within
from sekha_llm_bridge.providers import ChatCall, ProviderDirectory
from sekha_llm_bridge.routing import CatalogModel

_MAX_S = 1.0
_MAX_SHARE = 0.2  # of the time that is left
_PAUSE = timedelta(seconds=60)  # after a count that failed
_OF_ONE_REQUEST = frozenset(
    {
        *(FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE),
        *(FailureKind.CONTEXT_LENGTH_EXCEEDED, FailureKind.CONTENT_REFUSED),
    }
)
"""Failures that say nothing about the next request's count."""


class TokenCounts:
    """Counts by the providers' free requests. A provider whose count has failed is not asked again for a minute by this
    instance, unless the failure is of that request only. A failure has no other consequence. Which models cannot be
    counted at all, the adapters remember.

    The minute ends by the wall clock, because the monotonic clock may stop while Lambda freezes the environment.
    """

    def __init__(self, providers: ProviderDirectory, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._paused_until: dict[str, datetime] = {}  # by provider id

    async def count(
        self, entries: Iterable[CatalogModel], conversation: Conversation, *, remaining_s: float
    ) -> Mapping[tuple[str, str], int]:
        """Returns the prompt's tokens by (provider id, model id), for the models whose providers have counted them
        within a second, and within a fifth of `remaining_s`.
        """
        timeout_s = min(_MAX_S, remaining_s * _MAX_SHARE)
        asked = [entry for entry in entries if not self._is_paused(entry)]
        counts = await asyncio.gather(*(self._count(entry, conversation, timeout_s) for entry in asked))
        return {entry.key: count for entry, count in zip(asked, counts, strict=True) if count is not None}

    def _is_paused(self, entry: CatalogModel) -> bool:
        until = self._paused_until.get(entry.provider.id)
        return until is not None and self._clock.now() < until

    async def count_as_sent(self, entry: CatalogModel, conversation: Conversation, *, remaining_s: float) -> int | None:
        """Returns the prompt's tokens in the form in which it is sent first; None where the provider does not say."""
        if self._is_paused(entry):
            return None
        timeout_s = min(_MAX_S, remaining_s * _MAX_SHARE)
        return await self._count(entry, conversation, timeout_s, counts_first_form=True)

    async def _count(
        self, entry: CatalogModel, conversation: Conversation, timeout_s: float, *, counts_first_form: bool = False
    ) -> int | None:
        model, provider_id = entry.model, entry.provider.id
        call = ChatCall(
            model.model_id,
            conversation,
            None,
            model.context_window,
            max_output_tokens=model.max_output_tokens,
            counts_first_form=counts_first_form,
        )
        try:
            return await call_within(
                lambda: self._providers.get(provider_id).count_tokens(call, timeout_s=timeout_s),
                provider_id=provider_id,
                timeout_s=timeout_s,
                timeout_message="the provider did not count in time",
            )
        except ProviderError as exc:
            is_cut_by_deadline = exc.kind is FailureKind.TIMEOUT and timeout_s < _MAX_S
            if exc.kind not in _OF_ONE_REQUEST and not is_cut_by_deadline:
                self._paused_until[provider_id] = self._clock.now() + _PAUSE
            return None

"""Asks providers for the exact number of a prompt's tokens, where a plan depends on it."""

import asyncio
from collections.abc import Iterable, Mapping

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.execution.provider_call import call_within
from sekha_llm_bridge.providers import ChatCall, ProviderDirectory
from sekha_llm_bridge.routing import CatalogModel

_MAX_S = 1.0
_MAX_SHARE = 0.2  # of the time that is left
_NOT_AGAIN_S = 60.0  # after a count that failed
# Anthropic's documentation: a count is an estimate, and the billed number may differ by a small amount.
_MARGIN_TOKENS = 32
_MARGIN_SHARE = 0.02
# These say something about this one request: other requests can be counted.
_OF_REQUEST = frozenset(
    {
        *(FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE, FailureKind.CONTENT_REFUSED),
        FailureKind.CONTEXT_LENGTH_EXCEEDED,
    }
)


class TokenCounts:
    """Counts by the providers' free requests. A provider whose count has failed, for another reason than the request
    itself, is not asked again for a minute by this instance. A failure has no other consequence.
    """

    def __init__(self, providers: ProviderDirectory, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._failed_at_s: dict[str, float] = {}

    async def count(
        self, entries: Iterable[CatalogModel], conversation: Conversation, *, remaining_s: float
    ) -> Mapping[tuple[str, str], int]:
        """Returns upper bounds of the prompt's tokens by (provider id, model id), for the models whose providers have
        counted within a second, and within a fifth of `remaining_s`.
        """
        timeout_s = min(_MAX_S, remaining_s * _MAX_SHARE)
        asked = [entry for entry in entries if self._may_ask(entry.provider.id)]
        counts = await asyncio.gather(*(self._count(entry, conversation, timeout_s) for entry in asked))
        return {entry.key: count for entry, count in zip(asked, counts, strict=True) if count is not None}

    def _may_ask(self, provider_id: str) -> bool:
        failed_at_s = self._failed_at_s.get(provider_id)
        return failed_at_s is None or self._clock.monotonic_s() - failed_at_s >= _NOT_AGAIN_S

    async def _count(self, entry: CatalogModel, conversation: Conversation, timeout_s: float) -> int | None:
        model, provider_id = entry.model, entry.provider.id
        call = ChatCall(
            model.model_id, conversation, None, model.context_window, max_output_tokens=model.max_output_tokens
        )
        try:
            counted = await call_within(
                lambda: self._providers.get(provider_id).count_tokens(call, timeout_s=timeout_s),
                provider_id=provider_id,
                timeout_s=timeout_s,
                timeout_message="the provider did not count in time",
            )
        except ProviderError as exc:
            if exc.kind not in _OF_REQUEST:
                self._failed_at_s[provider_id] = self._clock.monotonic_s()
            return None
        return None if counted is None else counted + int(counted * _MARGIN_SHARE) + _MARGIN_TOKENS

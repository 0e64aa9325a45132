"""Asks providers by their free call (the list of models) whether they answer at all, at most once a minute each."""

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import ProviderError
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.plan_errors import MIN_ATTEMPT_S
from sekha_llm_bridge.execution.provider_call import call_within
from sekha_llm_bridge.providers import ProviderDirectory

_TIMEOUT_S = 1.0
_VALID_S = 60.0


class FreeCalls:
    """The results of this function instance, by provider id."""

    def __init__(self, providers: ProviderDirectory, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._results: dict[str, tuple[float, bool]] = {}  # when it was called, and whether it answered

    async def is_answered(self, provider_id: str, deadline: Deadline) -> bool:
        """Returns whether the provider answers, by the result of the last minute where there is one. True where there
        is no time to ask: then nothing is known against the provider.
        """
        now_s = self._clock.monotonic_s()
        called_s, answers = self._results.get(provider_id, (now_s - _VALID_S, False))
        if now_s - called_s < _VALID_S:
            return answers
        timeout_s = min(_TIMEOUT_S, deadline.remaining_s() - MIN_ATTEMPT_S)
        if timeout_s <= 0:
            return True
        try:
            await call_within(
                lambda: self._providers.get(provider_id).probe(timeout_s=timeout_s),
                provider_id=provider_id,
                timeout_s=timeout_s,
                timeout_message="no answer to the free call",
            )
            answers = True
        except ProviderError:
            answers = False
        self._results[provider_id] = (now_s, answers)
        return answers

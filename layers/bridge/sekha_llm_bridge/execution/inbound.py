"""One inbound request, as it runs: who sends it, what was tried for it, and what it reserves of quotas."""

from dataclasses import dataclass

from sekha_llm_bridge.access.caller import ANYONE, Caller
from sekha_llm_bridge.access.spending import Need, RequestSpending
from sekha_llm_bridge.execution.attempts import AttemptLog, spent_usd


@dataclass(slots=True)
class InboundRequest:
    """The state that all plans of one request share. `spending` is None where no quota counts the request."""

    attempts: AttemptLog
    caller: Caller = ANYONE
    spending: RequestSpending | None = None

    @property
    def spent(self) -> Need:
        """What the attempts that have ended cost at most, and their tokens."""
        attempts = self.attempts.attempts
        tokens = sum(one.usage.prompt_tokens + one.usage.completion_tokens for one in attempts if one.usage)
        return Need(spent_usd(attempts), tokens)

    async def settle(self) -> None:
        """Settles what was reserved. Call it when no attempt runs any more, before the last byte of the answer."""
        if self.spending is not None:
            await self.spending.settle(self.spent)

"""The time that one request may wait for the state table.

A module of its own, because a function without a table starts faster without `state_table`.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from sekha_llm_bridge.clock import Clock

T = TypeVar("T")
_MIN_WAIT_S = 0.1  # a shorter wait that ends without an answer would not show that the table is unavailable


class TableTimeBudget:
    """The time that one request of a user may still spend waiting for the table, over all its calls."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._remaining_s = seconds
        self._clock = clock

    @property
    def is_spent(self) -> bool:
        """Returns whether too little time is left for a call."""
        return self._remaining_s < _MIN_WAIT_S

    async def wait_for(self, answer: Awaitable[T]) -> T:
        """Returns the answer. Raises `TimeoutError` when the budget is used up."""
        started_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(self._remaining_s):
                return await answer
        finally:
            self._remaining_s -= self._clock.monotonic_s() - started_s

    async def sleep(self, seconds: float) -> None:
        """Sleeps, unless too little time would be left for another call."""
        if self._remaining_s >= seconds + _MIN_WAIT_S:
            self._remaining_s -= seconds
            await self._clock.sleep(seconds)

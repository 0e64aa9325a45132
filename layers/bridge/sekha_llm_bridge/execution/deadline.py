"""The time by which an answer must be sent: the end of the invocation, minus a margin for sending it."""

from dataclasses import dataclass
from typing import Self

from sekha_llm_bridge.clock import Clock

MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock."""

    at_s: float
    clock: Clock

    @classmethod
    def after(cls, remaining_s: float, clock: Clock) -> Self:
        """Returns the deadline of an invocation that Lambda ends in `remaining_s`."""
        return cls(clock.monotonic_s() + remaining_s - MARGIN_S, clock)

    def remaining_s(self) -> float:
        """Returns the seconds left; negative after the deadline."""
        return self.at_s - self.clock.monotonic_s()

    def at_most(self, seconds: float) -> "Deadline":
        """Returns this deadline, or the one in that many seconds if it is earlier."""
        return Deadline(min(self.at_s, self.clock.monotonic_s() + seconds), self.clock)

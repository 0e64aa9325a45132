"""An event loop with a fake clock: when all tasks wait, the clock jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    """Runs `work` to completion. Waiting takes no real time."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock)) as runner:
        return runner.run(work)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic_s()

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # narrower than typeshed's, which allows type variable tuples
        """Runs `func` at once in this thread, because the clock would not wait for another thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 — passed to the caller, as from a thread
            future.set_exception(exc)
        return future


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        assert timeout is not None, "deadlock: all tasks wait, and there is no timer"
        self._clock.advance(timeout)
        return []

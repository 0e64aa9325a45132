"""An event loop whose time is a fake clock: when nothing is left to do but wait, the clock jumps to the end of the wait."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    """Runs `work` to its end in no time, however long it waits by its clock."""
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(work)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic_s()

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # narrower than typeshed's, which allows type variable tuples
        """At once: while a thread works, a clock that jumps would not wait for it."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 — it is the caller's, as it would be from a thread
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
        assert timeout is not None, "everything waits for something that nothing will bring about"
        self._clock.advance(timeout)
        return []

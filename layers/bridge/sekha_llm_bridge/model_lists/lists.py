"""The lists of models that one function instance knows, and when it reads them from the table again.

It reads once a minute. A new instance reads every five seconds for two minutes while a provider has no list: the first
check after a deployment may be due. A read that fails, or takes too long, leaves the last known lists in use; whether
their provider answers is what its circuit breaker decides.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.found_models import NO_LISTS, FoundModels
from sekha_llm_bridge.model_lists.store import ListsUnavailable, ModelListStore
from sekha_llm_bridge.observability import logger

_INTERVAL = timedelta(minutes=1)
_SHORT_INTERVAL = timedelta(seconds=5)
_NEW_FOR = timedelta(minutes=2)
_MAX_WAIT_S = 0.25
_MAX_WAIT_FOR_FIRST_S = 1.0  # a new instance may have to connect first, and without a list it can use no model


class ModelLists:
    """The lists of one function instance. `provider_ids` are the enabled providers that have one. `current` is another
    object only when models have changed.
    """

    def __init__(self, store: ModelListStore, provider_ids: Iterable[str], clock: Clock) -> None:
        self.store = store
        self.provider_ids = tuple(provider_ids)
        self.current: FoundModels = NO_LISTS
        self._clock = clock
        self._asked_at: datetime | None = None
        self._first_asked_at: datetime | None = None
        self._has_failed = False
        self._reading: asyncio.Future[None] | None = None

    async def refresh(self, *, max_wait_s: float | None = None) -> None:
        """Reads the lists if that is due. Waits for at most 250 ms, or a second while a list is missing; or for at most
        `max_wait_s`. Later the read goes on by itself.
        """
        is_complete = self._is_complete
        if (reading := self._running_read()) is None:
            if not self._is_due():
                return
            self._asked_at = self._clock.now()
            self._first_asked_at = self._first_asked_at or self._asked_at
            reading = self._reading = asyncio.ensure_future(self._read())
        elif is_complete:
            return  # another request waits for it
        usual_s = _MAX_WAIT_S if is_complete else _MAX_WAIT_FOR_FIRST_S
        await asyncio.wait({reading}, timeout=usual_s if max_wait_s is None else max_wait_s)

    @property
    def _is_complete(self) -> bool:
        return self.current.keys() >= set(self.provider_ids)

    def _is_due(self) -> bool:
        """Whether the last read is old enough, or in the future: the wall clock may have been set."""
        if self._asked_at is None or self._first_asked_at is None:
            return True
        now = self._clock.now()
        is_awaited = not self._is_complete and now - self._first_asked_at < _NEW_FOR
        interval = _SHORT_INTERVAL if is_awaited or self._has_failed else _INTERVAL
        return not timedelta() <= now - self._asked_at < interval

    def _running_read(self) -> asyncio.Future[None] | None:
        reading = self._reading
        is_of_this_loop = reading is not None and reading.get_loop() is asyncio.get_running_loop()
        return reading if reading is not None and is_of_this_loop and not reading.done() else None

    async def _read(self) -> None:
        try:
            found = await self.store.read(self.provider_ids)
        except ListsUnavailable as exc:
            if not self._has_failed:
                logger().warning("the lists of models cannot be read", extra={"reason": str(exc)})
            self._has_failed = True
            return
        self._has_failed = False
        current = {**self.current, **{provider_id: one.models for provider_id, one in found.items()}}
        if current != self.current:
            self.current = current

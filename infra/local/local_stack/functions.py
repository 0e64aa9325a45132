"""The instances of each function: one request at a time each, more of them while all are busy, the last used first."""

import asyncio
import os
import uuid
from collections import deque
from collections.abc import Callable, Coroutine

from local_stack.instance import Blueprint, Instance
from local_stack.invocation import (
    MAX_EVENT_BYTES,
    Answer,
    EventTooLargeError,
    FunctionFault,
    Invocation,
    ThrottledError,
)
from local_stack.processes import Processes

MAX_INSTANCES = 10
THROTTLE_AFTER_S = 20.0
# An instance that has given all of its answer asks for more within a millisecond; it is worth waiting for before
# another is started.
_ABOUT_TO_BE_FREE_S = 0.25
_IDLE_LIMIT_S = 300.0


def start_limit() -> asyncio.Semaphore:
    """How many instances may start at the same time: more would only take the processor from each other."""
    return asyncio.Semaphore(max(2, os.cpu_count() or 2))


class FunctionPool:
    """One function and its instances.

    `on_init_failure` is told when an instance could not start.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        processes: Processes,
        starting: asyncio.Semaphore,
        *,
        max_instances: int = MAX_INSTANCES,
        throttle_after_s: float = THROTTLE_AFTER_S,
        on_init_failure: Callable[[Blueprint, FunctionFault], None] = lambda _blueprint, _fault: None,
    ) -> None:
        self._blueprint = blueprint
        self._processes = processes
        self._start_limit = starting
        self._max_instances = max_instances
        self._throttle_after_s = throttle_after_s
        self._on_init_failure = on_init_failure
        # Every instance there is, also those that are starting; the idle ones in the order of their last use.
        self._instances: set[Instance] = set()
        self._idle: dict[Instance, asyncio.TimerHandle] = {}
        self._busy: dict[Instance, Invocation] = {}
        self._starting = 0
        self._waiters: deque[asyncio.Future[Instance]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def prewarm(self) -> None:
        """Starts one instance ahead of the first request; a failure goes to `on_init_failure`."""
        await self._start_one()

    async def invoke(self, event: bytes, *, trace_id: str = "", request_id: str | None = None) -> Answer:
        """Returns the answer to `event` as soon as it begins.

        Raises FunctionFault, EventTooLargeError or ThrottledError. When the caller stops waiting (it is cancelled) the
        invocation runs on, but of what it then streams nothing is read.
        """
        if len(event) > MAX_EVENT_BYTES:
            raise EventTooLargeError
        invocation = Invocation(event, request_id=request_id or str(uuid.uuid4()), trace_id=trace_id)
        instance = await self._acquire()
        self._busy[instance] = invocation
        self._in_background(self._serve(instance, invocation))
        try:
            return await asyncio.shield(invocation.begun)
        except asyncio.CancelledError:
            invocation.abandon()
            raise

    async def close(self) -> None:
        """Ends every instance."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(instance.stop() for instance in self._instances))

    async def _serve(self, instance: Instance, invocation: Invocation) -> None:
        await instance.serve(invocation)
        del self._busy[instance]
        if instance.usable:
            self._release(instance)
        else:
            await self._discard(instance)

    async def _discard(self, instance: Instance) -> None:
        self._instances.discard(instance)
        await instance.stop()
        self._start_more()

    async def _acquire(self) -> Instance:
        """The last used idle instance, or the first that becomes free or has started.

        Raises FunctionFault when none could start, ThrottledError when none became free.
        """
        while self._idle:
            instance, expiry = self._idle.popitem()
            expiry.cancel()
            if instance.usable:
                return instance
            self._in_background(self._discard(instance))
        waiter: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._start_more()
        try:
            return await self._waited_for(waiter)
        except asyncio.CancelledError:
            if not waiter.cancel() and not waiter.exception():
                self._release(waiter.result())
            raise

    async def _waited_for(self, waiter: asyncio.Future[Instance]) -> Instance:
        while not waiter.done():
            await asyncio.wait({waiter}, timeout=self._throttle_after_s)
            if not waiter.done() and not self._starting:
                waiter.cancel()
                raise ThrottledError
        return waiter.result()

    def _release(self, instance: Instance) -> None:
        """Gives `instance` to whoever waits, or keeps it for later."""
        waiter = self._next_waiter()
        if waiter:
            waiter.set_result(instance)
        else:
            self._idle[instance] = asyncio.get_running_loop().call_later(_IDLE_LIMIT_S, self._expire, instance)

    def _next_waiter(self) -> asyncio.Future[Instance] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _expire(self, instance: Instance) -> None:
        """Ends an instance that was idle for long, unless it is the function's last."""
        if len(self._instances) > 1 and instance in self._idle:
            del self._idle[instance]
            self._in_background(self._discard(instance))

    def _start_more(self) -> None:
        """Starts instances for those that wait, but not for whom a busy one is about to be free."""
        nearly_free = sum(invocation.answered for invocation in self._busy.values())
        if nearly_free and self._waiters:
            asyncio.get_running_loop().call_later(_ABOUT_TO_BE_FREE_S, self._start, 0)
        self._start(nearly_free)

    def _start(self, spared: int) -> None:
        """Starts an instance for each that waits, less `spared`, as far as the function may have more."""
        waiting = sum(not waiter.done() for waiter in self._waiters)
        room = self._max_instances - len(self._instances)
        for _ in range(min(waiting - self._starting - spared, room)):
            self._in_background(self._start_one())

    def _start_one(self) -> Coroutine[None, None, None]:
        """Counts a new instance at once; starts it when the coroutine is awaited."""
        instance = Instance(self._blueprint, self._processes)
        self._instances.add(instance)
        self._starting += 1
        return self._bring_up(instance)

    async def _bring_up(self, instance: Instance) -> None:
        try:
            async with self._start_limit:
                await instance.start()
        except FunctionFault as fault:
            self._starting -= 1
            self._on_init_failure(self._blueprint, fault)
            waiter = self._next_waiter()
            if waiter:
                waiter.set_exception(fault)
            await self._discard(instance)
        else:
            self._starting -= 1
            self._release(instance)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""The instances of a function. Each serves one request at a time; the pool starts more when all are busy."""

import asyncio
import os
import uuid
from collections import deque
from collections.abc import Callable, Coroutine

from local_stack.instance import Instance, InstanceSpec
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
# With reserved concurrency, Lambda refuses at once; this only covers the moment between an answer and the next request.
RESERVED_THROTTLE_AFTER_S = 0.25
# An instance that has sent its whole answer requests the next event within a millisecond, so the pool waits this long
# before it starts another instance.
_ALMOST_FREE_WAIT_S = 0.25
_IDLE_LIMIT_S = 300.0


def start_limit() -> asyncio.Semaphore:
    """Returns the limit of instances that start at the same time: more would compete for the processors."""
    return asyncio.Semaphore(max(2, os.cpu_count() or 2))


class FunctionPool:
    """One function and its instances. `on_init_failure` is called when an instance could not start."""

    def __init__(
        self,
        spec: InstanceSpec,
        processes: Processes,
        starting: asyncio.Semaphore,
        *,
        max_instances: int = MAX_INSTANCES,
        throttle_after_s: float = THROTTLE_AFTER_S,
        on_init_failure: Callable[[InstanceSpec, FunctionFault], None] = lambda _spec, _fault: None,
    ) -> None:
        self._spec = spec
        self._processes = processes
        self._start_limit = starting
        self._max_instances = max_instances
        self._throttle_after_s = throttle_after_s
        self._on_init_failure = on_init_failure
        # All instances, including those that are starting; `_idle` in the order of their last use.
        self._instances: set[Instance] = set()
        self._idle: dict[Instance, asyncio.TimerHandle] = {}
        self._busy: dict[Instance, Invocation] = {}
        self._starting = 0
        self._waiters: deque[asyncio.Future[Instance]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def prewarm(self) -> None:
        """Starts one instance before the first request; a failure is passed to `on_init_failure`."""
        await self._start_one()

    async def invoke(self, event: bytes, *, trace_id: str = "", request_id: str | None = None) -> Answer:
        """Returns the answer to `event` as soon as it starts.

        Raises FunctionFault, EventTooLargeError or ThrottledError. When the caller is cancelled, the invocation
        continues, but the rest of its answer is not read.
        """
        if len(event) > MAX_EVENT_BYTES:
            raise EventTooLargeError
        invocation = Invocation(event, request_id=request_id or str(uuid.uuid4()), trace_id=trace_id)
        instance = await self._acquire()
        self._busy[instance] = invocation
        self._in_background(self._serve(instance, invocation))
        try:
            return await asyncio.shield(invocation.answer_started)
        except asyncio.CancelledError:
            invocation.abandon()
            raise

    async def close(self) -> None:
        """Stops all instances."""
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
        """Returns the idle instance that was used last, else the first that becomes free or has started.

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
            return await self._await_instance(waiter)
        except asyncio.CancelledError:
            if not waiter.cancel() and not waiter.exception():
                self._release(waiter.result())
            raise

    async def _await_instance(self, waiter: asyncio.Future[Instance]) -> Instance:
        while not waiter.done():
            await asyncio.wait({waiter}, timeout=self._throttle_after_s)
            if not waiter.done() and not self._starting:
                waiter.cancel()
                raise ThrottledError
        return waiter.result()

    def _release(self, instance: Instance) -> None:
        """Passes `instance` to the first waiting invocation, else keeps it as idle."""
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
        """Stops an instance that was idle too long, unless it is the function's last."""
        if len(self._instances) > 1 and instance in self._idle:
            del self._idle[instance]
            self._in_background(self._discard(instance))

    def _start_more(self) -> None:
        """Starts instances for the waiting invocations, less the busy instances that will be free in a moment."""
        almost_free = sum(invocation.answered for invocation in self._busy.values())
        if almost_free and self._waiters:
            asyncio.get_running_loop().call_later(_ALMOST_FREE_WAIT_S, self._start, 0)
        self._start(almost_free)

    def _start(self, expected_free: int) -> None:
        """Starts an instance for each waiting invocation, less `expected_free`, up to the function's limit."""
        waiting = sum(not waiter.done() for waiter in self._waiters)
        room = self._max_instances - len(self._instances)
        for _ in range(min(waiting - self._starting - expected_free, room)):
            self._in_background(self._start_one())

    def _start_one(self) -> Coroutine[None, None, None]:
        """Counts a new instance at once. Returns the coroutine that starts it."""
        instance = Instance(self._spec, self._processes)
        self._instances.add(instance)
        self._starting += 1
        return self._start_instance(instance)

    async def _start_instance(self, instance: Instance) -> None:
        try:
            async with self._start_limit:
                await instance.start()
        except FunctionFault as fault:
            self._starting -= 1
            self._on_init_failure(self._spec, fault)
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

"""One execution environment of a function: a process under AWS's runtime client, within Lambda's limits."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from local_stack.invocation import FaultKind, FunctionFault, Invocation
from local_stack.processes import Child, Processes, resident_bytes
from local_stack.runtime_api import RuntimeApi

INIT_LIMIT_S = 10.0
_MEMORY_POLL_S = 0.05
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that an instance is made from; `environment` lacks only the Runtime API's address."""

    name: str
    arn: str
    command: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str]
    memory_mb: int
    timeout_s: float
    log: Path
    init_limit_s: float = INIT_LIMIT_S
    now: Callable[[], float] = field(default=time.time)


class Instance:
    """One running instance. It takes one invocation at a time; after a fault it is of no further use."""

    def __init__(self, blueprint: Blueprint, processes: Processes) -> None:
        self._blueprint = blueprint
        self._processes = processes
        self._api = RuntimeApi(blueprint.arn)
        self._child: Child | None = None
        self._peak_bytes = 0

    @property
    def usable(self) -> bool:
        """Whether it can take another invocation."""
        return self._child is not None and self._child.alive

    async def start(self) -> None:
        """Starts the process and waits until it asks for its first event. Raises FunctionFault.

        As on AWS, an initialisation that takes longer than 10 s is broken off, and done again in the function's own
        time.
        """
        started = time.monotonic()
        fault = await self._initialise(self._blueprint.init_limit_s)
        if fault and fault.kind is FaultKind.TIMED_OUT:
            self._note(f"INIT_REPORT Init Duration: {_ms(started)} ms Phase: init Status: timeout")
            await self.stop()
            self._api = RuntimeApi(self._blueprint.arn)
            fault = await self._initialise(self._blueprint.timeout_s)
        if fault:
            self._note(f"INIT_REPORT Init Duration: {_ms(started)} ms Phase: init Status: error {fault}")
            await self.stop()
            raise fault

    async def _initialise(self, limit_s: float) -> FunctionFault | None:
        blueprint = self._blueprint
        await self._api.start()
        try:
            self._child = await self._processes.spawn(
                blueprint.command,
                folder=blueprint.folder,
                environment={**blueprint.environment, "AWS_LAMBDA_RUNTIME_API": self._api.address},
                log=blueprint.log,
            )
        except OSError as refused:  # a wrapper script that may not be executed, say
            return FunctionFault(FaultKind.INIT_FAILED, f"{blueprint.command[0]}: {refused.strerror}")
        ready = asyncio.create_task(self._api.ready.wait())
        fault = await self._watch(self._child, ready, limit_s, also=self._api.init_failure)
        if fault and fault.kind is FaultKind.CRASHED:
            return FunctionFault(FaultKind.INIT_FAILED, str(fault))
        return fault

    async def serve(self, invocation: Invocation) -> None:
        """Runs `invocation` to its end: the answer is complete and the runtime asks for more, or there was a fault."""
        if self._child is None:
            raise RuntimeError("the instance was not started")
        blueprint = self._blueprint
        started = time.monotonic()
        self._api.offer(invocation, deadline_ms=int((blueprint.now() + blueprint.timeout_s) * 1000))
        finished = asyncio.create_task(invocation.finished.wait())
        fault = await self._watch(self._child, finished, blueprint.timeout_s)
        if fault:
            self._note(f"{invocation.request_id} {fault}")
            invocation.fail(fault)
            await self.stop()
        self._report(invocation, _ms(started))

    async def stop(self) -> None:
        """Ends it at once, as Lambda does: without a word to the process."""
        if self._child:
            await self._child.end(grace_s=0)
        await self._api.close()

    async def _watch(
        self,
        child: Child,
        done: asyncio.Task[bool],
        limit_s: float,
        *,
        also: asyncio.Future[FunctionFault] | None = None,
    ) -> FunctionFault | None:
        """Waits until `done`, or for what goes wrong before that."""
        memory = asyncio.create_task(self._exceeds_memory(child.pid))
        # Futures of different results, of which only the end is waited for.
        waiting: set[asyncio.Future[object]] = {done, child.exited, memory, *([also] if also else [])}  # type: ignore[arg-type]  # sets of futures are invariant
        await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        over_memory = memory.done()
        memory.cancel()
        if done.done():
            return None
        done.cancel()
        if also and also.done():
            return also.result()
        if over_memory:
            message = f"Memory Size: {self._blueprint.memory_mb} MB exceeded: Runtime exited with error: signal: killed"
            return FunctionFault(FaultKind.OUT_OF_MEMORY, message)
        if child.exited.done():
            return FunctionFault(FaultKind.CRASHED, f"Runtime exited with error: {_exit_status(child.exited.result())}")
        return FunctionFault(FaultKind.TIMED_OUT, f"Task timed out after {limit_s:.2f} seconds")

    async def _exceeds_memory(self, pid: int) -> None:
        """Returns when the process holds more than it may; never where memory cannot be measured."""
        while True:
            resident = resident_bytes(pid) or 0
            self._peak_bytes = max(self._peak_bytes, resident)
            if resident > self._blueprint.memory_mb * _MB:
                return
            await asyncio.sleep(_MEMORY_POLL_S)

    def _report(self, invocation: Invocation, duration_ms: str) -> None:
        used_mb = self._peak_bytes // _MB
        self._note(
            f"REPORT RequestId: {invocation.request_id} Duration: {duration_ms} ms "
            f"Memory Size: {self._blueprint.memory_mb} MB Max Memory Used: {used_mb} MB"
        )

    def _note(self, line: str) -> None:
        """Adds a line of the platform's own to the function's log."""
        at = (
            datetime.fromtimestamp(self._blueprint.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        with self._blueprint.log.open("a", encoding="utf-8") as log:
            log.write(f"{at} {line}\n")


def _ms(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.2f}"


def _exit_status(code: int) -> str:
    return f"signal: {-code}" if code < 0 else f"exit status {code}"

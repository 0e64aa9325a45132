"""One execution environment of a function: a process with AWS's runtime client, under Lambda's limits."""

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
class InstanceSpec:
    """What an instance is started with. The address of the Runtime API is added to `environment`."""

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
    """One running instance. It takes one invocation at a time, and cannot be used again after a fault."""

    def __init__(self, spec: InstanceSpec, processes: Processes) -> None:
        self._spec = spec
        self._processes = processes
        self._api = RuntimeApi(spec.arn)
        self._child: Child | None = None
        self._peak_bytes = 0

    @property
    def usable(self) -> bool:
        """Whether it can take an invocation."""
        return self._child is not None and self._child.alive

    async def start(self) -> None:
        """Starts the process and waits until it requests its first event. Raises FunctionFault.

        As on AWS, an initialisation of more than 10 s is stopped, and repeated within the function's own timeout.
        """
        started = time.monotonic()
        fault = await self._initialise(self._spec.init_limit_s)
        if fault and fault.kind is FaultKind.TIMED_OUT:
            self._log_line(f"INIT_REPORT Init Duration: {_ms(started)} ms Phase: init Status: timeout")
            await self.stop()
            self._api = RuntimeApi(self._spec.arn)
            fault = await self._initialise(self._spec.timeout_s)
        if fault:
            self._log_line(f"INIT_REPORT Init Duration: {_ms(started)} ms Phase: init Status: error {fault}")
            await self.stop()
            raise fault

    async def _initialise(self, limit_s: float) -> FunctionFault | None:
        spec = self._spec
        await self._api.start()
        try:
            self._child = await self._processes.spawn(
                spec.command,
                folder=spec.folder,
                environment={**spec.environment, "AWS_LAMBDA_RUNTIME_API": self._api.address},
                log=spec.log,
            )
        except OSError as refused:  # for example, a wrapper script that is not executable
            return FunctionFault(FaultKind.INIT_FAILED, f"{spec.command[0]}: {refused.strerror}")
        ready = asyncio.create_task(self._api.ready.wait())
        fault = await self._watch(self._child, ready, limit_s, init_failure=self._api.init_failure)
        if fault and fault.kind is FaultKind.CRASHED:
            return FunctionFault(FaultKind.INIT_FAILED, str(fault))
        return fault

    async def serve(self, invocation: Invocation) -> None:
        """Runs `invocation` until the answer is complete and the runtime requests the next event, or until a fault."""
        if self._child is None:
            raise RuntimeError("the instance was not started")
        spec = self._spec
        started = time.monotonic()
        self._api.offer(invocation, deadline_ms=int((spec.now() + spec.timeout_s) * 1000))
        finished = asyncio.create_task(invocation.finished.wait())
        fault = await self._watch(self._child, finished, spec.timeout_s)
        if fault:
            self._log_line(f"{invocation.request_id} {fault}")
            invocation.fail(fault)
            await self.stop()
        self._report(invocation, _ms(started))

    async def stop(self) -> None:
        """Kills the process without a signal before, as Lambda does."""
        if self._child:
            await self._child.end(grace_s=0)
        await self._api.close()

    async def _watch(
        self,
        child: Child,
        done: asyncio.Task[bool],
        limit_s: float,
        *,
        init_failure: asyncio.Future[FunctionFault] | None = None,
    ) -> FunctionFault | None:
        """Waits until `done`. Returns the fault that happened before, or None."""
        memory = asyncio.create_task(self._exceeds_memory(child.pid))
        # The results of these futures have different types; only their end is awaited.
        waiting: set[asyncio.Future[object]] = {done, child.exited, memory, *([init_failure] if init_failure else [])}  # type: ignore[arg-type]  # sets of futures are invariant
        await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        over_memory = memory.done()
        memory.cancel()
        if done.done():
            return None
        done.cancel()
        if init_failure and init_failure.done():
            return init_failure.result()
        if over_memory:
            message = f"Memory Size: {self._spec.memory_mb} MB exceeded: Runtime exited with error: signal: killed"
            return FunctionFault(FaultKind.OUT_OF_MEMORY, message)
        if child.exited.done():
            return FunctionFault(FaultKind.CRASHED, f"Runtime exited with error: {_exit_status(child.exited.result())}")
        return FunctionFault(FaultKind.TIMED_OUT, f"Task timed out after {limit_s:.2f} seconds")

    async def _exceeds_memory(self, pid: int) -> None:
        """Returns when the process uses more memory than its limit. Never returns when memory cannot be measured."""
        while True:
            resident = resident_bytes(pid) or 0
            self._peak_bytes = max(self._peak_bytes, resident)
            if resident > self._spec.memory_mb * _MB:
                return
            await asyncio.sleep(_MEMORY_POLL_S)

    def _report(self, invocation: Invocation, duration_ms: str) -> None:
        used_mb = self._peak_bytes // _MB
        self._log_line(
            f"REPORT RequestId: {invocation.request_id} Duration: {duration_ms} ms "
            f"Memory Size: {self._spec.memory_mb} MB Max Memory Used: {used_mb} MB"
        )

    def _log_line(self, line: str) -> None:
        """Appends a line of the platform to the function's log."""
        at = datetime.fromtimestamp(self._spec.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._spec.log.open("a", encoding="utf-8") as log:
            log.write(f"{at} {line}\n")


def _ms(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.2f}"


def _exit_status(code: int) -> str:
    return f"signal: {-code}" if code < 0 else f"exit status {code}"

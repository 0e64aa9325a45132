"""A pool of instances without the gateway: limits that would take long to reach with those of AWS."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from local_stack.functions import FunctionPool, start_limit
from local_stack.instance import InstanceSpec
from local_stack.invocation import FaultKind, FunctionFault, ThrottledError
from local_stack.processes import Processes

SLOW_TO_START_ONCE = """
import pathlib, time
mark = pathlib.Path("started-before")
if not mark.exists():
    mark.touch()
    time.sleep(60)

def handler(event, context):
    return "ready"
"""
COMES_AND_GOES = """
import pathlib, time

def handler(event, context):
    while event["wait_for"] and not pathlib.Path(event["wait_for"]).exists():
        time.sleep(0.01)
    return context.aws_request_id
"""


def with_pool(
    folder: Path,
    code: str,
    use: Callable[[FunctionPool], Awaitable[None]],
    *,
    max_instances: int = 10,
    init_limit_s: float = 10,
    timeout_s: float = 10,
    script: Path | None = None,
) -> list[FunctionFault]:
    """Runs `use` with a pool of a function of that code; returns the failures to start."""
    (folder / "app.py").write_text(code)
    failures: list[FunctionFault] = []

    async def scenario() -> None:
        processes = Processes()
        await processes.start()
        spec = InstanceSpec(
            name="f",
            arn="arn:aws:lambda:us-east-1:123456789012:function:f",
            command=[*([script] if script else []), sys.executable, "-m", "awslambdaric", "app.handler"],
            folder=folder,
            environment={"PYTHONPATH": str(folder)},
            memory_mb=512,
            timeout_s=timeout_s,
            log=folder / "f.log",
            init_limit_s=init_limit_s,
        )
        pool = FunctionPool(
            spec,
            processes,
            start_limit(),
            max_instances=max_instances,
            throttle_after_s=0.2,
            on_init_failure=lambda _blueprint, fault: failures.append(fault),
        )
        try:
            await use(pool)
        finally:
            await pool.close()
            await processes.end_all()

    asyncio.run(scenario())
    return failures


async def answer(pool: FunctionPool, event: object = None) -> object:
    """The function's answer to `event`, parsed."""
    return json.loads(await (await pool.invoke(json.dumps(event).encode())).read())


def test_an_initialisation_that_exceeds_its_limit_is_repeated_within_the_functions_timeout(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        assert await answer(pool) == "ready"

    assert with_pool(tmp_path, SLOW_TO_START_ONCE, use, init_limit_s=0.5) == []
    assert "Phase: init Status: timeout" in (tmp_path / "f.log").read_text()


def test_an_initialisation_that_never_ends_is_a_fault(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        with pytest.raises(FunctionFault, match=r"Task timed out after 0\.30 seconds"):
            await answer(pool)

    code = "import time\ntime.sleep(60)\n"
    failures = with_pool(tmp_path, code, use, init_limit_s=0.3, timeout_s=0.3)
    assert [fault.kind for fault in failures] == [FaultKind.TIMED_OUT]


def test_a_function_without_its_handler_is_a_fault_with_the_reason(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        with pytest.raises(FunctionFault, match="Handler 'handler' missing on module 'app'"):
            await answer(pool)

    with_pool(tmp_path, "x = 1\n", use)


def test_a_wrapper_script_that_is_not_executable_is_a_fault_that_names_it(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        with pytest.raises(FunctionFault, match=r"/start: Permission denied"):
            await answer(pool)

    (tmp_path / "start").write_text("#!/bin/sh\n")
    with_pool(tmp_path, "", use, script=tmp_path / "start")


def test_sequential_requests_get_the_same_instance(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        assert len({await answer(pool) for _ in range(20)}) == 1

    with_pool(tmp_path, "import os\n\ndef handler(event, context):\n    return os.getpid()\n", use)


def test_requests_wait_when_all_instances_are_busy(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        answers = await asyncio.gather(*(answer(pool, {"wait_for": ""}) for _ in range(20)))
        assert len(set(map(str, answers))) == 20

    with_pool(tmp_path, COMES_AND_GOES, use, max_instances=2)


def test_requests_that_wait_too_long_are_throttled(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        await pool.prewarm()
        mark = tmp_path / "go"
        first = asyncio.create_task(answer(pool, {"wait_for": str(mark)}))
        await asyncio.sleep(0)
        with pytest.raises(ThrottledError):
            await answer(pool, {"wait_for": ""})
        mark.touch()
        assert await first
        assert await answer(pool, {"wait_for": ""})

    with_pool(tmp_path, COMES_AND_GOES, use, max_instances=1)


def test_a_cancelled_request_takes_no_instance_from_the_others(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        await pool.prewarm()
        mark = tmp_path / "go"
        first = asyncio.create_task(answer(pool, {"wait_for": str(mark)}))
        gone = asyncio.create_task(answer(pool, {"wait_for": ""}))
        await asyncio.sleep(0)
        gone.cancel()
        mark.touch()
        assert await first
        assert await answer(pool, {"wait_for": ""})

    with_pool(tmp_path, COMES_AND_GOES, use, max_instances=1)


def test_an_instance_that_becomes_free_for_a_cancelled_request_is_kept(tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        starting = asyncio.create_task(answer(pool, {"wait_for": ""}))
        await asyncio.sleep(0)
        [waiter] = pool._waiters
        waiter.add_done_callback(lambda _waiter: starting.cancel())
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert await answer(pool, {"wait_for": ""})

    with_pool(tmp_path, COMES_AND_GOES, use, max_instances=1)

"""A service that ends is started again, but not for ever."""

import asyncio
import sys
from pathlib import Path

from local_stack.processes import Child, Processes
from local_stack.services import MAX_RESTARTS, Service, keep_running, tail


def test_a_service_that_keeps_ending_is_reported_and_not_restarted_any_more(tmp_path: Path) -> None:
    said: list[str] = []

    async def scenario() -> int:
        processes = Processes()
        starts = 0

        async def begin() -> Child:
            nonlocal starts
            starts += 1
            return await processes.spawn(
                [sys.executable, "-c", "raise SystemExit(3)"], environment={}, log=tmp_path / "log"
            )

        service = Service("thing", "", begin)
        await keep_running(service, await service.begin(), said.append)
        return starts

    assert asyncio.run(scenario()) == 1 + MAX_RESTARTS
    assert said[0] == "thing ended (status 3); restarting"
    assert said[-1] == "thing ended again (status 3); it is not restarted any more"


def test_the_tail_of_a_log_that_is_missing_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""

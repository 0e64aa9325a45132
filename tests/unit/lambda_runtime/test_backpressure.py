"""Tests of backpressure: a slow client blocks the app's sends and does not increase the function's memory."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime_api import ApiBehaviour, FakeRuntimeApi
from tests.unit.lambda_runtime.conftest import Runtime

CHUNKS, CHUNK_BYTES = 128, 64 * 1024
APP = f"""
async def app(scope, receive, send):
    await start(send)
    for number in range({CHUNKS}):
        sending = asyncio.ensure_future(body(send, b"%d:" % number + bytes({CHUNK_BYTES})))
        for _ in range(1000):  # enough iterations of the loop for a send that does not block
            if not sending.done():
                await asyncio.sleep(0)
        if not sending.done():
            print("waiting at", number)
        await sending
    await body(send, b"", more=False)
handler = Wrapped(app)
"""


@pytest.fixture
def api() -> Iterator[FakeRuntimeApi]:
    with FakeRuntimeApi(receive_buffer=64 * 1024) as fake:
        yield fake


def test_a_stream_of_8_mb_to_a_slow_client_blocks_without_using_more_memory(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(APP)
    behaviour = ApiBehaviour(pause_after=1)
    invocation = api.queue_event(rest_event, behaviour=behaviour)
    api.wait_for_chunks(invocation, 1)
    before_kb = memory_kb(runtime, "VmRSS")
    runtime.wait_for_log("waiting at")
    assert len(invocation.chunks) == 1
    behaviour.resume.set()
    api.wait_until_finished(invocation)
    assert memory_kb(runtime, "VmHWM") - before_kb < 2048
    assert [int(chunk.data.partition(b":")[0]) for chunk in invocation.chunks] == list(range(CHUNKS))


def memory_kb(runtime: Runtime, kind: str) -> int:
    """Returns the current resident memory (VmRSS) or its peak (VmHWM)."""
    assert runtime.process is not None
    status = Path(f"/proc/{runtime.process.pid}/status").read_text()
    found = re.search(rf"{kind}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


STOPS_SENDING = """
async def app(scope, receive, send):
    await start(send)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while True:
                await body(send, bytes(65536))
    print("gave up")
handler = Wrapped(app)
"""


def test_an_app_that_stops_sending_to_a_client_that_reads_nothing_ends_without_waiting(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("import contextlib\n" + STOPS_SENDING)
    api.queue_event(rest_event, behaviour=ApiBehaviour(pause_after=1, may_abandon_response=True))
    runtime.wait_for_log("gave up")
    second = api.queue_event({"no": "REST event"})
    api.wait_until_finished(second)  # the runtime has requested the next event


FILLS_THE_BUFFER = """
async def app(scope, receive, send):
    await start(send)
    filling = asyncio.ensure_future(fill(send))
    await asyncio.sleep(0.3)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    finishing = asyncio.ensure_future(body(send, b"", more=False))
    await asyncio.sleep(0)
    finishing.cancel()

async def fill(send):
    while True:
        await body(send, bytes(65536))
handler = Wrapped(app)
"""


def test_a_response_whose_end_is_not_read_is_aborted_before_the_deadline(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    """The app has returned, but the end of the response does not fit into the client's buffer."""
    runtime.start("import contextlib, socket\n" + FILLS_THE_BUFFER)
    deadline_ms = str(time.time_ns() // 1_000_000 + 1500)
    api.queue_event(
        rest_event, behaviour=ApiBehaviour(pause_after=1, may_abandon_response=True), deadline_ms=deadline_ms
    )
    api.wait_until_finished(api.queue_event({"no": "REST event"}))

"""A reader that is slow makes the app wait, and takes no memory of the function's."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, Manners
from tests.unit.lambda_runtime.conftest import Runtime

CHUNKS, CHUNK_BYTES = 128, 64 * 1024
APP = f"""
async def app(scope, receive, send):
    await start(send)
    for number in range({CHUNKS}):
        sending = asyncio.ensure_future(body(send, b"%d:" % number + bytes({CHUNK_BYTES})))
        for _ in range(1000):  # turns of the loop, in which a send that need not wait is long done
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


def test_a_stream_of_8_mb_to_a_slow_reader_waits_for_it_in_flat_memory(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(APP)
    manners = Manners(hold_after=1)
    invocation = api.offer(rest_event, manners=manners)
    api.wait_for_chunks(invocation, 1)
    before_kb = memory_kb(runtime, "VmRSS")
    runtime.wait_for_log("waiting at")
    assert len(invocation.chunks) == 1
    manners.resume.set()
    api.wait_until_settled(invocation)
    assert memory_kb(runtime, "VmHWM") - before_kb < 2048
    assert [int(chunk.data.partition(b":")[0]) for chunk in invocation.chunks] == list(range(CHUNKS))


def memory_kb(runtime: Runtime, kind: str) -> int:
    """VmRSS is now, VmHWM the most that there was."""
    assert runtime.process is not None
    status = Path(f"/proc/{runtime.process.pid}/status").read_text()
    found = re.search(rf"{kind}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


GIVES_UP = """
async def app(scope, receive, send):
    await start(send)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while True:
                await body(send, bytes(65536))
    print("gave up")
handler = Wrapped(app)
"""


def test_an_app_that_gives_up_on_a_reader_who_takes_nothing_is_not_kept_waiting_for_it(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("import contextlib\n" + GIVES_UP)
    api.offer(rest_event, manners=Manners(hold_after=1, may_be_left=True))
    runtime.wait_for_log("gave up")
    second = api.offer({"no": "REST event"})
    api.wait_until_settled(second)  # it has asked for the next


FILLS_UP = """
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


def test_a_reader_who_does_not_take_the_end_is_left_before_lambda_ends_the_environment(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    """The app has returned: what is left is the end that the reader has no room for."""
    runtime.start("import contextlib, socket\n" + FILLS_UP)
    soon_ms = str(time.time_ns() // 1_000_000 + 1500)
    api.offer(rest_event, manners=Manners(hold_after=1, may_be_left=True), deadline_ms=soon_ms)
    api.wait_until_settled(api.offer({"no": "REST event"}))

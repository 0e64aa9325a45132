"""A reader that is slow makes the app wait, and takes no memory of the function's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, Manners
from tests.unit.streaming.conftest import Runtime

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

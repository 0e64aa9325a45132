"""A Runtime API that stops reading: the app is told, ends its work, and the next invocation is served."""

import json
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, Manners, reply
from tests.unit.lambda_runtime.conftest import Runtime

WAITING = """
async def app(scope, receive, send):
    await receive()
    await start(send)
    await body(send, b"one")
    print(await receive())
    try:
        await body(send, b"two")
    except OSError:
        print("not sent")
handler = Wrapped(app)
"""
SENDING = """
async def app(scope, receive, send):
    await start(send)
    await body(send, b"one")
    try:
        while True:
            await body(send, bytes(65536))
    finally:
        print("cancelled its work")
handler = Wrapped(app)
"""
HELD = """
async def app(scope, receive, send):
    await start(send)
    await body(send, b"one")
    sending = asyncio.ensure_future(body(send, bytes(32 * 1024 * 1024)))
    for _ in range(1000):  # turns of the loop, in which a send that need not wait is long done
        await asyncio.sleep(0)
    assert not sending.done()
    print("waiting")
    try:
        await sending
    finally:
        print("cancelled its work")
handler = Wrapped(app)
"""
WAYS = pytest.mark.parametrize("leave", ["close", "reset", reply(413), reply(400)])


@WAYS
def test_an_app_that_waits_in_silence_is_told(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, leave: str | bytes
) -> None:
    runtime.start(WAITING)
    manners = Manners(patience=1, leave=leave, fragments=True)
    api.wait_until_settled(api.offer(rest_event, manners=manners))
    api.wait_for_call("invocation/next", 2)
    gone, not_sent, line = runtime.log.splitlines()
    assert (gone, not_sent) == ("{'type': 'http.disconnect'}", "not sent")
    assert json.loads(line)["message"].startswith("The response was not taken: the Runtime API ")
    assert "invocation/error" not in api.calls


@WAYS
def test_an_app_that_is_sending_gets_an_oserror(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, leave: str | bytes
) -> None:
    runtime.start(SENDING)
    api.wait_until_settled(api.offer(rest_event, manners=Manners(patience=1, leave=leave)))
    api.wait_for_call("invocation/next", 2)
    assert runtime.log.startswith("cancelled its work\n")
    assert runtime.log.count("\n") == 2
    assert "invocation/error" not in api.calls


@WAYS
def test_an_app_that_waits_for_its_reader_gets_an_oserror(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, leave: str | bytes
) -> None:
    runtime.start(HELD)
    manners = Manners(hold_after=1, patience=1, leave=leave)
    invocation = api.offer(rest_event, manners=manners)
    runtime.wait_for_log("waiting")
    manners.resume.set()
    api.wait_until_settled(invocation)
    api.wait_for_call("invocation/next", 2)
    assert runtime.log.startswith("waiting\ncancelled its work\n")
    assert "invocation/error" not in api.calls


def test_what_follows_a_disconnect_is_served(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start(WAITING)
    for leave in ("close", "reset", reply(413)):
        api.wait_until_settled(api.offer(rest_event, manners=Manners(patience=1, leave=leave)))
        whole = api.wait_until_settled(api.offer({"whole": True}))
        assert whole.payload == b'{"buffered": {"whole": true}}'


def test_an_early_500_ends_the_runtime(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start(WAITING)
    api.offer(rest_event, manners=Manners(patience=1, leave=reply(500)))
    assert runtime.exit_code() == 1

"""Tests of client disconnects: the API stops reading, the app is notified, and the next invocation is served."""

import json
from typing import Any

import pytest

from tests.fakes.runtime_api import ApiBehaviour, FakeRuntimeApi, http_response
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
BLOCKED = """
async def app(scope, receive, send):
    await start(send)
    await body(send, b"one")
    sending = asyncio.ensure_future(body(send, bytes(32 * 1024 * 1024)))
    for _ in range(1000):  # enough iterations of the loop for a send that does not block
        await asyncio.sleep(0)
    assert not sending.done()
    print("waiting")
    try:
        await sending
    finally:
        print("cancelled its work")
handler = Wrapped(app)
"""
DISCONNECTS = pytest.mark.parametrize("close_with", ["close", "reset", http_response(413), http_response(400)])


@DISCONNECTS
def test_an_app_that_waits_without_sending_receives_the_disconnect(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, close_with: str | bytes
) -> None:
    runtime.start(WAITING)
    behaviour = ApiBehaviour(close_after=1, close_with=close_with, is_fragmented=True)
    api.wait_until_finished(api.queue_event(rest_event, behaviour=behaviour))
    api.wait_for_call("invocation/next", 2)
    disconnect, not_sent, line = runtime.log.splitlines()
    assert (disconnect, not_sent) == ("{'type': 'http.disconnect'}", "not sent")
    assert json.loads(line)["message"].startswith("The response was not taken: the Runtime API ")
    assert "invocation/error" not in api.calls


@DISCONNECTS
def test_an_app_that_is_sending_gets_an_oserror(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, close_with: str | bytes
) -> None:
    runtime.start(SENDING)
    api.wait_until_finished(api.queue_event(rest_event, behaviour=ApiBehaviour(close_after=1, close_with=close_with)))
    api.wait_for_call("invocation/next", 2)
    assert runtime.log.startswith("cancelled its work\n")
    assert runtime.log.count("\n") == 2
    assert "invocation/error" not in api.calls


@DISCONNECTS
def test_an_app_whose_send_is_blocked_gets_an_oserror(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, close_with: str | bytes
) -> None:
    runtime.start(BLOCKED)
    behaviour = ApiBehaviour(pause_after=1, close_after=1, close_with=close_with)
    invocation = api.queue_event(rest_event, behaviour=behaviour)
    runtime.wait_for_log("waiting")
    behaviour.resume.set()
    api.wait_until_finished(invocation)
    api.wait_for_call("invocation/next", 2)
    assert runtime.log.startswith("waiting\ncancelled its work\n")
    assert "invocation/error" not in api.calls


def test_the_invocation_after_a_disconnect_is_served(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start(WAITING)
    for close_with in ("close", "reset", http_response(413)):
        api.wait_until_finished(
            api.queue_event(rest_event, behaviour=ApiBehaviour(close_after=1, close_with=close_with))
        )
        whole = api.wait_until_finished(api.queue_event({"whole": True}))
        assert whole.payload == b'{"buffered": {"whole": true}}'


def test_an_early_500_ends_the_runtime(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start(WAITING)
    api.queue_event(rest_event, behaviour=ApiBehaviour(close_after=1, close_with=http_response(500)))
    assert runtime.exit_code() == 1

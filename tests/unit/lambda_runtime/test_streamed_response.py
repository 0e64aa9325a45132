"""Tests of what the Runtime API receives of an ASGI app's response, and when."""

import json
from typing import Any

import pytest

from sekha_llm_bridge.lambda_runtime.asgi import prelude
from sekha_llm_bridge.lambda_runtime.response import answered_status
from tests.fakes.runtime_api import ApiBehaviour, FakeRuntimeApi, http_response
from tests.unit.lambda_runtime.conftest import Runtime

ECHO = """
async def app(scope, receive, send):
    request = await receive()
    await start(send)
    await body(send, request["body"], more=False)
handler = Wrapped(app)
"""


def test_a_streamed_response_has_exactly_these_bytes(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 201)
            await body(send, b"one")
            await body(send, b"two", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    prelude = b'{"statusCode": 201, "headers": {"content-type": "text/plain"}}' + bytes(8)
    assert bytes(invocation.raw) == (
        f"POST /2018-06-01/runtime/invocation/{invocation.request_id}/response HTTP/1.1\r\n"
        f"Host: {api.address}\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
        "Transfer-Encoding: chunked\r\n"
        "Content-Type: application/vnd.awslambda.http-integration-response\r\n"
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
        f"\r\n{len(prelude):x}\r\n".encode()
        + prelude
        + b"\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    )


def test_each_chunk_arrives_before_the_app_continues(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            for number in range(3):
                await body(send, b"chunk %d" % number)
                await gate()
            await body(send, b"", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.queue_event(rest_event)
    for count in (1, 2, 3):
        api.wait_for_chunks(invocation, count)
        assert [chunk.data for chunk in invocation.chunks] == [b"chunk 0", b"chunk 1", b"chunk 2"][:count]
        assert not invocation.is_finished
        runtime.open_gate()
    api.wait_until_finished(invocation)


def test_status_and_headers_are_sent_with_an_empty_first_body_message(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 202)
            await body(send, b"")
            await gate()
            await body(send, b"late", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.queue_event(rest_event)
    api.wait_for(lambda: invocation.prelude, "the prelude")
    assert invocation.prelude["statusCode"] == 202
    runtime.open_gate()
    assert api.wait_until_finished(invocation).payload == b"late"


def test_nothing_is_sent_before_the_first_body_message(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 500)
            await start(send, 200)
            print("started")
            await gate()
            await body(send, b"text", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.queue_event(rest_event)
    runtime.wait_for_log("started")
    assert api.calls == ["invocation/next"]
    runtime.open_gate()
    assert api.wait_until_finished(invocation).prelude["statusCode"] == 200


GATED = """
async def app(scope, receive, send):
    await gate()
    await start(send)
    await body(send, b"text", more=False)
handler = Wrapped(app)
"""


def test_the_connection_is_opened_before_the_app_sends_anything(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(GATED)
    invocation = api.queue_event(rest_event)
    api.wait_for_call("invocation/next")
    api.wait_for(lambda: api.idle, "the connection")
    assert api.calls == ["invocation/next"]
    runtime.open_gate()
    api.wait_until_finished(invocation)


def test_an_idle_connection_that_was_closed_is_opened_again(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(GATED)
    invocation = api.queue_event(rest_event)
    api.wait_for_call("invocation/next")
    api.wait_for(lambda: api.idle, "the connection")
    api.close_idle()
    runtime.open_gate()
    assert api.wait_until_finished(invocation).payload == b"text"


def test_10_000_chunks_arrive_separately_and_in_order(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            for number in range(10_000):
                await body(send, b"%d" % number)
            await body(send, b"", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert [int(chunk.data) for chunk in invocation.chunks] == list(range(10_000))


def test_a_character_split_between_chunks_stays_split(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            for byte in "é🚣".encode():
                await body(send, bytes([byte]))
            await body(send, bytearray(b"!"), more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert [chunk.data for chunk in invocation.chunks[:-1]] == [bytes([byte]) for byte in "é🚣".encode()]
    assert invocation.payload.decode() == "é🚣!"


def test_a_response_without_a_body_has_only_a_prelude(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 204, ())
            await send({"type": "http.response.body"})
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert (invocation.prelude, invocation.payload) == ({"statusCode": 204, "headers": {}}, b"")


def test_the_response_ends_only_after_the_app_has_returned(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"all", more=False)
            await gate()
            print("metric", end="")
        handler = Wrapped(app)
    """)
    invocation = api.queue_event(rest_event)
    api.wait_for_chunks(invocation, 1)
    assert not invocation.is_finished
    runtime.open_gate()
    api.wait_until_finished(invocation)
    assert runtime.log == "metric"


def test_the_app_receives_the_body_first_and_a_disconnect_when_the_response_is_complete(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            first = await receive()
            waiting = asyncio.create_task(receive())
            await start(send)
            await body(send, b"some")
            assert not waiting.done()
            await body(send, b"", more=False)
            print(first, await waiting, await receive())
        handler = Wrapped(app)
    """)
    api.wait_until_finished(api.queue_event(rest_event | {"body": "aGk=", "isBase64Encoded": True}))
    disconnect = {"type": "http.disconnect"}
    assert runtime.log == f"{ {'type': 'http.request', 'body': b'hi', 'more_body': False} } {disconnect} {disconnect}\n"


def test_all_invocations_use_one_event_loop_and_one_persistent_connection(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        mine = asyncio.new_event_loop()
        asyncio.set_event_loop(mine)
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"")  # the runtime's task that opens the connection has ended now
            same = asyncio.get_running_loop() is mine
            await body(send, f"{same} {len(asyncio.all_tasks())}".encode(), more=False)
        handler = Wrapped(app)
    """)
    answers = [api.wait_until_finished(api.queue_event(rest_event)).payload for _ in range(3)]
    assert answers == [b"True 1"] * 3
    api.wait_for_call("invocation/next", 4)
    assert api.calls == ["invocation/next", "invocation/response"] * 3 + ["invocation/next"]


def test_responses_of_the_api_that_arrive_byte_by_byte_are_parsed(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(ECHO)
    for text in ("one", "two"):
        invocation = api.queue_event(
            rest_event | {"body": text}, behaviour=ApiBehaviour(is_fragmented=True), invocation_id="attempt-7"
        )
        assert api.wait_until_finished(invocation).payload == text.encode()


def test_a_response_of_the_api_has_a_status_only_when_it_is_complete() -> None:
    whole = http_response(202, b'{"status":"OK"}')
    assert {answered_status(whole[:length]) for length in range(len(whole))} == {None}
    assert answered_status(whole) == 202


@pytest.mark.parametrize("text", ["nonsense\r\n\r\n", "HTTP/2 202 OK\r\n\r\n", "HTTP/1.1 two OK\r\n\r\n"])
def test_a_response_that_is_not_http_has_status_0(text: str) -> None:
    assert answered_status(text.encode()) == 0


def test_a_persistent_connection_that_was_closed_is_opened_again(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(ECHO)
    for event in (rest_event, rest_event, {"whole": True}, rest_event):
        api.wait_until_finished(api.queue_event(event, behaviour=ApiBehaviour(closes_connection=True)))


def test_a_mangum_handler_streams_to_a_rest_api_and_buffers_for_other_events(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        from fastapi import FastAPI, Request
        from fastapi.responses import StreamingResponse
        from mangum import Mangum
        fast = FastAPI()
        @fast.post("/v1/chat")
        async def chat(request: Request):
            text = (await request.json())["text"]
            async def parts():
                for part in text:
                    yield part
            return StreamingResponse(parts(), media_type="text/event-stream")
        handler = Mangum(fast, lifespan="off")
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event | {"body": '{"text": ["a", "b"]}'}))
    assert invocation.prelude["headers"] == {"content-type": "text/event-stream; charset=utf-8"}
    assert [chunk.data for chunk in invocation.chunks] == [b"a", b"b"]
    event = rest_event | {"body": '{"text": ["a", "b"]}', "version": "1.0"}
    whole = json.loads(api.wait_until_finished(api.queue_event(event)).payload)
    assert (whole["statusCode"], whole["body"], whole["isBase64Encoded"]) == (200, "ab", False)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-A", b"1")], {"headers": {"x-a": "1"}}),
        ([(b"x-a", b"")], {"headers": {"x-a": ""}}),
        ([(b"x-a", b"1"), (b"X-A", b"2")], {"headers": {}, "multiValueHeaders": {"x-a": ["1", "2"]}}),
        (
            [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2; Path=/")],
            {"headers": {}, "cookies": ["a=1", "b=2; Path=/"]},
        ),
        ([(b"set-cookie", b"a=1")], {"headers": {}, "cookies": ["a=1"]}),
        ([(b"x-a", "é".encode("latin-1"))], {"headers": {"x-a": "é"}}),
        ([(b"x-a", b"\0" * 9 + b"\xff")], {"headers": {"x-a": "\0" * 9 + "ÿ"}}),
        ([(b"content-length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"x", b"1")], {"headers": {"x": "1"}}),
        ([(b"connection", b"close"), (b"keep-alive", b"timeout=5"), (b"upgrade", b"h2c")], {"headers": {}}),
        ([(b"te", b"trailers"), (b"trailer", b"x"), (b"proxy-authenticate", b"Basic")], {"headers": {}}),
        ([], {"headers": {}}),
    ],
)
def test_the_prelude_contains_the_status_and_the_apps_end_to_end_headers(
    headers: list[tuple[bytes, bytes]], expected: dict[str, Any]
) -> None:
    text, delimiter, rest = prelude(200, headers).partition(bytes(8))
    assert (delimiter, rest) == (bytes(8), b"")
    assert json.loads(text) == {"statusCode": 200, **expected}
    assert text.isascii()


def test_headers_that_are_too_large_for_api_gateway_are_rejected_when_the_app_starts(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            try:
                await start(send, 200, [(b"x-huge", b"h" * 16384)])
            except ValueError as error:
                await start(send, 500, [(b"x-large", b"h" * 16300)])
                await body(send, str(error).encode(), more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert invocation.prelude["statusCode"] == 500
    assert invocation.payload.startswith(b"the headers take 164")

"""What the Runtime API gets of an ASGI app's answer, and when."""

import json
from typing import Any

import pytest

from sekha_llm_bridge.lambda_runtime.asgi import prelude
from sekha_llm_bridge.lambda_runtime.response import answered_status
from tests.fakes.runtime_api import FakeRuntimeApi, Manners, reply
from tests.unit.lambda_runtime.conftest import Runtime

ECHO = """
async def app(scope, receive, send):
    request = await receive()
    await start(send)
    await body(send, request["body"], more=False)
handler = Wrapped(app)
"""


def test_the_whole_of_a_streamed_response_is_these_bytes(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 201)
            await body(send, b"one")
            await body(send, b"two", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
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


def test_each_chunk_arrives_before_the_app_goes_on(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            for number in range(3):
                await body(send, b"chunk %d" % number)
                await gate()
            await body(send, b"", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.offer(rest_event)
    for count in (1, 2, 3):
        api.wait_for_chunks(invocation, count)
        assert [chunk.data for chunk in invocation.chunks] == [b"chunk 0", b"chunk 1", b"chunk 2"][:count]
        assert not invocation.settled
        runtime.go_on()
    api.wait_until_settled(invocation)


def test_status_and_headers_go_out_with_an_empty_first_message(
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
    invocation = api.offer(rest_event)
    api.wait_for(lambda: invocation.prelude, "the prelude")
    assert invocation.prelude["statusCode"] == 202
    runtime.go_on()
    assert api.wait_until_settled(invocation).payload == b"late"


def test_nothing_goes_out_before_the_first_of_the_body(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 500)
            await start(send, 200)
            print("started")
            await gate()
            await body(send, b"text", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.offer(rest_event)
    runtime.wait_for_log("started")
    assert api.calls == ["invocation/next"]
    runtime.go_on()
    assert api.wait_until_settled(invocation).prelude["statusCode"] == 200


GATED = """
async def app(scope, receive, send):
    await gate()
    await start(send)
    await body(send, b"text", more=False)
handler = Wrapped(app)
"""


def test_the_connection_is_there_before_the_app_has_anything_to_send(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(GATED)
    invocation = api.offer(rest_event)
    api.wait_for_call("invocation/next")
    api.wait_for(lambda: api.idle, "the connection")
    assert api.calls == ["invocation/next"]
    runtime.go_on()
    api.wait_until_settled(invocation)


def test_a_connection_closed_for_being_idle_is_made_anew(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(GATED)
    invocation = api.offer(rest_event)
    api.wait_for_call("invocation/next")
    api.wait_for(lambda: api.idle, "the connection")
    api.close_idle()
    runtime.go_on()
    assert api.wait_until_settled(invocation).payload == b"text"


def test_10_000_chunks_arrive_in_order_each_its_own(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            for number in range(10_000):
                await body(send, b"%d" % number)
            await body(send, b"", more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
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
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert [chunk.data for chunk in invocation.chunks[:-1]] == [bytes([byte]) for byte in "é🚣".encode()]
    assert invocation.payload.decode() == "é🚣!"


def test_an_answer_without_a_body_has_a_prelude_alone(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send, 204, ())
            await send({"type": "http.response.body"})
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert (invocation.prelude, invocation.payload) == ({"statusCode": 204, "headers": {}}, b"")


def test_what_the_app_does_after_its_last_message_is_done_before_the_end(
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
    invocation = api.offer(rest_event)
    api.wait_for_chunks(invocation, 1)
    assert not invocation.settled
    runtime.go_on()
    api.wait_until_settled(invocation)
    assert runtime.log == "metric"


def test_the_body_comes_first_and_the_disconnect_once_the_answer_is_complete(
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
    api.wait_until_settled(api.offer(rest_event | {"body": "aGk=", "isBase64Encoded": True}))
    gone = {"type": "http.disconnect"}
    assert runtime.log == f"{ {'type': 'http.request', 'body': b'hi', 'more_body': False} } {gone} {gone}\n"


def test_many_invocations_are_served_on_one_event_loop_and_one_kept_connection(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        mine = asyncio.new_event_loop()
        asyncio.set_event_loop(mine)
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"")  # the runtime's own task, which connects, has done its work by now
            same = asyncio.get_running_loop() is mine
            await body(send, f"{same} {len(asyncio.all_tasks())}".encode(), more=False)
        handler = Wrapped(app)
    """)
    answers = [api.wait_until_settled(api.offer(rest_event)).payload for _ in range(3)]
    assert answers == [b"True 1"] * 3
    api.wait_for_call("invocation/next", 4)
    assert api.calls == ["invocation/next", "invocation/response"] * 3 + ["invocation/next"]


def test_answers_that_arrive_byte_by_byte_are_understood(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(ECHO)
    for text in ("one", "two"):
        invocation = api.offer(rest_event | {"body": text}, manners=Manners(fragments=True), invocation_id="attempt-7")
        assert api.wait_until_settled(invocation).payload == text.encode()


def test_an_answer_counts_once_all_of_it_is_there() -> None:
    whole = reply(202, b'{"status":"OK"}')
    assert {answered_status(whole[:length]) for length in range(len(whole))} == {None}
    assert answered_status(whole) == 202


@pytest.mark.parametrize("text", ["nonsense\r\n\r\n", "HTTP/2 202 OK\r\n\r\n", "HTTP/1.1 two OK\r\n\r\n"])
def test_an_answer_that_is_no_http_has_no_status(text: str) -> None:
    assert answered_status(text.encode()) == 0


def test_a_kept_connection_that_was_closed_is_made_anew(runtime: Runtime, api: FakeRuntimeApi, rest_event: Any) -> None:
    runtime.start(ECHO)
    for event in (rest_event, rest_event, {"whole": True}, rest_event):
        api.wait_until_settled(api.offer(event, manners=Manners(drops_connection=True)))


def test_a_mangum_handler_streams_to_a_rest_api_and_answers_whole_to_anything_else(
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
    invocation = api.wait_until_settled(api.offer(rest_event | {"body": '{"text": ["a", "b"]}'}))
    assert invocation.prelude["headers"] == {"content-type": "text/event-stream; charset=utf-8"}
    assert [chunk.data for chunk in invocation.chunks] == [b"a", b"b"]
    event = rest_event | {"body": '{"text": ["a", "b"]}', "version": "1.0"}
    whole = json.loads(api.wait_until_settled(api.offer(event)).payload)
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
def test_prelude_holds_the_status_and_the_headers_that_are_the_apps(
    headers: list[tuple[bytes, bytes]], expected: dict[str, Any]
) -> None:
    text, delimiter, rest = prelude(200, headers).partition(bytes(8))
    assert (delimiter, rest) == (bytes(8), b"")
    assert json.loads(text) == {"statusCode": 200, **expected}
    assert text.isascii()


def test_headers_that_api_gateway_would_not_find_are_refused_when_the_app_starts(
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
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert invocation.prelude["statusCode"] == 500
    assert invocation.payload.startswith(b"the headers take 164")

"""What the Runtime API is told when an app or a handler fails, and what it is not told."""

import json
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, Manners, reply
from tests.unit.lambda_runtime.conftest import Runtime

SECRET = "sk-do-not-repeat"
RAISES = f'raise LookupError("{SECRET}")'


@pytest.mark.parametrize("before", ["pass", "await start(send)"])
def test_an_app_that_raises_before_its_first_byte_has_no_response(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, before: str
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            {before}
            {RAISES}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event, invocation_id="attempt-7"))
    assert invocation.kind == "error"
    assert invocation.fault["errorType"] == invocation.sent["lambda-runtime-function-error-type"] == "LookupError"
    assert invocation.fault["errorMessage"].startswith("The handler failed: LookupError at app.py:")
    assert invocation.fault["stackTrace"] == []
    api.wait_for_call("invocation/next", 2)
    api.wait_for_call("")  # the connection that was not needed is closed


def test_an_app_that_raises_after_its_first_byte_ends_with_trailers(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"some")
            try:
                {RAISES}
            except LookupError as error:
                raise RuntimeError("{SECRET}") from error
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert (invocation.kind, invocation.payload) == ("streamed", b"some")
    assert invocation.trailers["lambda-runtime-function-error-type"] == "RuntimeError"
    assert invocation.fault["errorType"] == "RuntimeError"
    assert " <- LookupError at app.py:" in invocation.fault["errorMessage"]
    api.wait_for_call("invocation/next", 2)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ("pass", "error"),
        ("await start(send)", "error"),
        ("await start(send); await body(send, b'some')", "streamed"),
        ("await body(send, b'some')", "error"),
        ("await start(send); await body(send, b'some'); await start(send)", "streamed"),
        ("await start(send); await body(send, b'', more=False); await body(send, b'more')", "streamed"),
        ("raise asyncio.CancelledError", "error"),
    ],
)
def test_an_app_that_does_not_keep_to_asgi_has_failed(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, steps: str, kind: str
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            {steps}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert (invocation.kind, bool(invocation.fault["errorType"])) == (kind, True)
    api.wait_for_call("invocation/next", 2)


def test_a_handler_that_raises_has_no_response(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(f"""
        def handler(event, context):
            {RAISES}
    """)
    invocation = api.wait_until_settled(api.offer({"a": 1}))
    assert (invocation.kind, invocation.fault["errorType"]) == ("error", "LookupError")


def test_an_endless_recursion_makes_no_endless_report(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: handler(event, context)")
    invocation = api.wait_until_settled(api.offer({}))
    assert invocation.fault["errorType"] == "RecursionError"
    assert invocation.fault["errorMessage"].count("app.py") == 16


def test_a_failure_is_one_line_of_the_log_with_the_request_and_without_the_message(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"some")
            {RAISES}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
    line = json.loads(runtime.log)
    assert (line["level"], line["function_request_id"]) == ("ERROR", invocation.request_id)
    assert line["message"].startswith("LookupError: The handler failed: LookupError at app.py:")
    assert SECRET not in runtime.log + invocation.raw.decode() + str(invocation.fault)


@pytest.mark.parametrize("answer", ["{1, 2}", "object()", "'\\ud800'", "{(1,): 1}"])
def test_an_answer_that_is_no_json_is_a_marshal_error(runtime: Runtime, api: FakeRuntimeApi, answer: str) -> None:
    runtime.start(f"handler = lambda event, context: {answer}")
    invocation = api.wait_until_settled(api.offer({}))
    assert (invocation.kind, invocation.fault["errorType"]) == ("error", "Runtime.MarshalError")


def test_an_event_that_is_no_json_is_an_unmarshal_error(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: 1")
    invocation = api.wait_until_settled(api.offer(None, raw=b"{"))
    assert invocation.fault["errorType"] == "Runtime.UnmarshalError"


def test_a_client_context_that_is_no_json_is_reported(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: 1")
    invocation = api.wait_until_settled(api.offer({}, client_context="{"))
    assert invocation.fault["errorType"] == "Runtime.LambdaContextUnmarshalError"


ANSWERS = """
async def app(scope, receive, send):
    await start(send)
    await body(send, b"some", more=False)
handler = Wrapped(app)
"""


@pytest.mark.parametrize("status", [400, 403, 413])
@pytest.mark.parametrize("event", ["rest", "other"])
def test_an_answer_that_is_refused_is_one_line_of_the_log_and_the_next_is_served(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, event: str, status: int
) -> None:
    runtime.start(ANSWERS)
    given = rest_event if event == "rest" else {}
    invocation = api.wait_until_settled(api.offer(given, manners=Manners(refusal=reply(status))))
    api.wait_until_settled(api.offer(given))
    line = json.loads(runtime.log)
    assert line["message"] == f"The response was not taken: the Runtime API answered {status}"
    assert line["function_request_id"] == invocation.request_id
    assert "invocation/error" not in api.calls


@pytest.mark.parametrize("answer", [reply(500), b"nonsense\r\n\r\n"])
@pytest.mark.parametrize("event", ["rest", "other"])
def test_a_runtime_api_that_fails_ends_the_runtime(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, event: str, answer: bytes
) -> None:
    runtime.start(ANSWERS)
    api.offer(rest_event if event == "rest" else {}, manners=Manners(refusal=answer))
    assert runtime.exit_code() == 1
    assert json.loads(runtime.log.splitlines()[0])["message"].startswith("The Runtime API failed: ")


@pytest.mark.parametrize("answer", [reply(500), reply(403), reply(200), b"nonsense", b""])
def test_no_next_event_ends_the_runtime(runtime: Runtime, api: FakeRuntimeApi, answer: bytes) -> None:
    api.next_answer = answer
    runtime.start("handler = lambda event, context: 1")
    assert runtime.exit_code() == 1
    assert json.loads(runtime.log.splitlines()[0])["message"].startswith("The Runtime API failed: ")


def test_a_group_of_exceptions_is_reported_without_its_words_and_the_next_is_served(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            raise BaseExceptionGroup("the prompt", [KeyboardInterrupt()])
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_settled(api.offer(rest_event))
    assert invocation.fault["errorType"] == "BaseExceptionGroup"
    api.wait_until_settled(api.offer(rest_event))
    assert "the prompt" not in runtime.log


def test_what_an_invocation_left_running_cannot_answer_for_the_next(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        late = []
        async def straggle(receive, send):
            await gate()
            with contextlib.suppress(OSError):
                await start(send)
                await body(send, b"late", more=False)
            print((await receive())["type"], (await receive())["type"])
        async def app(scope, receive, send):
            if not late:
                late.append(asyncio.ensure_future(straggle(receive, send)))
                raise ValueError
            await late[0]
            await start(send)
            await body(send, b"second", more=False)
        import contextlib
        handler = Wrapped(app)
    """)
    first = api.wait_until_settled(api.offer(rest_event))
    assert first.kind == "error"
    second = api.offer(rest_event)
    runtime.go_on()
    assert api.wait_until_settled(second).payload == b"second"
    runtime.wait_for_log("http.request http.disconnect")

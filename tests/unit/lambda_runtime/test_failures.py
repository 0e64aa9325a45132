"""Tests of what is reported to the Runtime API, and what is not, when an app or a handler fails."""

import json
from typing import Any

import pytest

from tests.fakes.runtime_api import ApiBehaviour, FakeRuntimeApi, http_response
from tests.unit.lambda_runtime.conftest import Runtime

SECRET = "sk-do-not-repeat"
RAISES = f'raise LookupError("{SECRET}")'


@pytest.mark.parametrize("before", ["pass", "await start(send)"])
def test_an_app_that_raises_before_its_first_byte_is_reported_as_an_error(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, before: str
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            {before}
            {RAISES}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event, invocation_id="attempt-7"))
    assert invocation.kind == "error"
    assert (
        invocation.reported_error["errorType"]
        == invocation.response_headers["lambda-runtime-function-error-type"]
        == "LookupError"
    )
    assert invocation.reported_error["errorMessage"].startswith("The handler failed: LookupError at app.py:")
    assert invocation.reported_error["stackTrace"] == []
    api.wait_for_call("invocation/next", 2)
    api.wait_for_call("")  # the unused connection is closed


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
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert (invocation.kind, invocation.payload) == ("streamed", b"some")
    assert invocation.trailers["lambda-runtime-function-error-type"] == "RuntimeError"
    assert invocation.reported_error["errorType"] == "RuntimeError"
    assert " <- LookupError at app.py:" in invocation.reported_error["errorMessage"]
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
def test_an_app_that_violates_asgi_is_reported_as_failed(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, steps: str, kind: str
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            {steps}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert (invocation.kind, bool(invocation.reported_error["errorType"])) == (kind, True)
    api.wait_for_call("invocation/next", 2)


def test_a_handler_that_raises_is_reported_as_an_error(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(f"""
        def handler(event, context):
            {RAISES}
    """)
    invocation = api.wait_until_finished(api.queue_event({"a": 1}))
    assert (invocation.kind, invocation.reported_error["errorType"]) == ("error", "LookupError")


def test_the_report_of_an_endless_recursion_is_limited(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: handler(event, context)")
    invocation = api.wait_until_finished(api.queue_event({}))
    assert invocation.reported_error["errorType"] == "RecursionError"
    assert invocation.reported_error["errorMessage"].count("app.py") == 16


def test_a_failure_is_logged_in_one_line_with_the_request_id_and_without_the_message(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start(f"""
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"some")
            {RAISES}
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    line = json.loads(runtime.log)
    assert (line["level"], line["function_request_id"]) == ("ERROR", invocation.request_id)
    assert line["message"].startswith("LookupError: The handler failed: LookupError at app.py:")
    assert SECRET not in runtime.log + invocation.raw.decode() + str(invocation.reported_error)


@pytest.mark.parametrize("answer", ["{1, 2}", "object()", "'\\ud800'", "{(1,): 1}"])
def test_a_result_that_is_not_json_is_a_marshal_error(runtime: Runtime, api: FakeRuntimeApi, answer: str) -> None:
    runtime.start(f"handler = lambda event, context: {answer}")
    invocation = api.wait_until_finished(api.queue_event({}))
    assert (invocation.kind, invocation.reported_error["errorType"]) == ("error", "Runtime.MarshalError")


def test_an_event_that_is_not_json_is_an_unmarshal_error(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: 1")
    invocation = api.wait_until_finished(api.queue_event(None, raw=b"{"))
    assert invocation.reported_error["errorType"] == "Runtime.UnmarshalError"


def test_a_client_context_that_is_not_json_is_reported(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: 1")
    invocation = api.wait_until_finished(api.queue_event({}, client_context="{"))
    assert invocation.reported_error["errorType"] == "Runtime.LambdaContextUnmarshalError"


ANSWERING_APP = """
async def app(scope, receive, send):
    await start(send)
    await body(send, b"some", more=False)
handler = Wrapped(app)
"""


@pytest.mark.parametrize("status", [400, 403, 413])
@pytest.mark.parametrize("event", ["rest", "other"])
def test_a_rejected_response_is_logged_in_one_line_and_the_next_invocation_is_served(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, event: str, status: int
) -> None:
    runtime.start(ANSWERING_APP)
    given = rest_event if event == "rest" else {}
    invocation = api.wait_until_finished(api.queue_event(given, behaviour=ApiBehaviour(response=http_response(status))))
    api.wait_until_finished(api.queue_event(given))
    line = json.loads(runtime.log)
    assert line["message"] == f"The response was not taken: the Runtime API answered {status}"
    assert line["function_request_id"] == invocation.request_id
    assert "invocation/error" not in api.calls


@pytest.mark.parametrize("answer", [http_response(500), b"nonsense\r\n\r\n"])
@pytest.mark.parametrize("event", ["rest", "other"])
def test_a_runtime_api_that_fails_ends_the_runtime(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, event: str, answer: bytes
) -> None:
    runtime.start(ANSWERING_APP)
    api.queue_event(rest_event if event == "rest" else {}, behaviour=ApiBehaviour(response=answer))
    assert runtime.exit_code() == 1
    assert json.loads(runtime.log.splitlines()[0])["message"].startswith("The Runtime API failed: ")


@pytest.mark.parametrize("answer", [http_response(500), http_response(403), http_response(200), b"nonsense", b""])
def test_a_failed_request_for_the_next_event_ends_the_runtime(
    runtime: Runtime, api: FakeRuntimeApi, answer: bytes
) -> None:
    api.next_response = answer
    runtime.start("handler = lambda event, context: 1")
    assert runtime.exit_code() == 1
    assert json.loads(runtime.log.splitlines()[0])["message"].startswith("The Runtime API failed: ")


def test_an_exception_group_is_reported_without_its_message_and_the_next_invocation_is_served(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            raise BaseExceptionGroup("the prompt", [KeyboardInterrupt()])
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert invocation.reported_error["errorType"] == "BaseExceptionGroup"
    api.wait_until_finished(api.queue_event(rest_event))
    assert "the prompt" not in runtime.log


def test_a_task_of_an_ended_invocation_cannot_send_a_response_to_the_next(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        late = []
        async def answer_late(receive, send):
            await gate()
            with contextlib.suppress(OSError):
                await start(send)
                await body(send, b"late", more=False)
            print((await receive())["type"], (await receive())["type"])
        async def app(scope, receive, send):
            if not late:
                late.append(asyncio.ensure_future(answer_late(receive, send)))
                raise ValueError
            await late[0]
            await start(send)
            await body(send, b"second", more=False)
        import contextlib
        handler = Wrapped(app)
    """)
    first = api.wait_until_finished(api.queue_event(rest_event))
    assert first.kind == "error"
    second = api.queue_event(rest_event)
    runtime.open_gate()
    assert api.wait_until_finished(second).payload == b"second"
    runtime.wait_for_log("http.request http.disconnect")

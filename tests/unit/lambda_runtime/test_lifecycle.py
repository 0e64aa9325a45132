"""Tests of the runtime process: loading the handler, SnapStart hooks, events, responses and logging."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi
from tests.unit.lambda_runtime.conftest import Runtime

HOOKED = """
import snapshot_restore_py as snapshot
snapshot.register_before_snapshot(lambda text: print("before", text), "1")
snapshot.register_before_snapshot(lambda text: print("before", text), text="2")
snapshot.register_after_restore(lambda text: print("after", text), "1")
snapshot.register_after_restore(lambda text: print("after", text), text="2")
handler = lambda event, context: print("invoked")
"""


@pytest.mark.parametrize(
    ("source", "handler", "error_type"),
    [
        ("import no_such_module", "app.handler", "Runtime.ImportModuleError"),
        ("", "another.handler", "Runtime.ImportModuleError"),
        ("", "app.handler", "Runtime.HandlerNotFound"),
        ("handler = (", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("", "handler", "Runtime.MalformedHandlerName"),
        ("", "sys.exit", "Runtime.BuiltInModuleConflict"),
        ("raise ValueError('no table')", "app.handler", "ValueError"),
        ("None.table", "app.handler", "AttributeError"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_reported_and_ends_the_process(
    runtime: Runtime, api: FakeRuntimeApi, source: str, handler: str, error_type: str
) -> None:
    runtime.start(source, handler=handler)
    assert runtime.exit_code() == 1
    headers, report = api.reports["init/error"]
    assert api.calls == ["init/error"]
    assert headers["lambda-runtime-function-error-type"] == report["errorType"] == error_type
    assert report["errorMessage"]
    line = json.loads(runtime.log.splitlines()[0])
    assert (line["level"], line["message"]) == ("ERROR", f"{error_type}: {report['errorMessage']}")


def test_an_init_failure_is_reported_with_its_message_and_stack_trace(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("raise ValueError('no table')")
    assert runtime.exit_code() == 1
    _, report = api.reports["init/error"]
    assert report["errorMessage"] == "no table"
    assert "raise ValueError('no table')" in report["stackTrace"][-1]


def test_no_garbage_is_collected_while_the_handler_is_loaded(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(
        """
        import gc
        loading = [gc.isenabled(), sum(each["collections"] for each in gc.get_stats())]
        objects = [[] for _ in range(100_000)]
        loading.append(sum(each["collections"] for each in gc.get_stats()) - loading.pop())
        def handler(event, context):
            return {"loading": loading, "serving": gc.isenabled(), "kept": gc.get_freeze_count() > len(objects)}
    """,
    )
    payload = json.loads(api.wait_until_finished(api.queue_event({})).payload)
    assert payload == {"loading": [False, 0], "serving": True, "kept": True}


def test_a_handler_in_a_folder_is_found(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: 'found'", handler="deep/er/app.handler", file="deep/er/app.py")
    assert api.wait_until_finished(api.queue_event({})).payload == b'"found"'


def test_snapshot_hooks_run_in_the_same_order_as_in_lambdas_runtime(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(HOOKED, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    api.wait_for_call("restore/next")
    assert runtime.log == "before 2\nbefore 1\n"
    api.complete_restore()
    api.wait_until_finished(api.queue_event({}))
    assert runtime.log == "before 2\nbefore 1\nafter 1\nafter 2\ninvoked\n"
    assert api.calls[:2] == ["restore/next", "invocation/next"]


def test_no_hook_runs_without_snapstart(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(HOOKED, AWS_LAMBDA_INITIALIZATION_TYPE="on-demand")
    api.wait_until_finished(api.queue_event({}))
    assert runtime.log == "invoked\n"


@pytest.mark.parametrize("failure", ["raise ValueError('late')", "sys.exit(3)"])
def test_a_hook_that_fails_before_the_snapshot_prevents_it(runtime: Runtime, api: FakeRuntimeApi, failure: str) -> None:
    runtime.start(
        f"""
        import snapshot_restore_py
        @snapshot_restore_py.register_before_snapshot
        def fail():
            {failure}
        handler = print
    """,
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
    )
    assert runtime.exit_code() == 64
    assert api.calls == ["init/error"]
    assert api.reports["init/error"][0]["lambda-runtime-function-error-type"] == "Runtime.BeforeSnapshotError"


def test_a_hook_that_fails_after_the_restore_is_reported(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(
        """
        import snapshot_restore_py
        @snapshot_restore_py.register_after_restore
        def fail():
            raise ValueError("no secrets")
        handler = print
    """,
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
    )
    api.complete_restore()
    assert runtime.exit_code() == 65
    assert api.calls == ["restore/next", "restore/error"]
    headers, report = api.reports["restore/error"]
    assert headers["lambda-runtime-function-error-type"] == "Runtime.AfterRestoreError"
    assert (report["errorType"], report["errorMessage"]) == ("ValueError", "no secrets")


def test_the_trace_id_variable_is_set_per_invocation(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: os.environ.get('_X_AMZN_TRACE_ID')")
    traced = api.wait_until_finished(api.queue_event({}, trace_id="Root=1-2;Sampled=1"))
    untraced = api.wait_until_finished(api.queue_event({}))
    assert (traced.payload, untraced.payload) == (b'"Root=1-2;Sampled=1"', b"null")


def test_the_apps_scope_contains_the_event_and_the_context(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any
) -> None:
    runtime.start("""
        async def app(scope, receive, send):
            await start(send)
            context = scope["aws.context"]
            found = [context.aws_request_id, context.function_name, context.get_remaining_time_in_millis() > 0]
            await body(send, json.dumps([*found, scope["aws.event"]]).encode(), more=False)
        handler = Wrapped(app)
    """)
    invocation = api.wait_until_finished(api.queue_event(rest_event))
    assert json.loads(invocation.payload) == [invocation.request_id, "chat", True, rest_event]


@pytest.mark.parametrize(
    ("answer", "body", "content_type"),
    [
        ("'é🚣'", '"é🚣"', "application/json"),
        ("b'\\xff\\0'", b"\xff\0", "application/unknown"),
        ("__import__('decimal').Decimal('1.5')", "1.5", "application/json"),
        ("None", "null", "application/json"),
    ],
)
def test_a_buffered_response_is_marshalled_as_in_lambdas_runtime(
    runtime: Runtime, api: FakeRuntimeApi, answer: str, body: str | bytes, content_type: str
) -> None:
    runtime.start(f"handler = lambda event, context: {answer}")
    invocation = api.wait_until_finished(api.queue_event({}, invocation_id="attempt-7"))
    assert (invocation.kind, invocation.response_headers["content-type"]) == ("buffered", content_type)
    assert invocation.payload == (body.encode() if isinstance(body, str) else body)


def test_an_event_without_a_json_content_type_is_passed_as_bytes(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("handler = lambda event, context: repr(event)")
    event = api.queue_event(None, raw=b"\xff", content_type="application/octet-stream")
    assert api.wait_until_finished(event).payload == b"\"b'\\\\xff'\""


@pytest.mark.parametrize("missing", ["resource", "requestContext", "httpMethod"])
def test_an_event_that_is_not_a_rest_event_gets_a_buffered_response(
    runtime: Runtime, api: FakeRuntimeApi, rest_event: Any, missing: str
) -> None:
    runtime.start("handler = Wrapped(None)")
    del rest_event[missing]
    assert api.wait_until_finished(api.queue_event(rest_event)).kind == "buffered"


def test_a_log_line_has_the_time_and_the_request_id(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start("""
        import logging
        def handler(event, context):
            logging.getLogger("library").info("not %s", "so loud")
            logging.getLogger("library").warning("a %s", "warning")
    """)
    invocation = api.wait_until_finished(api.queue_event({}))
    level, time, request_id, message = runtime.log.split("\t")
    assert (level, request_id, message) == ("[WARNING]", invocation.request_id, "a warning\n")
    assert len(time) == len("2026-01-01T00:00:00.000Z")


def test_the_log_level_is_taken_from_lambdas_setting(runtime: Runtime, api: FakeRuntimeApi) -> None:
    runtime.start(
        """
        import logging
        handler = lambda event, context: logging.debug("fine")
    """,
        AWS_LAMBDA_LOG_LEVEL="TRACE",
    )
    api.wait_until_finished(api.queue_event({}))
    assert "fine" in runtime.log


def test_the_runtime_loop_imports_only_the_standard_library(
    runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path
) -> None:
    runtime.start(
        """
        def handler(event, context):
            files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
            return [file for file in files if "site-packages" in file]
    """,
    )
    assert json.loads(api.wait_until_finished(api.queue_event({})).payload) == []

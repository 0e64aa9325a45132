"""The outermost layer: one log line for each request, whatever becomes of it and of its caller."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from sekha_llm_bridge.api.middleware import RequestMiddleware


class Live:
    """A bridge that needs no secret."""

    taken_over = bridge = None

    @property
    def live(self) -> "Live":
        return self

    async def before_request(self, *, uses_models: bool) -> None:
        assert uses_models


Send = Callable[[dict[str, Any]], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": []}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def logged(app: Any, log: StringIO, *, leaves_after: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The log line of one request, and what was sent to a caller who leaves after so many messages."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if leaves_after is not None and len(sent) >= leaves_after:
            raise OSError("gone")
        sent.append(dict(message))

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "app": SimpleNamespace(state=Live())}
    asyncio.run(RequestMiddleware(app)(scope, receive, send))  # type: ignore[arg-type]  # messages are dicts here
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if '"message":"request"' in line]
    return line, sent


async def fails_at_once(_scope: Any, _receive: Any, _send: Send) -> None:
    raise ValueError("the prompt")


async def fails_in_the_middle(_scope: Any, _receive: Any, send: Send) -> None:
    await send(dict(START))
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    raise ValueError("the prompt")


async def answers(_scope: Any, _receive: Any, send: Send) -> None:
    await send(dict(START))
    await send({"type": "http.response.body", "body": b"x", "more_body": False})


def test_an_unexpected_error_before_the_response_is_a_500_and_is_logged(log: StringIO) -> None:
    line, sent = logged(fails_at_once, log)
    assert (line["level"], line["status"], line["error"]) == ("WARNING", 500, "internal_error")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_an_unexpected_error_in_the_middle_of_a_response_starts_no_second_one(log: StringIO) -> None:
    line, sent = logged(fails_in_the_middle, log)
    assert (line["level"], line["status"], line["error"]) == ("WARNING", 200, "internal_error")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("leaves_after", [0, 1])
def test_a_client_disconnect_is_not_logged_as_a_failure(log: StringIO, leaves_after: int) -> None:
    line, _ = logged(answers, log, leaves_after=leaves_after)
    assert (line["level"], line["error"]) == ("INFO", "caller_gone")


def test_an_unexpected_error_after_a_client_disconnect_is_logged(log: StringIO) -> None:
    line, sent = logged(fails_at_once, log, leaves_after=0)
    assert (line["path"], sent) == ("/x", [])
    assert "the prompt" not in log.getvalue()


def test_what_a_caller_puts_into_a_variable_of_a_path_is_not_logged(log: StringIO) -> None:
    async def answers(_scope: Any, _receive: Any, send: Send) -> None:
        await send(dict(START))
        await send({"type": "http.response.body", "body": b""})

    for resource, path, logged_path in (
        ("/v1/models/{model+}", "/v1/models/sk-sekha-secret", "/v1/models/{model+}"),
        ("/{proxy+}", "/tell me a secret", "/{proxy+}"),
        ("/v1/models", "/v1/models", "/v1/models"),
    ):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "aws.event": {"resource": resource}}

        async def send(_message: dict[str, Any]) -> None:
            return None

        asyncio.run(RequestMiddleware(answers)(scope, receive, send))  # type: ignore[arg-type]  # messages are dicts here
        line = json.loads([line for line in log.getvalue().splitlines() if '"message":"request"' in line][-1])
        assert line["path"] == logged_path
        assert "secret" not in log.getvalue()

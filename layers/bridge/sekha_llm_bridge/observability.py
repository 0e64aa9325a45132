"""One structured log line for each request, by Powertools' Logger. Never a prompt, never a key."""

import logging
import traceback
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    """The one logger; service and level come from the POWERTOOLS_* environment."""
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from 3.12 on; a task's name says nothing here
    return Logger(utc=True, location=None)


def where(exc: BaseException) -> str:
    """The kinds of an exception chain and the places it passed, without messages, which may quote a prompt or a key."""
    parts = []
    cause: BaseException | None = exc
    while cause is not None:
        places = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(cause.__traceback__))
        )
        parts.append(f"{type(cause).__name__} at {places}")
        cause = cause.__cause__
    return " <- ".join(parts)


def log_request(fields: dict[str, Any], *, failed: bool) -> None:
    """The line that says what one request came to; a warning when it came to nothing."""
    say = logger().warning if failed else logger().info
    say("request", extra=fields)

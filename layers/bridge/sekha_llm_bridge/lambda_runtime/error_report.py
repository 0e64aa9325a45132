"""Error reports for the Runtime API.

A handler's exception is reported by its type and its code locations, never by its message, which may quote a prompt or
a key.
"""

import base64
import json
import traceback
from dataclasses import dataclass

_FRAMES = 16  # the innermost ones; an endless recursion would have too many


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An error as the Runtime API takes it. `type` is the name of an exception, or one of Lambda's (`Runtime.…`)."""

    type: str
    message: str
    stack_trace: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """The type, as a header value."""
        return self.type.encode("ascii", "replace").decode()

    def json(self) -> bytes:
        """Returns the body of the report."""
        report = {"errorMessage": self.message, "errorType": self.type, "stackTrace": self.stack_trace}
        return json.dumps(report).encode()

    def trailers(self) -> bytes:
        """Returns the trailers that end a response which had already begun."""
        body = base64.b64encode(self.json()).decode()
        lines = (f"Lambda-Runtime-Function-Error-Type: {self.header}", f"Lambda-Runtime-Function-Error-Body: {body}")
        return "".join(f"{line}\r\n" for line in lines).encode()


class ReportableError(Exception):
    """An error whose type and message may be reported as they are."""

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report.message)
        self.report = report


def init_error_report(exc: BaseException) -> ErrorReport:
    """Returns the report of an error in the init phase. It has the message, because there was no request to quote."""
    if isinstance(exc, ReportableError):
        return exc.report
    return ErrorReport(type(exc).__name__, str(exc), tuple(traceback.format_tb(exc.__traceback__)))


def handler_error_report(exc: BaseException) -> ErrorReport:
    """Returns the report of an error in an invocation."""
    if isinstance(exc, ReportableError):
        return exc.report
    return ErrorReport(type(exc).__name__, f"The handler failed: {error_locations(exc)}")


def error_locations(exc: BaseException) -> str:
    """Returns the types of an exception and its causes, each with its code locations, innermost first."""
    frames = reversed(traceback.extract_tb(exc.__traceback__, limit=-_FRAMES))
    lines = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
    here = f"{type(exc).__name__} at {lines}"
    return f"{here} <- {error_locations(exc.__cause__)}" if exc.__cause__ is not None else here

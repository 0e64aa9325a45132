"""What a failure is reported as to the Runtime API.

A handler's exception is reported by its kind and the places it passed, never by its message: that may quote a prompt or
a key.
"""

import base64
import json
import traceback
from dataclasses import dataclass

_FRAMES = 16  # innermost; an endless recursion would fill the report


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure in the Runtime API's terms. `type` is an exception's name, or one of Lambda's (`Runtime.…`)."""

    type: str
    message: str
    stack_trace: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """The type as a header can hold it."""
        return self.type.encode("ascii", "replace").decode()

    def json(self) -> bytes:
        """The body of an error report."""
        report = {"errorMessage": self.message, "errorType": self.type, "stackTrace": self.stack_trace}
        return json.dumps(report).encode()

    def trailers(self) -> bytes:
        """What ends a response that had begun when the failure came."""
        body = base64.b64encode(self.json()).decode()
        lines = (f"Lambda-Runtime-Function-Error-Type: {self.header}", f"Lambda-Runtime-Function-Error-Body: {body}")
        return "".join(f"{line}\r\n" for line in lines).encode()


class FaultError(Exception):
    """A failure that already has a name of Lambda's and a message fit to be shown."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def init_fault(exc: BaseException) -> Fault:
    """What failed while there was no request yet, so that nothing of one can be in the message."""
    if isinstance(exc, FaultError):
        return exc.fault
    return Fault(type(exc).__name__, str(exc), tuple(traceback.format_tb(exc.__traceback__)))


def handler_fault(exc: BaseException) -> Fault:
    """What failed in an invocation."""
    if isinstance(exc, FaultError):
        return exc.fault
    return Fault(type(exc).__name__, f"The handler failed: {places(exc)}")


def places(exc: BaseException) -> str:
    """The kinds of an exception and its causes, each with the lines it passed, innermost first."""
    frames = reversed(traceback.extract_tb(exc.__traceback__, limit=-_FRAMES))
    passed = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
    here = f"{type(exc).__name__} at {passed}"
    return f"{here} <- {places(exc.__cause__)}" if exc.__cause__ is not None else here

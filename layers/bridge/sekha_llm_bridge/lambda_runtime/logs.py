"""The function's log, which is standard output: the runtime's own lines, and those of the `logging` module."""

import io
import json
import logging
import sys
import time
from collections.abc import Mapping

from sekha_llm_bridge.lambda_runtime.error_report import ErrorReport

_LINE = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"


class RequestId(logging.Filter):
    """Adds the current invocation's id to every record of `logging`."""

    current = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        record.aws_request_id = self.current
        return True


def configure_logging(environment: Mapping[str, str]) -> RequestId:
    """Makes the root logger write as under Lambda's own runtime, and standard output line-buffered."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    formatter = logging.Formatter(_LINE, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    request_id = RequestId()
    handler.addFilter(request_id)
    logging.root.addHandler(handler)
    level = environment.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
    if level in logging.getLevelNamesMapping():
        logging.root.setLevel(level)
    return request_id


def log_error_report(report: ErrorReport, request_id: str = "") -> None:
    """Writes one line; for an error in the init phase it has the stack trace."""
    trace = {"stack_trace": report.stack_trace} if report.stack_trace else {}
    log("ERROR", f"{report.type}: {report.message}", request_id, **trace)


def log(level: str, message: str, request_id: str = "", **fields: object) -> None:
    """Writes one JSON line and flushes it."""
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"level": level, "message": message, "timestamp": timestamp, "function_request_id": request_id, **fields}
    print(json.dumps(line), flush=True)  # noqa: T201 — Lambda's log is standard output


def flush() -> None:
    """Flushes the output before an invocation ends, because the environment may be frozen afterwards."""
    sys.stdout.flush()
    sys.stderr.flush()

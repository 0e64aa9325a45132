"""The function's log, which is standard output: the runtime's own lines, and where the `logging` module's go."""

import io
import json
import logging
import sys
import time
from collections.abc import Mapping

from sekha_llm_bridge.lambda_runtime.faults import Fault

_LINE = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"


class RequestId(logging.Filter):
    """Puts the current invocation's id on every record of `logging`."""

    current = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        record.aws_request_id = self.current
        return True


def set_up(environment: Mapping[str, str]) -> RequestId:
    """Makes the root logger write as under Lambda's own runtime, and every line go out when it ends."""
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


def log_fault(fault: Fault, request_id: str = "") -> None:
    """One line; of a failure to start it also says where."""
    trace = {"stack_trace": fault.stack_trace} if fault.stack_trace else {}
    log("ERROR", f"{fault.type}: {fault.message}", request_id, **trace)


def log(level: str, message: str, request_id: str = "", **fields: object) -> None:
    """One JSON line, out at once."""
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"level": level, "message": message, "timestamp": timestamp, "function_request_id": request_id, **fields}
    print(json.dumps(line), flush=True)  # noqa: T201 — Lambda's log is standard output


def flush() -> None:
    """What an invocation wrote is out before its end: after it, the environment may be frozen."""
    sys.stdout.flush()
    sys.stderr.flush()

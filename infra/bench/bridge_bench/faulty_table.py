"""A local DynamoDB server with a state table that fails in the way that the benchmark or test chooses."""

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from local_stack.aws_server import one_at_a_time

_StartResponse = Callable[..., Any]
_MAX_HANG_S = 30.0  # longer than any client's timeout


class TableFault(StrEnum):
    """How the table fails. An unreachable table closes the connection without an answer."""

    NONE = "none"
    THROTTLED = "throttled"
    FAILING = "failing"
    HANGING = "hanging"
    UNREACHABLE = "unreachable"


_ERRORS = {
    TableFault.THROTTLED: ("400 Bad Request", "ProvisionedThroughputExceededException"),
    TableFault.FAILING: ("500 Internal Server Error", "InternalServerError"),
}


class _Handler(WSGIRequestHandler):
    """Keeps connections open, sends without delay, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""


class FaultyTable:
    """DynamoDB with one table that has the fault `fault`. `received_actions` are the actions that it has received."""

    def __init__(self) -> None:
        self.name = f"state-{secrets.token_hex(4)}"  # moto keeps one state for the whole process
        self.fault = TableFault.NONE
        self.received_actions: list[str] = []
        self._released = threading.Event()
        self._moto = one_at_a_time(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  # the threaded server has it; a hanging thread must not block the exit
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def set_fault(self, fault: TableFault) -> None:
        """Sets the fault of all following requests, and releases those that hang."""
        self._released.set()
        self._released = threading.Event()
        self.fault = fault

    def close(self) -> None:
        """Stops the server."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        self.received_actions.append(environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2])
        fault = self.fault
        if fault is TableFault.HANGING:
            self._released.wait(_MAX_HANG_S)
        if fault in {TableFault.HANGING, TableFault.UNREACHABLE}:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if fault in _ERRORS:
            return _error_response(start_response, *_ERRORS[fault])
        return self._moto(environ, start_response)


def _error_response(start_response: _StartResponse, status: str, kind: str) -> Iterable[bytes]:
    content = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "not now"}).encode()
    start_response(status, [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(content)))])
    return [content]


@contextmanager
def faulty_table() -> Iterator[FaultyTable]:
    """Yields a table without a fault. Sets the AWS environment variables to it until the context ends."""
    table = FaultyTable()
    variables = {
        "AWS_ENDPOINT_URL_DYNAMODB": table.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "STATE_TABLE": table.name,
    }
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        boto3.client("dynamodb", region_name="us-east-1").create_table(
            TableName=table.name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        )
        table.received_actions.clear()
        yield table
    finally:
        table.close()
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

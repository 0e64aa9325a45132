"""The state table on loopback, which fails as the benchmark or the test chooses."""

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
_ENOUGH_S = 30.0  # to hang: longer than anybody waits


class Trouble(StrEnum):
    """What is the matter with it."""

    NONE = "none"
    THROTTLED = "throttled"
    FAILING = "failing"
    HANGING = "hanging"
    GONE = "gone"


_REFUSALS = {
    Trouble.THROTTLED: ("400 Bad Request", "ProvisionedThroughputExceededException"),
    Trouble.FAILING: ("500 Internal Server Error", "InternalServerError"),
}


class _Handler(WSGIRequestHandler):
    """Keeps connections, sends at once, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


class TroubledTable:
    """DynamoDB with one table that behaves as `trouble` says; `asked` has the actions that reached it."""

    def __init__(self) -> None:
        self.name = f"state-{secrets.token_hex(4)}"  # moto has one memory for the whole process
        self.trouble = Trouble.NONE
        self.asked: list[str] = []
        self._healed = threading.Event()
        self._moto = one_at_a_time(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  # the threaded server has it; nobody waits for what hangs
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def get_into(self, trouble: Trouble) -> None:
        """From now on, until the next; what hangs is let go."""
        self._healed.set()
        self._healed = threading.Event()
        self.trouble = trouble

    def close(self) -> None:
        """Ends the server."""
        self._healed.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        self.asked.append(environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2])
        trouble = self.trouble
        if trouble is Trouble.HANGING:
            self._healed.wait(_ENOUGH_S)
        if trouble in {Trouble.HANGING, Trouble.GONE}:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if trouble in _REFUSALS:
            return _refused(start_response, *_REFUSALS[trouble])
        return self._moto(environ, start_response)


def _refused(start_response: _StartResponse, status: str, kind: str) -> Iterable[bytes]:
    content = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "not now"}).encode()
    start_response(status, [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(content)))])
    return [content]


@contextmanager
def troubled_table() -> Iterator[TroubledTable]:
    """A table that is well at first; the environment leads to it meanwhile."""
    table = TroubledTable()
    lent = {
        "AWS_ENDPOINT_URL_DYNAMODB": table.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "STATE_TABLE": table.name,
    }
    before = {name: os.environ.get(name) for name in lent}
    os.environ.update(lent)
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
        table.asked.clear()
        yield table
    finally:
        table.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

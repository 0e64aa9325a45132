"""DynamoDB and SQS on loopback, by moto. Every request is recorded.

moto's operations are not atomic, so a lock admits only one request at a time.
"""

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_sqs import SQSClient
from werkzeug.serving import WSGIRequestHandler, make_server

from local_stack.aws_server import one_at_a_time
from local_stack.template_reader import read_template
from sekha_llm_bridge.aws.state_table import ItemKey

REGION = "us-east-1"
_TEMPLATE = Path(__file__).parents[2] / "template.yaml"
_TABLES = {table.logical_id: table for table in read_template(_TEMPLATE).tables}
_QUEUES = {
    queue.logical_id: replace(
        queue, attributes={name: value for name, value in queue.attributes.items() if name != "RedrivePolicy"}
    )
    for queue in read_template(_TEMPLATE).queues
}
TTL_ATTRIBUTE = _TABLES["StateTable"].ttl_attribute
"""The name of the state table's TTL attribute in the template."""

_CALLER = re.compile(r"Credential=([^/]*)/[^/]*/[^/]*/([^/]*)/")
_numbers = count()


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request and its answer. `at_s` is the monotonic time after its execution; `caller` is the access key's id,
    and `service` what the request was signed for.
    """

    at_s: float
    caller: str
    action: str
    status: int
    request: Any
    answer: Any
    service: str


@dataclass(frozen=True, slots=True)
class Queues:
    """The URLs of a queue and of its dead-letter queue."""

    url: str
    dead_letters_url: str


class DynamoDb:
    """A server that runs until the context ends. New tables and queues have the definitions of the template."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        application = one_at_a_time(self._recording(DomainDispatcherApplication(create_backend_app)))
        self._server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def new_table(self, logical_id: str = "StateTable") -> str:
        """Creates an empty table with the definition of that one of the template. Returns its name."""
        name = f"{logical_id}-{next(_numbers)}"
        self.client.create_table(**{**_TABLES[logical_id].definition, "TableName": name})  # type: ignore[arg-type]  # the template has the field names of CreateTable
        return name

    def new_queue(self) -> Queues:
        """Creates an empty FIFO queue and its dead-letter queue. Returns their URLs."""
        number = next(_numbers)
        urls = [
            self.sqs.create_queue(QueueName=f"{name}-{number}.fifo", Attributes=_QUEUES[name].attributes)["QueueUrl"]  # type: ignore[arg-type]  # the template has the field names of CreateQueue
            for name in ("VectorDeadLetters", "VectorQueue")
        ]
        return Queues(urls[1], urls[0])

    def item(self, table: str, key: ItemKey) -> dict[str, Any]:
        """Returns the stored item in DynamoDB's JSON format; empty if there is none."""
        attributes: Any = key.attributes
        return dict(self.client.get_item(TableName=table, Key=attributes, ConsistentRead=True).get("Item", {}))

    def set_attributes(self, table: str, key: ItemKey, **attributes: Any) -> None:
        """Stores attributes of an item, in DynamoDB's JSON format. Its other attributes are not changed."""
        item: Any = {**self.item(table, key), **key.attributes, **attributes}
        self.client.put_item(TableName=table, Item=item)

    @cached_property
    def client(self) -> DynamoDBClient:
        """A DynamoDB client for assertions. Its requests have the caller `test-observer`."""
        session = boto3.Session("test-observer", "secret", region_name=REGION)
        return session.client("dynamodb", endpoint_url=self.url, config=Config(retries={"total_max_attempts": 1}))

    @cached_property
    def sqs(self) -> SQSClient:
        """An SQS client for assertions. Its requests have the caller `test-observer`."""
        session = boto3.Session("test-observer", "secret", region_name=REGION)
        return session.client("sqs", endpoint_url=self.url, config=Config(retries={"total_max_attempts": 1}))

    def _recording(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Records requests while the lock is held, so that they are in order."""

        def record(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            statuses: list[str] = []

            def started(status: str, headers: Any, exc_info: Any = None) -> Any:
                statuses.append(status)
                return start_response(status, headers, exc_info)

            answer = b"".join(application({**environ, "wsgi.input": io.BytesIO(body)}, started))
            self._record(environ, body, int(statuses[-1][:3]), answer)
            return [answer]

        return record

    def _record(self, environ: dict[str, Any], body: bytes, status: int, answer: bytes) -> None:
        caller = _CALLER.search(environ.get("HTTP_AUTHORIZATION", ""))
        action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        request, response = _parsed(body), _parsed(answer)
        name, service = caller.groups() if caller else ("", "")
        self.requests.append(RecordedRequest(time.monotonic(), name, action, status, request, response, service))


def _parsed(body: bytes) -> Any:
    """Returns the JSON of a body; another form, such as CloudFormation's, as it is."""
    try:
        return json.loads(body or b"null")
    except ValueError:
        return body


class _Handler(WSGIRequestHandler):
    """Does not log, keeps connections open, and sends without delay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""

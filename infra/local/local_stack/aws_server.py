"""A script that serves moto's DynamoDB and SQS over HTTP, on a listening socket that it inherits.

    python -m local_stack.aws_server FD < resources.json

moto is not atomic under concurrent requests, so a lock for each service runs them one by one: of several conditional
writes, one succeeds, as in DynamoDB itself. stdin holds `{"region", "tables": [{"definition", "ttl"}], "queues":
[{"name", "attributes"}]}`; when all of these exist, it prints `ready`.
"""

import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _QuietHandler(WSGIRequestHandler):
    """Logs nothing, keeps connections open, and disables Nagle's algorithm, which would delay each answer by 40 ms."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""


def one_at_a_time(application: _Wsgi) -> _Wsgi:
    """Returns `application` with a lock for each service, held until the answer is complete. A request that waits for
    an SQS message does not block DynamoDB.
    """
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def locked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with locks[environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[0]]:
            return list(application(environ, start_response))

    return locked


def make_resources(resources: dict[str, Any], endpoint: str) -> None:
    """Creates the tables and queues."""
    config = Config(retries={"total_max_attempts": 1})
    session = boto3.Session("local", "local", region_name=resources["region"])
    dynamodb = session.client("dynamodb", endpoint_url=endpoint, config=config)
    sqs = session.client("sqs", endpoint_url=endpoint, config=config)
    for table in resources["tables"]:
        dynamodb.create_table(**table["definition"])
        if table["ttl"]:
            dynamodb.update_time_to_live(
                TableName=table["definition"]["TableName"],
                TimeToLiveSpecification={"Enabled": True, "AttributeName": table["ttl"]},
            )
    # A redrive policy names another queue, which must exist.
    for queue in sorted(resources["queues"], key=lambda queue: "RedrivePolicy" in queue["attributes"]):
        sqs.create_queue(QueueName=queue["name"], Attributes=queue["attributes"])


def main() -> None:
    """Creates the resources and serves them until the process is ended."""
    resources = json.load(sys.stdin)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    application = one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_QuietHandler, fd=int(sys.argv[1]))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    make_resources(resources, f"http://127.0.0.1:{server.port}")
    print("ready", flush=True)
    serving.join()


if __name__ == "__main__":
    main()

"""Loads one of the bridge's Lambda functions into this process, and makes its events and context."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imports are measured: this module imports only what the function needs
    from bridge_bench.endpoints import Endpoint

Handler = Callable[[dict[str, Any], object], dict[str, Any]]

_FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"
_HEADERS = {
    "Accept": "application/json",
    "Authorization": "Bearer not-a-key",
    "Content-Type": "application/json",
    "Host": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
    "User-Agent": "OpenAI/Python 2.8.0",
    "X-Amzn-Trace-Id": "Root=1-68a1b2c3-0123456789abcdef01234567",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
}


def load_handler(function: str) -> Handler:
    """Imports `functions/<function>/app.py` as a cold start does. This creates settings, catalog and bridge."""
    spec = importlib.util.spec_from_file_location(f"function_{function}", _FUNCTIONS / function / "app.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"there is no function {function}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def invoke(handler: Handler, event: dict[str, Any]) -> None:
    """Invokes the handler once. Raises SystemExit if the status is not 200."""
    answer = handler(event, LambdaContext())
    if answer["statusCode"] != 200:
        raise SystemExit(f"the handler answered {answer['statusCode']}: {answer['body']}")


def api_gateway_event(endpoint: "Endpoint") -> dict[str, Any]:
    """Returns the REST proxy event, version 1, of a request to `endpoint`, as the runtime parses it."""
    return {
        "resource": endpoint.path,
        "path": endpoint.path,
        "httpMethod": "POST",
        "headers": _HEADERS,
        "multiValueHeaders": {name: [value] for name, value in _HEADERS.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "stage": "prod",
            "path": f"/prod{endpoint.path}",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": endpoint.text,
        "isBase64Encoded": False,
    }


class LambdaContext:
    """The parts of Lambda's context that the bridge uses."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Returns API Gateway's timeout."""
        return 29_000

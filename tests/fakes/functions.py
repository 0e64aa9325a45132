"""A function's own app, in this process, invoked with the events that API Gateway sends."""

import base64
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from sekha_llm_bridge import bootstrap
from sekha_llm_bridge.bootstrap import Bridge

_FUNCTIONS = Path(__file__).parents[2] / "functions"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function gave back to API Gateway."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Context:
    """Lambda's context, as far as the bridge looks at it."""

    aws_request_id = "lambda-request"

    def __init__(self, remaining_ms: int) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


class Function:
    """`functions/<name>/app.py`, with a bridge of the test's own."""

    def __init__(self, name: str, bridge: Bridge | Exception) -> None:
        self._module = _load(name)
        self._module.app.state.bridge = bridge

    def serving(self, bridge: Bridge) -> Self:
        """The same function with another bridge: making a function anew takes much longer."""
        self._module.app.state.bridge = bridge
        return self

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: str | None = None,
        remaining_ms: int = 29_000,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        text = raw if raw is not None else None if body is None else json.dumps(body)
        event = rest_event(method, path, text, headers or {"content-type": "application/json"})
        answer = self._module.handler(event, Context(remaining_ms))
        found = {name.lower(): value for name, value in answer.get("headers", {}).items()}
        found |= {name.lower(): values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
        content = answer["body"]
        return Answer(
            answer["statusCode"], found, base64.b64decode(content).decode() if answer["isBase64Encoded"] else content
        )


def rest_event(method: str, path: str, body: str | None, headers: dict[str, str]) -> dict[str, Any]:
    """API Gateway's REST proxy event, version 1."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "gateway-request",
            "stage": "prod",
            "path": f"/prod{path}",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _load(name: str) -> ModuleType:
    """A fresh copy of the function's module; its own bridge is of the bundled configuration and is replaced."""
    bootstrap.bridge.cache_clear()
    spec = importlib.util.spec_from_file_location(f"function_{name}", _FUNCTIONS / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

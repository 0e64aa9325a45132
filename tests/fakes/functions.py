"""Runs a Lambda function's app in this process, with the events that API Gateway sends."""

import base64
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import httpx

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.bootstrap.live import LiveBridge, live_bridge

_FUNCTIONS = Path(__file__).parents[2] / "functions"


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """The function's response to API Gateway."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class FakeContext:
    """The parts of Lambda's context that the bridge uses."""

    aws_request_id = "lambda-request"

    def __init__(self, remaining_ms: int) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


class Function:
    """`functions/<name>/app.py` with the test's bridge."""

    def __init__(self, name: str, bridge: Bridge | Exception) -> None:
        self._module = _load(name)
        self._module.app.state.bridge = bridge

    def with_bridge(self, bridge: Bridge) -> Self:
        """Replaces the function's bridge and returns the function. This is much faster than a new function."""
        self._module.app.state.bridge = bridge
        return self

    def with_live(self, live: LiveBridge) -> Self:
        """Replaces what fetches the function's secrets while it runs, and returns the function."""
        state = self._module.app.state
        state.live = live
        state.bridge = state.taken_over = live.current
        return self

    @property
    def app(self) -> Any:
        """The function's ASGI app."""
        return self._module.app

    def client(self) -> httpx.AsyncClient:
        """Returns a client for requests at the same time, without events of API Gateway."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self._module.app), base_url="http://bridge")

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: str | None = None,
        remaining_ms: int = 29_000,
        headers: dict[str, str] | None = None,
        caller: Caller | None = None,
    ) -> FunctionResponse:
        """Calls the function. `caller` is what the authorizer says; it counts with AUTH_MODE=keys."""
        text = raw if raw is not None else None if body is None else json.dumps(body)
        event = rest_event(method, path, text, headers or {"content-type": "application/json"})
        if caller is not None:
            event["requestContext"]["authorizer"] = {CONTEXT_FIELD: caller.context_text()}
        answer = self._module.handler(event, FakeContext(remaining_ms))
        response_headers = {name.lower(): value for name, value in answer.get("headers", {}).items()}
        response_headers |= {name.lower(): values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
        content = answer["body"]
        return FunctionResponse(
            answer["statusCode"],
            response_headers,
            base64.b64decode(content).decode() if answer["isBase64Encoded"] else content,
        )


def rest_event(method: str, path: str, body: str | None, headers: dict[str, str]) -> dict[str, Any]:
    """Returns API Gateway's REST proxy event, version 1."""
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
    """Returns a new copy of the function's module. Its bridge, of the bundled configuration, is replaced later."""
    live_bridge.cache_clear()
    spec = importlib.util.spec_from_file_location(f"function_{name}", _FUNCTIONS / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

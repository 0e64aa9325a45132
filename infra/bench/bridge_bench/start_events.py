"""The request that each function gets first in the benchmark of cold starts, and the answers of its surroundings."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from bridge_bench.endpoints import ENDPOINTS, Endpoint
from bridge_bench.lambda_function import api_gateway_event
from bridge_bench.provider_process import API_KEY

_TEXT = "Ada Lovelace wrote the first program for Babbage's Analytical Engine."
_ARN = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/v1/chat/completions"
_REQUESTS: Mapping[str, tuple[str, str, Mapping[str, Any] | None]] = {
    **{name: ("POST", endpoint.path, endpoint.body) for name, endpoint in ENDPOINTS.items()},
    "embed": ("POST", "/api/v1/embed", {"text": _TEXT}),
    "summarize": ("POST", "/api/v1/summarize", {"messages": [_TEXT], "level": "daily"}),
    "extract": ("POST", "/api/v1/extract", {"text": _TEXT}),
    "score": ("POST", "/api/v1/score", {"text": _TEXT}),
    "route": ("POST", "/api/v1/route", {"task": "chat_small"}),
    "models": ("GET", "/v1/models", None),
    "health": ("GET", "/api/v1/health", None),
    "usage": ("GET", "/api/v1/usage", None),
    "landing": ("GET", "/openapi.json", None),
    "floor": ("GET", "/", None),
}
_STATUS = {"extract": 502, "score": 502}
"""Function → its answer's status, if it is not 200: the provider answers with text, and not with the JSON they need."""

_LOG_LINE = {"message": "request", "used": [{"provider_id": "first", "model_id": "small", "requests": 1}]}


def first_event(function: str) -> dict[str, Any] | None:
    """Returns the event of a request that succeeds without Chroma; None for a function that needs Chroma for it."""
    if function in _REQUESTS:
        method, path, body = _REQUESTS[function]
        return _http_event(method, path, body)
    if function == "authorizer":
        return {"methodArn": _ARN, "path": "/v1/chat/completions", "headers": {"authorization": f"Bearer {API_KEY}"}}
    if function == "usage_records":
        return {"awslogs": {"data": _log_batch()}}
    return {} if function in {"health_check", "drain"} else None


def expected_status(function: str) -> int:
    """Returns the status of the answer to `first_event`."""
    return _STATUS.get(function, 200)


def _http_event(method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    event = api_gateway_event(Endpoint("", path, "", body or {}))
    return {**event, "httpMethod": method, "body": json.dumps(body) if body is not None else None}


def _log_batch() -> str:
    events = [{"id": "1", "timestamp": 1_793_613_600_000, "message": json.dumps(_LOG_LINE)}]
    batch = {"messageType": "DATA_MESSAGE", "logEvents": events}
    return base64.b64encode(gzip.compress(json.dumps(batch).encode())).decode()

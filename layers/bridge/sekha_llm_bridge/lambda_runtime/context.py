"""The `context` of a handler, with the same attributes as under Lambda's own runtime."""

import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from sekha_llm_bridge.lambda_runtime.runtime_api import Invocation

_TRACE_FIELDS = ("traceparent", "tracestate", "baggage")
_CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class Context:
    """See https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    def __init__(self, invocation: Invocation, environment: Mapping[str, str], now_ms: Callable[[], int]) -> None:
        self.aws_request_id = invocation.request_id
        self.invoked_function_arn = invocation.function_arn
        self.tenant_id = invocation.tenant_id
        self.function_name = environment.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = environment.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = environment.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environment.get("AWS_LAMBDA_LOG_STREAM_NAME")
        client = invocation.client_context
        self._trace = (client or {}).get("w3c")
        self.client_context = _client_context(client)
        identity = invocation.cognito_identity or {}
        self.identity = SimpleNamespace(
            cognito_identity_id=identity.get("cognitoIdentityId"),
            cognito_identity_pool_id=identity.get("cognitoIdentityPoolId"),
        )
        self._deadline_ms = invocation.deadline_ms
        self._now_ms = now_ms

    def get_remaining_time_in_millis(self) -> int:
        """Returns the milliseconds until Lambda ends the invocation; 0 after that."""
        return max(0, self._deadline_ms - self._now_ms())

    def log(self, message: object) -> None:
        """Writes to the function's log, without adding a line break."""
        sys.stdout.write(str(message))

    def w3c(self) -> dict[str, str]:
        """Returns the W3C trace context of the invocation."""
        found = self._trace if isinstance(self._trace, dict) else {}
        return {name: found[name] for name in _TRACE_FIELDS if isinstance(found.get(name), str)}


def _client_context(given: Mapping[str, Any] | None) -> SimpleNamespace | None:
    if given is None:
        return None
    found = _fields(given, "custom", "env", "client")
    found.client = None if found.client is None else _fields(found.client, *_CLIENT_FIELDS)
    return found


def _fields(given: Mapping[str, Any], *names: str) -> SimpleNamespace:
    return SimpleNamespace(**{name: given.get(name) for name in names})

"""A blocking client of the Runtime API: the next invocation, a buffered answer, an error report.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. A 4xx to an answer is only logged, because the API has
ended the invocation itself (413: too large). A 5xx, or an answer that is not HTTP, ends the runtime: `RuntimeApiError`.
"""

import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sekha_llm_bridge.lambda_runtime.error_report import ErrorReport, ReportableError
from sekha_llm_bridge.lambda_runtime.logs import log

ROOT = "/2018-06-01/runtime"
_INVOCATION_ID = "Lambda-Runtime-Invocation-Id"


class RuntimeApiError(Exception):
    """The Runtime API does not work any more."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation: the event and its headers. `deadline_ms` is in Unix milliseconds.

    `invocation_id`, where the API sends one, must be sent back with the answer.
    """

    request_id: str
    deadline_ms: int
    function_arn: str | None
    trace_id: str | None
    tenant_id: str | None
    invocation_id: str | None
    content_type: str | None
    body: bytes
    client_context_json: str | None = None
    cognito_identity_json: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], body: bytes) -> Self:
        """Returns the invocation of an answer, whose `headers` have lower-case names. Raises `ValueError` without its
        headers."""
        request_id = headers.get("lambda-runtime-aws-request-id")
        if not request_id:
            raise ValueError("no request id")
        return cls(
            request_id=request_id,
            deadline_ms=int(headers.get("lambda-runtime-deadline-ms") or ""),
            function_arn=headers.get("lambda-runtime-invoked-function-arn"),
            trace_id=headers.get("lambda-runtime-trace-id"),
            tenant_id=headers.get("lambda-runtime-aws-tenant-id"),
            invocation_id=headers.get(_INVOCATION_ID.lower()),
            content_type=headers.get("content-type"),
            body=body,
            client_context_json=headers.get("lambda-runtime-client-context"),
            cognito_identity_json=headers.get("lambda-runtime-cognito-identity"),
        )

    @property
    def path(self) -> str:
        """The path under which its answer or error report is posted."""
        return f"{ROOT}/invocation/{self.request_id}"

    @property
    def echo_headers(self) -> dict[str, str]:
        """The headers that must be sent back with the answer."""
        return {_INVOCATION_ID: self.invocation_id} if self.invocation_id else {}

    @property
    def client_context(self) -> dict[str, Any] | None:
        """The parsed value, or None. Raises `ReportableError`."""
        return _parsed(self.client_context_json, "Client Context")

    @property
    def cognito_identity(self) -> dict[str, Any] | None:
        """The parsed value, or None. Raises `ReportableError`."""
        return _parsed(self.cognito_identity_json, "Cognito Identity")

    def event(self) -> Any:
        """Returns the parsed event, or its bytes where it is not JSON. Raises `ReportableError`."""
        if self.content_type not in (None, "application/json"):
            return self.body
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise ReportableError(
                ErrorReport("Runtime.UnmarshalError", "Unable to unmarshal input: it is not JSON")
            ) from exc


class RuntimeApi:
    """The client, over one persistent connection. `address` is `host:port`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection = http.client.HTTPConnection(address, timeout=None)

    def next_invocation(self) -> Invocation:
        """Waits for the next invocation without a time limit; meanwhile the environment may be frozen."""
        status, headers, body = self._request("GET", f"{ROOT}/invocation/next")
        if status != http.HTTPStatus.OK:
            raise RuntimeApiError(f"no next invocation: {status}")
        try:
            return Invocation.of(headers, body)
        except ValueError as exc:
            raise RuntimeApiError("an invocation without its headers") from exc

    def respond(self, invocation: Invocation, body: bytes, content_type: str) -> None:
        """Sends a whole answer."""
        headers = {"Content-Type": content_type, **invocation.echo_headers}
        require_accepted(self._request("POST", f"{invocation.path}/response", body, headers)[0], invocation.request_id)

    def fail(self, invocation: Invocation, report: ErrorReport) -> None:
        """Reports an invocation that failed."""
        status = self._report(f"{invocation.path}/error", report, report.header, invocation.echo_headers)
        require_accepted(status, invocation.request_id)

    def fail_init(self, report: ErrorReport, error_type: str) -> None:
        """Reports that the init phase, or a hook before the snapshot, failed."""
        self._report(f"{ROOT}/init/error", report, error_type)

    def fail_restore(self, report: ErrorReport) -> None:
        """Reports that a hook after the restore failed."""
        self._report(f"{ROOT}/restore/error", report, "Runtime.AfterRestoreError")

    def wait_for_restore(self) -> None:
        """Returns in a restored environment: the snapshot is taken while this waits."""
        status, _, _ = self._request("GET", f"{ROOT}/restore/next")
        if status != http.HTTPStatus.OK:
            raise RuntimeApiError(f"no restore: {status}")

    def _report(self, path: str, report: ErrorReport, error_type: str, headers: Mapping[str, str] | None = None) -> int:
        kind = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": error_type}
        return self._request("POST", path, report.json(), {**kind, **(headers or {})})[0]

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Makes a request, with one retry on a new connection if the persistent one had been closed meanwhile."""
        is_persistent = self._connection.sock is not None
        try:
            return self._exchange(method, path, body, headers or {})
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            if is_persistent and isinstance(exc, OSError):
                return self._request(method, path, body, headers)
            raise RuntimeApiError(f"{method} {path}: {type(exc).__name__}") from exc

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        if self._connection.sock is None:
            self._connection.connect()
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the API may answer without reading the whole request
            self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return response.status, answered, response.read()


def require_accepted(status: int | None, request_id: str) -> None:
    """Checks the API's status for an answer (None: closed without a status; 0: not HTTP). Logs a rejected answer.

    Raises `RuntimeApiError` for a status from 500 on, and for an answer that is not HTTP.
    """
    if status is not None and not 0 < status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise RuntimeApiError(f"the answer to {request_id}: {status}")
    if status != http.HTTPStatus.ACCEPTED:
        found = f"answered {status}" if status else "closed the connection"
        log("WARNING", f"The response was not taken: the Runtime API {found}", request_id)


def _parsed(text: str | None, name: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise ReportableError(
            ErrorReport("Runtime.LambdaContextUnmarshalError", f"Unable to parse {name} JSON")
        ) from exc
    return found if isinstance(found, dict) else None

"""What the client raises: the errors of the bridge (`sekha_llm_bridge.errors`), and those that only a client has.

    BridgeError
    ├── RequestError                 the caller can correct it; the bridge's own are below it, too
    │   ├── PayloadTooLarge          413  the request is larger than the bridge takes
    │   ├── ContentRefused           400  a provider refused the content
    │   └── UnsupportedByModel       400  the model lacks what the request uses
    ├── Unavailable                  no answer, or none in time; the bridge's own are below it, too
    │   ├── ProviderFailed           502  a provider failed in the way that `code` names
    │   ├── NoCapacity               503  too many requests run at once
    │   ├── RateLimited
    │   │   └── QuotaExceeded        429  the key's quota is used up
    │   ├── BridgeUnreachable             no connection: nothing was sent
    │   ├── ConnectionLost                the connection broke after the request was sent
    │   └── BridgeTimeout                 no answer within the client's own timeout
    ├── InternalError                500  a mistake in the bridge; its log has more under `request_id`
    ├── NotABridge                        something else answered: an HTML page, another format, a redirect
    ├── StreamNotFinished                 a stream was asked for what it has only at its end, or was closed before it
    └── InvalidOption                     an argument of `LlmBridge` cannot be used

`status` is 0 where no answer came.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sekha_llm_bridge import errors
from sekha_llm_bridge.errors import (
    BridgeError,
    FailureKind,
    InvalidRequest,
    RateLimited,
    RequestError,
    Unavailable,
    WrongMethod,
)

NO_ANSWER = 0
_SERVER_ERROR = 500
_GATEWAY_STATUSES = frozenset({502, 503, 504})


class PayloadTooLarge(RequestError):
    """The request is larger than the bridge takes: send less at once, and images by URL."""

    status = 413
    code = "payload_too_large"


class ContentRefused(RequestError):
    """A provider refused the content. The bridge sends such content to no other provider."""

    code = "content_refused"


class UnsupportedByModel(RequestError):
    """The model, or every model that could answer, lacks something that the request uses."""

    code = "unsupported_by_model"


class ProviderFailed(Unavailable):
    """A provider failed; `code` names the kind of failure, as in `attempts`."""

    status = 502
    code = "provider_server_error"


class NoCapacity(Unavailable):
    """Too many requests run at once. Nothing was asked for; a retry makes sense after `retry_after_s`."""

    status = 503
    type = "server_error"
    code = "no_capacity"


class QuotaExceeded(RateLimited):
    """The key's quota is used up. A retry helps when it is renewed."""

    code = "quota_exceeded"


class BridgeUnreachable(Unavailable):
    """There is no connection to the bridge. Nothing was sent."""

    status = NO_ANSWER
    type = "connection_error"
    code = "bridge_unreachable"


class ConnectionLost(Unavailable):
    """The connection broke after the request was sent. The bridge may have answered it, and a provider billed it."""

    status = NO_ANSWER
    type = "connection_error"
    code = "connection_lost"


class BridgeTimeout(Unavailable):
    """The bridge did not answer within the client's timeout. It may still do so, and a provider may bill it."""

    status = NO_ANSWER
    type = "connection_error"
    code = "bridge_timeout"


class InternalError(BridgeError):
    """A mistake in the bridge. Its log has more under `request_id`."""

    code = "internal_error"


class NotABridge(BridgeError):
    """What answered is not a bridge, or not all of it arrived: the message says what it was."""

    status = NO_ANSWER
    type = "connection_error"
    code = "not_a_bridge"


class StreamNotFinished(BridgeError):
    """A stream was asked for what it only has at its end, or was read on after it had been closed before its end."""

    status = NO_ANSWER
    type = "client_error"
    code = "stream_not_finished"


class InvalidOption(BridgeError, ValueError):
    """An argument of `LlmBridge` cannot be used: `param` is its name, `problem` what is wrong with it."""

    status = NO_ANSWER
    type = "client_error"
    code = "invalid_option"

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param
        self.problem = problem


def error_of(document: object, *, status: int, headers: Mapping[str, str]) -> BridgeError:
    """Returns the error that an answer means: its class by the envelope's `code`, then by the status.

    `document` is the JSON of the answer, or of the event of a stream, which has no status of its own (0). Where it has
    no envelope, the message is what the answer has instead.
    """
    envelope = _envelope(document)
    code = envelope.get("code")
    kind = _class_of(code if isinstance(code, str) else "", status)
    message = envelope.get("message")
    error = kind.__new__(kind, message if isinstance(message, str) else f"the bridge answered {status}")
    error.status = status or kind.status
    error.code = code if isinstance(code, str) else kind.code
    error.type = str(envelope.get("type") or kind.type)
    error.param = envelope.get("param")
    error.request_id = envelope.get("request_id") or headers.get("x-request-id")
    error.retry_after_s = retry_after_s(headers)
    error.attempts = _listed(envelope.get("attempts"))
    error.candidates = _listed(envelope.get("candidates"))
    error.receipt = envelope.get("bridge")
    if isinstance(error, errors.BudgetExceeded):
        error.budget = envelope.get("budget") or error.budget
    if isinstance(error, errors.ConfigError):
        error.faults = (error.message,)
    return error


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else ()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns the wait that an answer asks for, in seconds. Sources: RFC 9110, 10.2.3; `retry-after-ms` is OpenAI's."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value) * unit_s
    return _seconds_until(headers.get("retry-after"))


def _seconds_until(date: str | None) -> float | None:
    if not date:
        return None
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _envelope(document: object) -> Mapping[str, Any]:
    """Returns OpenAI's error object; for API Gateway's and other servers' own formats, one with their message."""
    fields = document if isinstance(document, dict) else {}
    inner = fields.get("error")
    if isinstance(inner, dict):
        return inner
    words = (inner, fields.get("message"), fields.get("detail"))
    return {"message": next((text for text in words if isinstance(text, str)), None)}


def _classes() -> Iterator[type[BridgeError]]:
    """Yields the bridge's classes and the client's that have a code of their own."""
    for found in (*vars(errors).values(), *globals().values()):
        if isinstance(found, type) and issubclass(found, BridgeError) and "code" in vars(found):
            yield found


_BY_CODE: dict[str, type[BridgeError]] = {
    **{kind.code: UnsupportedByModel if kind.status < _SERVER_ERROR else ProviderFailed for kind in FailureKind},
    **{found.code: found for found in _classes()},
    InvalidRequest.code: InvalidRequest,
}
_BY_STATUS: dict[int, type[BridgeError]] = {
    **{
        kind.status: kind
        for kind in (InvalidRequest, errors.AuthenticationFailed, errors.PermissionDenied, WrongMethod)
    },
    402: errors.CostLimitExceeded,
    413: PayloadTooLarge,
    422: InvalidRequest,
    429: RateLimited,
}


def _class_of(code: str, status: int) -> type[BridgeError]:
    found = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if found is not None:
        return found
    if status in _GATEWAY_STATUSES:
        return Unavailable
    return InternalError if status >= _SERVER_ERROR or not status else RequestError

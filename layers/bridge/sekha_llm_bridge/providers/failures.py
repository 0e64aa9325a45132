"""Classifies a provider's error answers: turns each into one `ProviderError`.

The provider's message is read to classify the error, and is never passed on: it may quote the prompt or the key, in any
encoding. Passed on are its status, its codes, and the names of request fields that it mentions.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.token_counts import read_chat_usage

_CONTEXT_TOO_LONG = re.compile(
    r"maximum context length|exceeds? (the )?(available |model'?s? |maximum )*context|exceed context limit"
    r"|context (window|limit|length) (of|is)|(prompt|input) is too long|too many (input )?tokens"
    r"|input token count .{0,40}exceeds|tokens and .{0,40}too large for|tokens exceed the configured limit",
    re.IGNORECASE,
)
_CONTENT_REFUSED = re.compile(
    r"content[_ ](filter|policy|management)|responsibleaipolicy|flagged|moderation|safety (system|filter|policy)",
    re.IGNORECASE,
)
_QUOTA_EXHAUSTED = re.compile(
    r"insufficient[_ ](quota|balance|credit|fund)|credit balance|billing_hard_limit", re.IGNORECASE
)
_KEY_REJECTED = re.compile(
    r"\bapi key (is )?(not valid|invalid|incorrect|expired)|\b(incorrect|invalid) api key", re.IGNORECASE
)
_MODEL_MISSING = re.compile(r"not a valid model|model *does not exist", re.IGNORECASE)
# Quoted text comes from the request, for example names of functions or parts of the prompt.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\([^)]*\)")
_CALLER_DEFINED_FIELDS = ("tools", "functions", "response_format")
_CODE = re.compile(r"[A-Za-z_]{3,40}")
_FIELD_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,80}")
_MAX_RETRY_AFTER_S = 86_400.0
# A gateway gave up or failed; the server behind it may continue, and bill the request. 504 and 524 are timeouts.
_GATEWAY_GAVE_UP = frozenset({408, 520})

# The kinds of failure behind a 400, 413 or 422, by the vendor's codes and by its message. The first match counts.
_KINDS_BY_CODE: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (re.compile(r"api_key|authentication", re.IGNORECASE), FailureKind.CREDENTIALS_REJECTED),
    (_QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
    (re.compile(r"rate_limit"), FailureKind.RATE_LIMITED),
    (re.compile(r"model_(does_)?not_(exist|found)|not_found_error"), FailureKind.MODEL_MISSING),
    (re.compile(r"context_(length|window|size)|string_above_max_length_context"), FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (_CONTENT_REFUSED, FailureKind.CONTENT_REFUSED),
)
_KINDS_BY_MESSAGE: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (_KEY_REJECTED, FailureKind.CREDENTIALS_REJECTED),
    (_QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
    (_MODEL_MISSING, FailureKind.MODEL_MISSING),
    (_CONTEXT_TOO_LONG, FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (_CONTENT_REFUSED, FailureKind.CONTENT_REFUSED),
)


def error_from_answer(
    status: int,
    body: object,
    *,
    retry_after: str | None = None,
    request: Mapping[str, Any] | None = None,
    now: datetime,
) -> ProviderError:
    """Returns the error for an answer with an error status.

    `body` is the parsed JSON, or None. `retry_after` is the header of that name. `request` is the request that was
    sent.
    """
    kind, message, param = _classify(f"the provider answered {status}", status, body, request or {})
    return ProviderError(
        kind,
        message,
        provider_status=status,
        retry_after_s=retry_after_s(retry_after, now=now) if kind is FailureKind.RATE_LIMITED else None,
        param=param,
        may_be_billed=status in _GATEWAY_GAVE_UP,
    )


def error_within_success(body: Mapping[str, Any], *, request: Mapping[str, Any]) -> ProviderError:
    """Returns the error for an error object in an answer with status 200.

    It occurred while the answer was generated, so the provider may bill it.
    """
    status = _status_of_error(body["error"])
    kind, message, param = _classify("the provider put an error into its answer", status, body, request)
    usage = read_chat_usage(body.get("usage"))
    return ProviderError(kind, message, provider_status=200, param=param, usage=usage, may_be_billed=True)


def _classify(event: str, status: int, body: object, request: Mapping[str, Any]) -> tuple[FailureKind, str, str | None]:
    """Returns the kind of the failure, its message, which begins with `event`, and the path of the field at fault."""
    error = _error_object(body)
    codes = _codes(error)
    kind = _kind(status, " ".join(codes), error)
    return kind, _message(event, codes, error, request), _param(error.get("param"), request)


def _status_of_error(error: object) -> int:
    """Returns the HTTP status that an error in a 200 answer stands for.

    OpenRouter puts it into `code`. Otherwise it is 400 for codes that are known from 400 answers, and 502.
    """
    if not isinstance(error, dict):
        return 502
    code = str(error.get("code"))
    if code.isascii() and code.isdigit():
        return int(code) if 400 <= int(code[:4]) < 600 else 502
    return 400 if _first_match(_KINDS_BY_CODE, " ".join(_codes(error))) else 502


def _kind(status: int, codes: str, error: Mapping[str, Any]) -> FailureKind:
    """Returns the kind of failure. Codes count before the message: that of a rate limit may mention billing."""
    message = _QUOTED.sub(" ", str(error.get("message") or ""))
    match status:
        case 402:
            return FailureKind.QUOTA_EXHAUSTED
        case 504 | 524:  # a gateway timed out; the server behind it may continue, and bill the request
            return FailureKind.TIMEOUT
        case 429:
            return (
                FailureKind.QUOTA_EXHAUSTED if _QUOTA_EXHAUSTED.search(codes or message) else FailureKind.RATE_LIMITED
            )
        case 401 | 403:
            is_refusal = _CONTENT_REFUSED.search(f"{codes} {message}")
            return FailureKind.CONTENT_REFUSED if is_refusal else FailureKind.CREDENTIALS_REJECTED
        case 404:
            return FailureKind.MODEL_MISSING
        case 400 | 413 | 422 if str(error.get("param") or "").startswith(_CALLER_DEFINED_FIELDS):
            return FailureKind.REQUEST_REJECTED  # its codes and message may quote names that the caller defined
        case 400 | 413 | 422:
            kind = _first_match(_KINDS_BY_CODE, codes) or _first_match(_KINDS_BY_MESSAGE, message)
            return kind or FailureKind.REQUEST_REJECTED
        case _:
            return FailureKind.SERVER_ERROR


def _first_match(kinds: Iterable[tuple[re.Pattern[str], FailureKind]], text: str) -> FailureKind | None:
    return next((kind for pattern, kind in kinds if pattern.search(text)), None)


def _error_object(body: object) -> Mapping[str, Any]:
    """Returns the error object of an error answer. OpenAI, Ollama, Gemini and others place it differently."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    return error if isinstance(error, dict) else {"message": error}


def _codes(error: Mapping[str, Any]) -> list[str]:
    values = (error.get(name) for name in ("code", "type", "status"))
    return [value for value in values if isinstance(value, str) and _CODE.fullmatch(value)]


def _message(event: str, codes: list[str], error: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Returns the message for the caller. Of the provider's own message it has only names of the request's fields."""
    words = set(re.findall(r"[a-z_]{3,40}", str(error.get("message") or "")))
    fields = [name for name in request if name in words and name not in {"input", "messages", "model"}]
    parts = [event]
    parts += [f" ({', '.join(dict.fromkeys(codes))})"] if codes else []
    parts += [f"; its message names {', '.join(fields)}"] if fields else []
    return "".join(parts)


def _param(value: object, request: Mapping[str, Any]) -> str | None:
    """Returns the provider's `param` where it is the path of a field of the request."""
    if not isinstance(value, str) or not _FIELD_PATH.fullmatch(value):
        return None
    return value if re.split(r"[.\[]", value)[0] in request else None


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Returns the seconds of a Retry-After header, at most a day, from either of its forms (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return min(float(header), _MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return min(max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()), _MAX_RETRY_AFTER_S)

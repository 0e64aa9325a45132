"""From what a provider answered to the one `ProviderError` that says what follows.

A provider's own words are read to tell what happened, and never passed on: they may quote the prompt, or the key, in
any form. What is passed on is its status, its codes, and which fields of the request it speaks of.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.openai.response import read_chat_usage

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
# What providers quote is the caller's own: names of functions, parts of the prompt.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\([^)]*\)")
_CALLER_DEFINED_FIELDS = ("tools", "functions", "response_format")
_CODE = re.compile(r"[A-Za-z_]{3,40}")
_FIELD_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,80}")
_MAX_RETRY_AFTER_S = 86_400.0
# A gateway gave up, or its own side broke; what is behind it may go on, and bill it. 504 and 524 are timeouts.
_GATEWAY_GAVE_UP = frozenset({408, 520})

# What vendors say with a 400, a 413 or a 422, by code and in words; the first that fits.
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
    """The failure that an error answer means. `body` is the decoded JSON or None; `request` is what was sent."""
    kind, message, param = _classify(f"the provider answered {status}", status, body, request or {})
    return ProviderError(
        kind,
        message,
        provider_status=status,
        retry_after_s=retry_after_s(retry_after, now=now) if kind is FailureKind.RATE_LIMITED else None,
        param=param,
        may_be_billed=status in _GATEWAY_GAVE_UP,
    )


def _classify(what: str, status: int, body: object, request: Mapping[str, Any]) -> tuple[FailureKind, str, str | None]:
    """Returns the kind of the failure, its message, and the path of the field at fault."""
    error = _error_of(body)
    codes = _codes(error)
    kind = _kind(status, " ".join(codes), error)
    return kind, _message(what, codes, error, request), _param(error.get("param"), request)


def error_within_success(body: Mapping[str, Any], *, request: Mapping[str, Any]) -> ProviderError:
    """The failure that an error inside a 200 means: it came up while the answer was made, which may be billed."""
    status = _status_of_error(body["error"])
    kind, message, param = _classify("the provider put an error into its answer", status, body, request)
    usage = read_chat_usage(body.get("usage"))
    return ProviderError(kind, message, provider_status=200, param=param, usage=usage, may_be_billed=True)


def _status_of_error(error: object) -> int:
    """The status that an error inside a 200 answer speaks of (OpenRouter puts it into `code`); without one, a code that
    is known from a 400 means what it means there.
    """
    if not isinstance(error, dict):
        return 502
    code = str(error.get("code"))
    if code.isascii() and code.isdigit():
        return int(code) if 400 <= int(code[:4]) < 600 else 502
    return 400 if _first(_KINDS_BY_CODE, " ".join(_codes(error))) else 502


def _kind(status: int, codes: str, error: Mapping[str, Any]) -> FailureKind:
    """The table of failures. Codes are believed before words: a rate limit may well speak of billing."""
    text = _QUOTED.sub(" ", str(error.get("message") or ""))
    said = f"{codes} {text}"
    match status:
        case 402:
            return FailureKind.QUOTA_EXHAUSTED
        case 504 | 524:  # a gateway gave up waiting; what is behind it may go on, and bill it
            return FailureKind.TIMEOUT
        case 429:
            return FailureKind.QUOTA_EXHAUSTED if _QUOTA_EXHAUSTED.search(codes or text) else FailureKind.RATE_LIMITED
        case 401 | 403:
            return FailureKind.CONTENT_REFUSED if _CONTENT_REFUSED.search(said) else FailureKind.CREDENTIALS_REJECTED
        case 404:
            return FailureKind.MODEL_MISSING
        case 400 | 413 | 422 if _concerns_callers_definitions(error):
            return FailureKind.REQUEST_REJECTED
        case 400 | 413 | 422:
            return _first(_KINDS_BY_CODE, codes) or _first(_KINDS_BY_MESSAGE, text) or FailureKind.REQUEST_REJECTED
        case _:
            return FailureKind.SERVER_ERROR


def _concerns_callers_definitions(error: Mapping[str, Any]) -> bool:
    """Whether it is about a field that holds the caller's own definitions, whose names the words may quote."""
    return str(error.get("param") or "").startswith(_CALLER_DEFINED_FIELDS)


def _first(signs: Iterable[tuple[re.Pattern[str], FailureKind]], said: str) -> FailureKind | None:
    return next((kind for sign, kind in signs if sign.search(said)), None)


def _error_of(body: object) -> Mapping[str, Any]:
    """The error object of OpenAI's, Ollama's, Gemini's and the other usual error bodies."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    return error if isinstance(error, dict) else {"message": error}


def _codes(error: Mapping[str, Any]) -> list[str]:
    return [code for name in ("code", "type", "status") if (code := _code(error.get(name)))]


def _code(value: object) -> str | None:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _message(what: str, codes: list[str], error: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    named = list(dict.fromkeys(_named_fields(str(error.get("message") or ""), request)))
    parts = [what]
    parts += [f" ({', '.join(dict.fromkeys(codes))})"] if codes else []
    parts += [f"; it speaks of {', '.join(named)}"] if named else []
    return "".join(parts)


def _named_fields(text: str, request: Mapping[str, Any]) -> Iterator[str]:
    """The request's own fields that the provider's words name."""
    words = set(re.findall(r"[a-z_]{3,40}", text))
    return (name for name in request if name in words and name not in {"input", "messages", "model"})


def _param(value: object, request: Mapping[str, Any]) -> str | None:
    """The provider's `param`, when it is the path of a field that was sent."""
    if not isinstance(value, str) or not _FIELD_PATH.fullmatch(value):
        return None
    return value if re.split(r"[.\[]", value)[0] in request else None


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, at most a day, from a Retry-After header in either of its forms (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return min(float(header), _MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return min(max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()), _MAX_RETRY_AFTER_S)

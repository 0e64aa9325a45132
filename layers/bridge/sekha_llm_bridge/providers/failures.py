"""From what a provider answered to the one `ProviderError` that says what follows.

A provider's own words are read to tell what happened, and never passed on: they may quote the prompt, or the key, in
any form. What is passed on is its status, its codes, and which fields of the request it speaks of.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sekha_llm_bridge.errors import (
    ContentRefused,
    ContextLengthExceeded,
    CredentialsRejected,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderServerError,
    ProviderTimeout,
    QuotaExhausted,
    RequestRejected,
)
from sekha_llm_bridge.providers.openai_answer import read_chat_usage

_CONTEXT = re.compile(
    r"maximum context length|exceeds? (the )?(available |model'?s? |maximum )*context|exceed context limit"
    r"|context (window|limit|length) (of|is)|(prompt|input) is too long|too many (input )?tokens"
    r"|input token count .{0,40}exceeds|tokens and .{0,40}too large for|tokens exceed the configured limit",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content[_ ](filter|policy|management)|responsibleaipolicy|flagged|moderation|safety (system|filter|policy)",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(r"insufficient[_ ](quota|balance|credit|fund)|credit balance|billing_hard_limit", re.IGNORECASE)
_BAD_KEY = re.compile(
    r"\bapi key (is )?(not valid|invalid|incorrect|expired)|\b(incorrect|invalid) api key", re.IGNORECASE
)
_NO_MODEL = re.compile(r"not a valid model|model *does not exist", re.IGNORECASE)
# What providers quote is the caller's own: names of functions, parts of the prompt.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\([^)]*\)")
_DEFINITIONS = ("tools", "functions", "response_format")
_CODE = re.compile(r"[A-Za-z_]{3,40}")
_FIELD_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,80}")
_LONGEST_WAIT_S = 86_400.0
# A gateway gave up, or its own side broke; what is behind it may go on, and bill it. 504 and 524 are timeouts.
_GIVEN_UP = frozenset({408, 520})

# What vendors say with a 400, a 413 or a 422, by code and in words; the first that fits.
_CODES_WITHIN_A_400: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"api_key|authentication", re.IGNORECASE), CredentialsRejected),
    (_NO_MONEY, QuotaExhausted),
    (re.compile(r"rate_limit"), ProviderRateLimited),
    (re.compile(r"model_(does_)?not_(exist|found)|not_found_error"), ModelMissing),
    (re.compile(r"context_(length|window|size)|string_above_max_length_context"), ContextLengthExceeded),
    (_REFUSED, ContentRefused),
)
_WORDS_WITHIN_A_400: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (_BAD_KEY, CredentialsRejected),
    (_NO_MONEY, QuotaExhausted),
    (_NO_MODEL, ModelMissing),
    (_CONTEXT, ContextLengthExceeded),
    (_REFUSED, ContentRefused),
)


def from_answer(
    status: int,
    body: object,
    *,
    retry_after: str | None = None,
    request: Mapping[str, Any] | None = None,
    now: datetime,
) -> ProviderError:
    """The failure that an error answer means. `body` is the decoded JSON or None; `request` is what was sent."""
    return _failure(f"the provider answered {status}", status, body, retry_after, request, now)


def _failure(
    what: str,
    status: int,
    body: object,
    retry_after: str | None,
    request: Mapping[str, Any] | None,
    now: datetime,
) -> ProviderError:
    error = _error_of(body)
    codes = _codes(error)
    kind = _kind(status, " ".join(codes), error)
    failure = kind(
        _sentence(what, codes, error, request or {}),
        provider_status=status,
        retry_after_s=retry_after_s(retry_after, now=now) if kind is ProviderRateLimited else None,
        param=_param(error.get("param"), request or {}),
    )
    failure.may_be_billed |= status in _GIVEN_UP
    return failure


def within_success(body: Mapping[str, Any], *, request: Mapping[str, Any], now: datetime) -> ProviderError:
    """The failure that an error inside a 200 means: it came up while the answer was made, which may be billed."""
    status = _status_within(body["error"])
    failure = _failure("the provider put an error into its answer", status, body, None, request, now)
    failure.provider_status = 200
    failure.usage = read_chat_usage(body.get("usage"))
    failure.may_be_billed = True
    return failure


def _status_within(error: object) -> int:
    """The status that an error inside a 200 answer speaks of (OpenRouter puts it into `code`); without one, a code that
    is known from a 400 means what it means there.
    """
    if not isinstance(error, dict):
        return 502
    code = str(error.get("code"))
    if code.isascii() and code.isdigit():
        return int(code) if 400 <= int(code[:4]) < 600 else 502
    return 400 if _first(_CODES_WITHIN_A_400, " ".join(_codes(error))) else 502


def _kind(status: int, codes: str, error: Mapping[str, Any]) -> type[ProviderError]:
    """The table of failures. Codes are believed before words: a rate limit may well speak of billing."""
    text = _QUOTED.sub(" ", str(error.get("message") or ""))
    said = f"{codes} {text}"
    match status:
        case 402:
            return QuotaExhausted
        case 504 | 524:  # a gateway gave up waiting; what is behind it may go on, and bill it
            return ProviderTimeout
        case 429:
            return QuotaExhausted if _NO_MONEY.search(codes or text) else ProviderRateLimited
        case 401 | 403:
            return ContentRefused if _REFUSED.search(said) else CredentialsRejected
        case 404:
            return ModelMissing
        case 400 | 413 | 422 if _is_of_the_callers_making(error):
            return RequestRejected
        case 400 | 413 | 422:
            return _first(_CODES_WITHIN_A_400, codes) or _first(_WORDS_WITHIN_A_400, text) or RequestRejected
        case _:
            return ProviderServerError


def _is_of_the_callers_making(error: Mapping[str, Any]) -> bool:
    """Whether it is about a field that holds the caller's own definitions, whose names the words may quote."""
    return str(error.get("param") or "").startswith(_DEFINITIONS)


def _first(signs: Iterable[tuple[re.Pattern[str], type[ProviderError]]], said: str) -> type[ProviderError] | None:
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


def _sentence(what: str, codes: list[str], error: Mapping[str, Any], request: Mapping[str, Any]) -> str:
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
        return min(float(header), _LONGEST_WAIT_S)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return min(max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()), _LONGEST_WAIT_S)

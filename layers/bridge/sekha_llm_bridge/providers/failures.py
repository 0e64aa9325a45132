"""From what a provider answered to the one `ProviderError` that says what follows."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sekha_llm_bridge.errors import (
    CallerFault,
    ContentRefused,
    ContextLengthExceeded,
    CredentialsRejected,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderServerError,
    QuotaExhausted,
)

_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|prompt is too long|too many (input )?tokens|maximum.{0,20}tokens",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"content[_ ](filter|policy)|safety|moderation", re.IGNORECASE)
_QUOTA = re.compile(r"insufficient[_ ]quota|exceeded your current quota|billing|credit", re.IGNORECASE)
_LONGEST_DETAIL = 300
_SHORTEST_ECHO = 12


def from_answer(
    status: int, body: object, *, retry_after: str | None = None, request: Mapping[str, Any] | None = None
) -> ProviderError:
    """The failure that an error answer means.

    `body` is the decoded JSON or None. `request` is what was sent: nothing of its texts gets into the message.
    """
    code, detail, param = _read(body)
    said = f"{code} {detail}"
    quoted = _quotable(detail, request or {})
    message = f"the provider answered {status}" + (f": {quoted}" if quoted else "")
    kind = _kind(status, said)
    after = retry_after_s(retry_after, now=datetime.now(UTC)) if kind is ProviderRateLimited else None
    return kind(message, provider_status=status, retry_after_s=after, param=param)


def _kind(status: int, said: str) -> type[ProviderError]:
    if status in {402, 429}:
        return QuotaExhausted if status == 402 or _QUOTA.search(said) else ProviderRateLimited
    if status in {401, 403}:
        return ContentRefused if _REFUSED.search(said) else CredentialsRejected
    if status in {400, 413, 422}:
        if _CONTEXT.search(said):
            return ContextLengthExceeded
        return ContentRefused if _REFUSED.search(said) else CallerFault
    return ModelMissing if status == 404 else ProviderServerError if status == 408 or status >= 500 else CallerFault


def _read(body: object) -> tuple[str, str, str | None]:
    """(code, message, param) of OpenAI's, Ollama's and the other usual error bodies."""
    error = body.get("error", body.get("message")) if isinstance(body, dict) else None
    if isinstance(error, str):
        return "", error, None
    if not isinstance(error, dict):
        return "", "", None
    param = error.get("param")
    code = f"{error.get('code') or ''} {error.get('type') or ''}"
    return code, str(error.get("message") or ""), param if isinstance(param, str) else None


def _quotable(detail: str, request: Mapping[str, Any]) -> str:
    """The provider's own words, unless they repeat something of the prompt: errors never hold prompt text."""
    detail = " ".join(detail.split())[:_LONGEST_DETAIL]
    return "" if any(_echoes(detail, text) for text in _texts(request)) else detail


def _echoes(detail: str, text: str) -> bool:
    text = " ".join(text.split())
    if len(text) < _SHORTEST_ECHO:
        return len(text) > 3 and text in detail
    return any(detail[i : i + _SHORTEST_ECHO] in text for i in range(len(detail) - _SHORTEST_ECHO + 1))


def _texts(value: object) -> Iterator[str]:
    """Every text a caller wrote: message contents, inputs, tool arguments; not names of models, roles or types."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in {"role", "type", "model", "response_format", "tools"}:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After header in either of its forms (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())

"""Classifies Bedrock's errors, over the shared rules of `providers/failures.py`.

The type of an error is in the header `x-amzn-errortype`, for example `ValidationException:http://…`, or in `__type`.
Sources: Amazon Bedrock API Reference, "Converse", errors; User Guide, "Troubleshooting Amazon Bedrock API Error Codes";
"Common Errors" of AWS. The messages are those of public reports.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers.bedrock.event_stream import EventMessage
from sekha_llm_bridge.providers.error_text import read_error_body
from sekha_llm_bridge.providers.failures import error_from_answer
from sekha_llm_bridge.providers.retry_wait import Header

# The status by which the shared rules read an error of each type. Streams name the types with a small first letter.
_STATUSES = {
    "throttlingexception": 429,
    "servicequotaexceededexception": 429,  # Bedrock's own status is 400
    "modelnotreadyexception": 429,
    "modeltimeoutexception": 504,  # Bedrock's own status is 408
    "modelerrorexception": 500,  # Bedrock's own status is 424
    "modelstreamerrorexception": 500,
    "internalserverexception": 500,
    "internalfailure": 500,
    "serviceunavailableexception": 503,
    "serviceunavailable": 503,
    "conflictexception": 500,
    "validationexception": 400,
    "validationerror": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
}
_BILLED_TYPES = frozenset({"modelerrorexception", "modelstreamerrorexception"})
_CREDENTIAL_TYPES = frozenset(
    {
        *("expiredtokenexception", "expiredtoken", "unrecognizedclientexception", "invalidclienttokenid"),
        *("invalidsignatureexception", "signaturedoesnotmatch", "incompletesignature", "incompletesignatureexception"),
        *("missingauthenticationtoken", "missingauthenticationtokenexception", "requestexpired", "notauthorized"),
    }
)
# What a message says, whatever its type is. The first match counts; the shared rules come after it.
_MODEL_MISSING = (
    r"on-demand throughput|model identifier is invalid|reached the end of its life|is marked .{0,20}legacy"
    r"|'modelid' failed to satisfy|model arn .{0,40}(invalid|not found)|could not resolve the foundation model"
)
_ACCESS_DENIED = (
    r"guardrail .{0,80}(does not exist|not found|invalid|not ready)|use case details have not been submitted"
    r"|n.t have access to the model|marketplace|not authorized to (invoke|perform)|model access is denied"
)
_CREDENTIALS_REJECTED = r"token .{0,30}(has )?expired|token .{0,40}is invalid|api key is valid"
_UNSUITABLE = (
    r"unsupported model|prompt caching|extraneous key|failed to satisfy constraint|tokens you requested exceeds"
    r"|doesn.t support|isn.t supported|deprecated for this model|may not be enabled when|may only be set to"
    r"|must be unset|conversation must start with|must alternate|document (names?|blocks?)"
    r"|toolconfig field must be defined"
)
_KINDS: tuple[tuple[str, FailureKind], ...] = (
    (_MODEL_MISSING, FailureKind.MODEL_MISSING),
    (_ACCESS_DENIED, FailureKind.ACCESS_DENIED),
    (_CREDENTIALS_REJECTED, FailureKind.CREDENTIALS_REJECTED),
    (_UNSUITABLE, FailureKind.CANDIDATE_UNSUITABLE),
)
_NO_TIME = datetime.fromtimestamp(0, UTC)  # an error inside a stream has no headers with dates
_MAX_TOKENS = r"max_?tokens|maximum tokens|tokens you requested"


def read_error(
    status: int, content: bytes, *, header: Header, request: Mapping[str, Any], now: datetime
) -> ProviderError:
    """Returns the error for an answer with an error status. See `failures.error_from_answer`."""
    body = _json(content)
    name = _short_name(header("x-amzn-errortype") or str(body.get("__type") or ""))
    original = body.get("originalStatusCode") if name.lower() == "modelerrorexception" else None
    return _error(name, status, content, header=header, request=request, now=now, original_status=original)


def error_of_event(message: EventMessage, *, request: Mapping[str, Any], may_be_billed: bool) -> ProviderError:
    """Returns the error for a message of type `exception` or `error` inside a stream.

    `may_be_billed`: a part of the answer came before it.
    """
    name = message.text(":exception-type") or _short_name(message.text(":error-code"))
    content = message.payload or orjson.dumps({"message": message.text(":error-message")})
    error = _error(name, 200, content, header=lambda _: None, request=request, now=_NO_TIME)
    return error.with_billing(None, may_be_billed=may_be_billed)


def rejects_max_tokens(failure: Failure) -> bool:
    """Returns whether a rejection is about the output limit."""
    return re.search(_MAX_TOKENS, failure.provider_text, re.IGNORECASE) is not None


def _error(
    name: str,
    status: int,
    content: bytes,
    *,
    header: Header,
    request: Mapping[str, Any],
    now: datetime,
    original_status: object = None,
) -> ProviderError:
    kind_of_type = name.lower()
    message = read_error_body(content).message
    read_as = _STATUSES.get(kind_of_type, status if status >= 400 else 500)
    if isinstance(original_status, int) and original_status >= 400:
        read_as = original_status
    kind = _kind(kind_of_type, message)
    return error_from_answer(
        read_as,
        orjson.dumps({"__type": name, "message": message}) if name else content,
        header=header,
        request=request,
        now=now,
        kind=kind,
        answered_status=status,
        may_be_billed=kind_of_type in _BILLED_TYPES or None,
    )


def _kind(name: str, message: str) -> FailureKind | None:
    """Returns the kind where the type or the message says it by itself; None: by the shared rules."""
    if name in _CREDENTIAL_TYPES:
        return FailureKind.CREDENTIALS_REJECTED
    if _STATUSES.get(name, 400) not in {400, 403, 404}:
        return None
    return _first_match(_KINDS, message)


def _first_match(kinds: Iterable[tuple[str, FailureKind]], text: str) -> FailureKind | None:
    return next((kind for pattern, kind in kinds if re.search(pattern, text, re.IGNORECASE)), None)


def _json(content: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _short_name(name: str) -> str:
    """Returns the name of a type without its namespace and without the address after it."""
    short = name.partition(":")[0].rpartition("#")[2].strip()
    return short if re.fullmatch(r"[A-Za-z]{3,60}", short) else ""

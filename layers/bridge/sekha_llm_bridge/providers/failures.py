"""Classifies a provider's error answers: turns each into one `ProviderError`.

The kind of a failure is decided by the status, by the answer's codes and by its message, in this order of trust. The
message itself is kept apart from the failure's own sentence (`Failure.provider_text`): only the caller may read it, and
only where the request or the candidate is at fault.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.error_text import ErrorText, plain_text, read_error, read_error_body
from sekha_llm_bridge.providers.retry_wait import Header, retry_wait_s
from sekha_llm_bridge.providers.token_counts import read_chat_usage

# All patterns are texts, which `re` compiles at the first failure: together that takes ten milliseconds of a start.
# They are compared in any letter case.
_CONTEXT_TOO_LONG = (
    r"max(?:imum)? (?:\w+ ){0,2}(?:context|input|prompt|sequence) ?(?:length|size|tokens)?\b"
    r"|exceed\w* (?:\S+ ){0,6}(?:context|input length|prompt length|token limit|max_model_len|n_ctx|num_ctx)"
    r"|exceed\w* (?:\S+ ){0,4}max(?:imum)? (?:\S+ ){0,3}(?:tokens?|length)\b"
    r"|context (?:window|limit|length|size) (?:of|is|was|(?:has been )?exceeded)\b|\bcontext the overflows"
    r"|(?:fit|longer|larger|greater|more)\w* (?:\S+ ){0,6}context"
    r"|(?:prompt|input|request|messages?|conversation|text|sequence|content|document|tokens) "
    r"(?:\w+ ){0,4}(?:too long|too many tokens|longer than|larger than)|(?:input|prompt) (?:\w+ ){0,2}too large"
    r"|too many (?:\w+ )?tokens|(?:input|prompt) token count|input length should be"
    r"|tokens and .{0,40}too large for|tokens exceed|tokens \+ .{0,40}must be|must have less than \d+ tokens"
    r"|reduce the (?:length|size) of (?:the|your) (?:messages|prompt|input)"
    r"|model max(?:imum)? length|\bmax_seq_len\b|length of (?:the )?(?:prompt|input)"
)
_CONTENT_REFUSED = (
    r"content[_ ](filter|policy|management)|responsibleaipolicy|flagged|moderation|safety (system|filter|policy)"
    r"|violat\w{1,4} (\S+ )?(usage|content) (guideline|polic)|data_?inspection|inappropriate content"
    r"|unsafe or sensitive content|不安全或敏感内容|content exists risk"
)
_QUOTA_EXHAUSTED = (
    r"insufficient[_ ](quota|balance|credit|fund)|credit balance|billing_hard_limit|exceeded_current_quota"
    r"|spend_limit_reached|reached (your|its) (\S+ ){0,2}(usage|spend\w*) limit"
)
_KEY_REJECTED = (
    r"\bapi key (is )?(not valid|invalid|incorrect|expired)|\b(incorrect|invalid) (api key|authentication)"
    r"|(api key|token) (has )?expired|security token .{0,40}invalid|organization has been disabled"
)
_AUTHENTICATION_CODE = (
    r"api_?key|authentication|unauthenticated|unauthori[sz]ed|token_expired|invalid_token|expired_?token"
    r"|unrecognized_?client|invalid_?signature"
)
_MODEL_MISSING = r"not a valid model|model *(does )?not exist|model (identifier|id|name) is invalid|\bunknown model\b"
_UNKNOWN_FIELD = (
    r"extra (inputs?|fields?|parameters?|properties|data)\b.{0,80}not (permitted|allowed|supported)|extra_forbidden"
    r"|additional propert"
    r"|un(recogni[sz]ed|expected|known)[ _](request )?(argument|field|key|parameter|property|name|input)"
)
_UNSUPPORTED = (
    rf"{_UNKNOWN_FIELD}"
    r"|(field|parameter|property|argument)s? .{0,60}not (permitted|allowed|recogni[sz]ed|exist)(?! to )"
    r"|\bnot (currently |yet |officially )?support|n't (currently |yet )?support"
    r"|\bunsupported\b(?! char)|\bnot_supported|\bsupports? only\b(?! up)|\bonly supports?\b(?! up)"
    r"|\bonly .{0,40}(is|are) supported|cannot be used (with|together)"
    r"|\bnot (yet )?(available|enabled|implemented|compatible|permitted|allowed) (for|with|in|on|by) (this|the) "
    r"|(deprecated|removed) (for|on|in) this model|maximum allowed number of output tokens"
    r"|(only be set|not be set|not be enabled|be unset)\b.{0,20} when|image exceeds .{0,40}maximum|maximum of \d+ pdf"
    r"|tool choice requires|requires? --|no endpoints found that|no tool call parser|\bchat template\b"
    r"|multimodal|\bat most 0 |cannot (process|handle|accept|read|see) (image|audio|video|tool)"
    r"|(unexpected|unknown|invalid|unsupported) (message )?role|expected last role|after the optional system"
    r"|roles? (must|should) (alternate|be (alternat|one|either|user|system|assistant))"
    r"|\b(system|first|last) message must\b|incompatible with|is incompatible"
    r"|unknown variant|not match any variant|invalid type: \w+, expected|type is unavailable|missing data required"
    r"|this model (only )?(accepts|allows|supports) (at most|up to)|cannot both be "
    r"|allowed (for|with|by|on) this model|for non-?stream|\bbatch size\b"
)
# Text in quotation marks comes from the request, for example names of functions or parts of the prompt. An apostrophe
# inside a word is no quotation mark, and Groq gives its reasons as `[(…)]`.
_QUOTED = r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|(?<!\[)\([^()]*\)"
# Faults of what the bridge has checked itself: this server takes less than OpenAI's format allows.
_NARROWER_FORMAT = (
    r"\bcontent\W.{0,80}\b(must be|should be|expected) an? (valid )?string\b|response_format\W{1,2}type\W{1,3}must be "
)
_ORDER_OF_TOOL_MESSAGES = r"must be (a response to|followed by)"
_ROLE = r"\broles?\b|\bsystem message\b"
_LONG_TEXT = r"(?:messages|input)\b(?!.*\b(?:id|tool_call_id|name)$)"
_CALLER_DEFINED_FIELDS = ("tools", "functions", "response_format")
_FIELD_PATH = r"[A-Za-z0-9_.\[\]]{1,80}"
# A gateway gave up or failed; the server behind it may continue, and bill the request. 504 and 524 are timeouts.
_GATEWAY_GAVE_UP = frozenset({408, 520})
_OVERLOADED = frozenset({503, 529})
_BY_CALLER = frozenset({400, 413, 422})
_ERROR_IN_ANSWER = "the provider put an error into its answer"
_MAX_PROVIDER_TEXT = 2_000  # bytes, of the masked text: a secret that was cut would not be found

# The kinds of failure behind a status of `_BY_CALLER`, by the vendor's codes and by its message. The first match
# counts.
_KINDS_BY_CODE: tuple[tuple[str, FailureKind], ...] = (
    (r"api_key|authentication|organization_on_hold", FailureKind.CREDENTIALS_REJECTED),
    (_QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
    (r"rate_limit", FailureKind.RATE_LIMITED),
    (r"model_(does_)?not_(exist|found|supported)|unknown_model|not_found_error", FailureKind.MODEL_MISSING),
    (r"context_(length|window|size)|tokens_limit_reached", FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (_CONTENT_REFUSED, FailureKind.CONTENT_REFUSED),
    (r"unsupported|not_supported|extra_forbidden|unknown_parameter", FailureKind.CANDIDATE_UNSUITABLE),
)
_KINDS_BY_MESSAGE: tuple[tuple[str, FailureKind], ...] = (
    (_KEY_REJECTED, FailureKind.CREDENTIALS_REJECTED),
    (_QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
    (_MODEL_MISSING, FailureKind.MODEL_MISSING),
    (_CONTEXT_TOO_LONG, FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (_UNSUPPORTED, FailureKind.CANDIDATE_UNSUITABLE),
    (_CONTENT_REFUSED, FailureKind.CONTENT_REFUSED),
)
# The statuses of Anthropic's error types, which are all that an error inside a stream has.
_STATUSES_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# What a model lacks altogether, by the words for it. The names are those of `RouteRequest.used_features`. A kind of
# tool choice, an image format or a keyword of a schema is not the whole feature: other requests may still use it.
_LACKS = r"(?:not (?:currently |yet )?support|n't (?:currently |yet )?support|that support)"
_ARE_NOT = r"\W+(?:is|are) not (?:currently |yet )?supported"
_FEATURES: tuple[tuple[str, str], ...] = (
    (
        "tools",
        (
            rf"{_LACKS} (?:for )?(?:tools?|tool (?:use|calling|calls?)|functions?|function call\w*)\b(?!.choice)"
            rf"|\b(?:tools?|tool (?:use|calling)|function calling){_ARE_NOT}|tool choice requires|requires --jinja"
        ),
    ),
    (
        "images",
        (
            rf"{_LACKS} (?:for )?(?:images?|vision)(?: inputs?)?\b(?! (?:format|type|url|size|detail))"
            rf"|\b(?:images?|image inputs?|vision){_ARE_NOT}|not a multimodal|\bat most 0 image"
            r"|missing data required for image"
        ),
    ),
    ("audio", rf"{_LACKS} (?:for )?audio\b(?! (?:format|type))|\baudio{_ARE_NOT}"),
    (
        "response_format",
        (rf"{_LACKS} (?:for )?(?:response[ _]format|structured outputs?|json[ _]schema)\b|json_schema{_ARE_NOT}"),
    ),
)
# Fields that every server knows: where one of them is named, a part of it is at fault.
_FIELDS_WITH_PARTS = frozenset(
    {"messages", "model", "input", "tools", "tool_choice", "functions", "response_format", "metadata"}
)


def error_from_answer(
    status: int,
    content: bytes,
    *,
    header: Header,
    request: Mapping[str, Any],
    now: datetime,
    kind: FailureKind | None = None,
    answered_status: int | None = None,
    may_be_billed: bool | None = None,
) -> ProviderError:
    """Returns the error for an answer with an error status.

    `content` is the body. `header` returns a header of the answer. `request` is the body of the request that was sent.
    `kind` and `may_be_billed` are set by an adapter that knows them. `answered_status` is the status that the provider
    sent, where the adapter has the error read as one with another status.
    """
    error = read_error_body(content)
    kind = _kind(status, error) if kind is None else kind
    is_rate_limit = kind is FailureKind.RATE_LIMITED
    waits = is_rate_limit or (kind is FailureKind.SERVER_ERROR and status in _OVERLOADED)
    sent_status = answered_status or status
    return _provider_error(
        kind,
        f"the provider answered {sent_status}" if sent_status >= 400 else _ERROR_IN_ANSWER,
        error,
        request,
        provider_status=sent_status,
        retry_after_s=retry_wait_s(header, error.retry_delay, is_rate_limit=is_rate_limit, now=now) if waits else None,
        may_be_billed=status in _GATEWAY_GAVE_UP if may_be_billed is None else may_be_billed,
    )


def error_within_success(body: Mapping[str, Any], *, request: Mapping[str, Any]) -> ProviderError:
    """Returns the error for an error object in an answer with status 200.

    It occurred while the answer was generated, so the provider may bill it.
    """
    error = read_error(body["error"], is_structured=True)
    return _provider_error(
        _kind(_status_of_error(body, error), error),
        _ERROR_IN_ANSWER,
        error,
        request,
        provider_status=200,
        usage=read_chat_usage(body.get("usage")),
        may_be_billed=True,
    )


def _provider_error(
    kind: FailureKind, event: str, error: ErrorText, request: Mapping[str, Any], **fields: Any
) -> ProviderError:
    """Returns the error of that kind; its message begins with `event`."""
    is_unsuitable = kind is FailureKind.CANDIDATE_UNSUITABLE
    return ProviderError(
        kind,
        _message(event, error, request),
        param=_param(error.param, request),
        provider_text=error.message if kind.status < 500 else "",
        unsupported_feature=_unsupported_feature(error, request) if is_unsuitable else None,
        **fields,
    )


def _status_of_error(body: Mapping[str, Any], error: ErrorText) -> int:
    """Returns the HTTP status that an error in a 200 answer stands for.

    OpenRouter puts it into `code`, and Anthropic's types stand for one. Otherwise it is 400 for codes that are known
    from 400 answers, and 502.
    """
    value = body["error"]
    if not isinstance(value, dict):
        return 502
    if body.get("type") == "error" and (status := _STATUSES_BY_TYPE.get(str(value.get("type")))) is not None:
        return status
    code = str(value.get("code"))
    if code.isascii() and code.isdigit():
        return int(code) if 400 <= int(code[:4]) < 600 else 502
    return 400 if _first_match(_KINDS_BY_CODE, " ".join(error.codes)) else 502


def _kind(status: int, error: ErrorText) -> FailureKind:
    """Returns the kind of failure. Codes count before the message: that of a rate limit may mention billing."""
    codes, message = " ".join(error.codes), _without_quotes(error.message)
    if status in _BY_CALLER:
        # A 413 that the API itself has not written is one of a server before it, which takes no body of that size.
        is_by_gateway = status == 413 and not error.is_structured
        default = FailureKind.CANDIDATE_UNSUITABLE if is_by_gateway else FailureKind.REQUEST_REJECTED
        return _kind_of_rejection(codes, message, error) or default
    match status:
        case 402:
            return FailureKind.QUOTA_EXHAUSTED
        case 504 | 524:  # a gateway timed out; the server behind it may continue, and bill the request
            return FailureKind.TIMEOUT
        case 429:
            is_empty = _has(_QUOTA_EXHAUSTED, codes or message)
            return FailureKind.QUOTA_EXHAUSTED if is_empty else FailureKind.RATE_LIMITED
        case 401:
            is_refusal = _has(_CONTENT_REFUSED, codes)
            return FailureKind.CONTENT_REFUSED if is_refusal else FailureKind.CREDENTIALS_REJECTED
        case 403:
            return _kind_of_forbidden(codes, message, error)
        case 404:
            return FailureKind.CANDIDATE_UNSUITABLE if _has(_UNSUPPORTED, message) else FailureKind.MODEL_MISSING
        case 500 | 501 if _has(_CONTEXT_TOO_LONG, message):
            return FailureKind.CONTEXT_LENGTH_EXCEEDED
        case 500 | 501 if _has(_UNSUPPORTED, message) and (_first_feature(message) or _has(_ROLE, message)):
            return FailureKind.CANDIDATE_UNSUITABLE
        case _:
            return FailureKind.SERVER_ERROR


def _kind_of_rejection(codes: str, message: str, error: ErrorText) -> FailureKind | None:
    param = error.param or ""
    if param.startswith(_CALLER_DEFINED_FIELDS):  # codes and message may quote names that the caller defined
        is_unsuitable = _has(_UNSUPPORTED, f"{codes} {message}")
        return FailureKind.CANDIDATE_UNSUITABLE if is_unsuitable else FailureKind.REQUEST_REJECTED
    if "string_above_max_length" in codes and re.match(_LONG_TEXT, param):
        return FailureKind.CONTEXT_LENGTH_EXCEEDED
    # The bridge has checked the roles: this model does not know one of them.
    is_unknown_role = param.endswith("role") and not _has(_ORDER_OF_TOOL_MESSAGES, message)
    if is_unknown_role or _has(_NARROWER_FORMAT, f"{param} {error.message}"):
        return FailureKind.CANDIDATE_UNSUITABLE
    return _first_match(_KINDS_BY_CODE, codes) or _first_match(_KINDS_BY_MESSAGE, message)


def _kind_of_forbidden(codes: str, message: str, error: ErrorText) -> FailureKind:
    """Returns the kind of a 403. Only the API itself can say that the key is at fault: a page of a firewall cannot."""
    if not error.is_structured:
        return FailureKind.ACCESS_DENIED
    kinds = (
        (_CONTENT_REFUSED, FailureKind.CONTENT_REFUSED),
        (_QUOTA_EXHAUSTED, FailureKind.QUOTA_EXHAUSTED),
        (_KEY_REJECTED, FailureKind.CREDENTIALS_REJECTED),
    )
    if kind := _first_match(kinds, f"{codes} {message}"):
        return kind
    is_about_the_key = _has(_AUTHENTICATION_CODE, codes) and not _has("model|region|country", codes)
    return FailureKind.CREDENTIALS_REJECTED if is_about_the_key else FailureKind.ACCESS_DENIED


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def _first_match(kinds: Iterable[tuple[str, FailureKind]], text: str) -> FailureKind | None:
    return next((kind for pattern, kind in kinds if _has(pattern, text)), None)


def _without_quotes(text: str) -> str:
    """Returns a text without what it quotes; unchanged where it is all one quotation."""
    rest = " ".join(re.sub(_QUOTED, " ", text).split())
    return rest if re.search(r"[A-Za-z]{3}", rest) else text


def _unsupported_feature(error: ErrorText, request: Mapping[str, Any]) -> str | None:
    """Returns what the model lacks, or the field that it does not know. None for a value that it does not accept, and
    where the answer does not say it.
    """
    text = f"{error.param or ''} {error.message}"
    if _has(_UNKNOWN_FIELD, f"{' '.join(error.codes)} {text}"):
        words = set(re.findall(r"[A-Za-z_]{3,40}", text))
        return next((name for name in request if name in words and name not in _FIELDS_WITH_PARTS), None)
    return _first_feature(text)


def _first_feature(text: str) -> str | None:
    return next((name for name, pattern in _FEATURES if _has(pattern, text)), None)


def _message(event: str, error: ErrorText, request: Mapping[str, Any]) -> str:
    """Returns the bridge's own sentence. Of the provider's message it has only names of the request's fields."""
    words = set(re.findall(r"[A-Za-z_]{3,40}", error.message))
    fields = [name for name in request if name in words and name not in {"input", "messages", "model"}]
    parts = [event]
    parts += [f" ({', '.join(error.codes[:3])})"] if error.codes else []
    parts += [f"; its message names {', '.join(fields)}"] if fields else []
    return "".join(parts)


def _param(value: str | None, request: Mapping[str, Any]) -> str | None:
    """Returns the provider's `param` where it is the path of a field of the request."""
    if value is None or not re.fullmatch(_FIELD_PATH, value):
        return None
    return value if re.split(r"[.\[]", value)[0] in request else None


def caller_text(text: str, mask: Callable[[str], str]) -> str:
    """Returns a provider's text for a caller: one line, without markup, secrets masked, at most 2 kB as UTF-8."""
    return mask(plain_text(text)).encode()[:_MAX_PROVIDER_TEXT].decode(errors="ignore")

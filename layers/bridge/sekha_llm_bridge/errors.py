"""Every error of the bridge, in one tree, and the table of the ways in which an attempt can fail.

    BridgeError                      500  an error for a caller: HTTP status, type, code
    ├── ConfigError                  500  the YAML file cannot be used; has every fault that was found
    │   └── ConfigUnavailable        503  a stored value that it needs could not be fetched yet
    ├── RequestError                 the caller can correct it
    │   ├── InvalidRequest           400  a field is wrong
    │   │   └── PreviousResponseNotFound  400  it goes on from an earlier response, and none is stored
    │   ├── NoCapableModel           400  no configured model can do what the request needs
    │   ├── ContextLengthExceeded    400  the prompt is too long for every model that could answer
    │   ├── AuthenticationFailed     401  there is no API key, or it is not valid
    │   ├── CostLimitExceeded        402  every model that could answer costs too much
    │   ├── BudgetExceeded           402  a budget of the key, or of the bridge, is used up
    │   ├── PermissionDenied         403  the API key may not do this
    │   │   └── NotAllowed           403  its policy does not allow it
    │   ├── ModelNotFound            404  the named model is not configured
    │   ├── CollectionNotFound       404  no collection has that name
    │   ├── UnknownPath              404
    │   ├── WrongMethod              405
    │   ├── EmbeddingSpaceMismatch   409  the collection has vectors of another embedding space
    │   ├── RequestUnderWay          409  the first request of this Idempotency-Key is still being answered
    │   ├── AnswerNotKept            409  the first request was answered, but its answer cannot be repeated
    │   └── IdempotencyKeyReused     422  the Idempotency-Key was sent with another request
    ├── Unavailable                  no candidate answered
    │   ├── RateLimited              429  every candidate is rate-limited
    │   │   └── KeyLimitExceeded     429  the API key has sent too many requests or tokens, or too many at once
    │   ├── ClientDisconnected       499  the client disconnected first; only the log has this error
    │   ├── AllProvidersFailed       502  every candidate was tried and failed
    │   ├── UnusableAnswer           502  a model's answer does not have the required form
    │   ├── StreamInterrupted        502  a streamed answer was interrupted
    │   ├── AccessUnavailable        503  the table of keys, budgets or answers does not answer
    │   ├── NoProviderAvailable      503  every candidate has an open breaker, or is cooling down
    │   ├── VectorStoreUnavailable   503  Chroma does not answer
    │   └── DeadlineExceeded         504  the deadline passed first
    └── ProviderError                one attempt failed: its `FailureKind` is a row of the table of failures below

Messages say what happened, to which value, and what to do. They contain no key and no text of a prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from sekha_llm_bridge.usage import Usage


class BridgeError(Exception):
    """An error for a caller, in the terms of OpenAI's error envelope.

    `status` is the HTTP status, `type`, `code` and `param` the fields of the envelope. `retry_after_s` says in how many
    seconds a retry makes sense, where that is known. What was tried and what it cost is not part of an error: the
    request's report has it.

    Only the Python client sets the rest, from the answer that it received: the request's id, the attempts (provider,
    model, status, code, reason, latency, cost), the candidates of a plan, and the receipt of what was done all the
    same.
    """

    status: int = 500
    type: str = "server_error"
    code: str = "internal_error"
    param: str | None = None
    retry_after_s: float | None = None
    request_id: str | None = None
    attempts: Sequence[Mapping[str, Any]] = ()
    candidates: Sequence[Mapping[str, Any]] = ()
    receipt: Mapping[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets an error pass between processes, whatever its constructor takes."""
        return _restored, (type(self), self.args, vars(self))

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self)

    def details(self) -> Mapping[str, object]:
        """Returns further fields of the envelope's `error` object."""
        return {}


def _restored(kind: type[BridgeError], args: tuple[Any, ...], state: Mapping[str, Any]) -> BridgeError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class ConfigError(BridgeError):
    """The configuration cannot be used. `faults` has every problem, one line each."""

    code = "config_invalid"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class ConfigUnavailable(ConfigError):
    """Values stored in AWS, which the configuration needs as a whole, could not be fetched yet. They are fetched again
    at a request after `retry_after_s`.
    """

    status = 503
    code = "config_unavailable"
    retry_after_s = 3.0


class RequestError(BridgeError):
    """The caller can correct the request; `param` is the path of the field, where it is one field."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(RequestError):
    """A field of the request is wrong; `param` is its path."""


class NoCapableModel(RequestError):
    """No configured model can do what the request needs."""

    code = "no_capable_model"


class CostLimitExceeded(RequestError):
    """Every model that could answer would cost more than the limit."""

    status = 402
    type = "cost_limit_error"
    code = "cost_limit_exceeded"


class AuthenticationFailed(RequestError):
    """There is no API key, or it is not valid."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class BudgetExceeded(RequestError):
    """What every model that could answer may cost does not fit into what is left of a budget. `budget` says which
    budget, what is left of it, and when it is renewed.
    """

    status = 402
    type = "cost_limit_error"
    code = "budget_exceeded"
    budget: Mapping[str, object] = MappingProxyType({})

    def __init__(
        self, message: str, *, budget: Mapping[str, object] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.budget = budget or self.budget
        self.retry_after_s = retry_after_s

    def details(self) -> Mapping[str, object]:
        """Returns the budget."""
        return {"budget": self.budget} if self.budget else {}


class PermissionDenied(RequestError):
    """The API key may not do that."""

    status = 403
    type = "permission_error"
    code = "access_denied"


class NotAllowed(PermissionDenied):
    """The policy of the API key does not allow this; the message says what it allows."""

    code = "not_allowed_for_key"


class ContextLengthExceeded(RequestError):
    """The prompt is too long for every model that could answer; `param` is `messages`, `input` or `input[i]`.

    `prompt_tokens` are the estimated tokens of the prompt, more than `max_tokens`, the largest context window.
    """

    code = "context_length_exceeded"

    def __init__(
        self, message: str, *, param: str | None = None, prompt_tokens: int | None = None, max_tokens: int | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.prompt_tokens, self.max_tokens = prompt_tokens, max_tokens


class ModelNotFound(RequestError):
    """The model that the request names is not configured."""

    status = 404
    code = "model_not_found"


class PreviousResponseNotFound(InvalidRequest):
    """The request goes on from an earlier response, and none is stored. By the code, which is OpenAI's, clients send
    the whole conversation instead.
    """

    code = "previous_response_not_found"


class CollectionNotFound(RequestError):
    """There is no collection of that name."""

    status = 404
    code = "collection_not_found"


class UnknownPath(RequestError):
    """No such path."""

    status = 404
    code = "not_found"


class WrongMethod(RequestError):
    """The path exists, with other methods."""

    status = 405
    code = "method_not_allowed"


class EmbeddingSpaceMismatch(RequestError):
    """The collection has vectors of another embedding space. `receipt` is that of the embedding, which was made and
    billed.
    """

    status = 409
    code = "embedding_space_mismatch"

    def __init__(self, message: str, *, receipt: Mapping[str, object], param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.receipt = receipt

    def details(self) -> Mapping[str, object]:
        """Returns the receipt of the embedding."""
        return {"bridge": self.receipt or {}}


class RequestUnderWay(RequestError):
    """The first request of this Idempotency-Key is still being answered."""

    status = 409
    code = "idempotent_request_under_way"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AnswerNotKept(RequestError):
    """The first request of this Idempotency-Key was answered, and its answer cannot be repeated. A model is not asked
    again, because the first answer may have been billed.
    """

    status = 409
    code = "idempotent_answer_not_kept"


class IdempotencyKeyReused(RequestError):
    """The Idempotency-Key was sent with another request."""

    status = 422
    code = "idempotency_key_reused"


class Unavailable(BridgeError):
    """No candidate answered. `retry_after_s` is the time after which a retry makes sense, where that is known."""

    type = "provider_error"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AllProvidersFailed(Unavailable):
    """Every candidate was tried and failed."""

    status = 502
    code = "all_providers_failed"


class UnusableAnswer(Unavailable):
    """A model's answer does not have the required form, also when the model was asked again."""

    status = 502
    code = "unusable_answer"


class StreamInterrupted(Unavailable):
    """A streamed answer was interrupted: the client received only a part of it."""

    status = 502
    code = "answer_broken"


class ClientDisconnected(Unavailable):
    """The client disconnected before the end of its answer. Only the log has this error."""

    status = 499
    code = "caller_gone"

    def __init__(self) -> None:
        super().__init__("the client disconnected before the end of the answer")


class AccessUnavailable(Unavailable):
    """The table of keys, of budgets or of stored answers does not answer, and the request may not go on without it."""

    status = 503
    type = "server_error"
    code = "access_unavailable"


class NoProviderAvailable(Unavailable):
    """Every candidate has an open breaker or is cooling down; `retry_after_s` is the soonest recovery."""

    status = 503
    code = "no_provider_available"


class RateLimited(Unavailable):
    """Every candidate is rate-limited; `retry_after_s` is the soonest end of a limit."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class KeyLimitExceeded(RateLimited):
    """The API key has sent too many requests or tokens in this minute, or too many requests at once."""

    code = "key_limit_exceeded"


class DeadlineExceeded(Unavailable):
    """The deadline passed before any candidate answered."""

    status = 504
    code = "deadline_exceeded"


class VectorStoreUnavailable(Unavailable):
    """The Chroma server does not answer, or none is configured."""

    status = 503
    type = "server_error"
    code = "vector_store_unavailable"


class CallOutcome(Enum):
    """The outcome of one call, as the provider's circuit breaker records it."""

    SUCCESS = "success"
    """The provider works."""

    FAILURE = "failure"
    """The provider failed. `failure_threshold` failures in a row open its breaker."""

    REJECTION = "rejection"
    """The provider will reject every request until an operator acts. Its breaker opens at once."""

    NEUTRAL = "neutral"
    """The call says nothing about the provider."""


_SUCCESS, _FAILURE, _REJECTION, _NEUTRAL = CallOutcome

_INVALID_REQUEST = "invalid_request_error"
_STATUSES_OF_CALLER = frozenset({400, 413, 422})  # a rejected request keeps the provider's status


@dataclass(frozen=True)
class _FailureRow:
    """The columns of `FailureKind`.

    `code`: the code in attempts, logs and errors. `outcome`: what the provider's breaker records. `try_next`: whether
    the next candidate is tried. `affects_all_models`: whether the provider's other models would fail in the same way
    now. `may_be_billed`: whether the provider may bill the attempt although it sent no `usage`. `status`: the HTTP
    status for the caller, if this failure is what the caller gets. `remedy`: what the reader can do.
    """

    code: str
    outcome: CallOutcome
    try_next: bool = True
    affects_all_models: bool = False
    may_be_billed: bool = False
    status: int = 502
    remedy: str = ""

    @property
    def type(self) -> str:
        """The `type` in OpenAI's error envelope."""
        return _INVALID_REQUEST if self.status < 500 else "provider_error"


# fmt: off — a table is read by its columns
class FailureKind(_FailureRow, Enum):
    """Every way in which an attempt can fail, one row each: the table of failures.

    CONNECT_FAILED          no connection could be made; nothing was sent
    CONNECTION_LOST         the connection broke after the request was sent
    TIMEOUT                 the provider, or a server behind it, did not answer in time; it may continue, and bill it
    SERVER_ERROR            5xx, 408 or another status that does not concern the request
    MALFORMED_ANSWER        a success status with an unusable answer
    ADAPTER_FAULT           an unexpected exception in the bridge's own adapter
    RATE_LIMITED            429: too many requests; `Failure.retry_after_s` holds the wait that the provider asked for
    QUOTA_EXHAUSTED         429 or 402: the account is empty; waiting does not help
    CREDENTIALS_REJECTED    401, or a 403 whose code is about authentication
    ACCESS_DENIED           any other 403: a firewall, a country, a single model. The breaker counts it only if the
                            provider's free call fails, too
    MODEL_MISSING           404: the provider does not have this model
    OUTPUT_CAP_REFUSED      the provider refused the output limit that the bridge added to the request
    CONTEXT_LENGTH_EXCEEDED the prompt does not fit this model: only a strictly larger window is tried next
    DIMENSIONS_IGNORED      the vectors are longer than requested: the model cannot shorten them
    CANDIDATE_UNSUITABLE    this model or server lacks something that the request uses: tools, images, a role, a field,
                            a value. Another model may have it; the instance remembers it for a while
    REQUEST_REJECTED        400, 413 or 422: the request itself is wrong, and would be wrong everywhere
    CONTENT_REFUSED         the provider refused the content; the request is never sent to another provider
    """

    #                          code                        breaker     try_next  all_models billed  status  remedy
    CONNECT_FAILED = ("connect_failed", _FAILURE, True, True, False, 502, "is it running at its base_url?")
    CONNECTION_LOST = ("connection_lost", _FAILURE, True, False, True)
    TIMEOUT = ("timeout", _FAILURE, True, False, True, 502, "a shorter timeout_secs leaves the next model more time")
    SERVER_ERROR = ("provider_server_error", _FAILURE, True, False, False)
    MALFORMED_ANSWER = ("malformed_answer", _FAILURE, True, False, True)
    ADAPTER_FAULT = ("adapter_fault", _NEUTRAL, True, False, True)
    RATE_LIMITED = ("rate_limited", _NEUTRAL, True, False, False)
    QUOTA_EXHAUSTED = ("quota_exhausted", _REJECTION, True, True, False, 502, "look at its account")
    CREDENTIALS_REJECTED = ("credentials_rejected", _REJECTION, True, True, False, 502, "check its api_key")
    ACCESS_DENIED = ("access_denied", _FAILURE, True, False, False, 502, "ask its operator, or look at its rules")
    MODEL_MISSING = ("provider_model_not_found", _NEUTRAL, True, False, False, 502, "check its model_id")
    OUTPUT_CAP_REFUSED = ("output_cap_refused", _NEUTRAL, True, False, False)
    CONTEXT_LENGTH_EXCEEDED = (
        "context_length_exceeded",
        _NEUTRAL,
        True,
        False,
        False,
        400,
        "Shorten the prompt, or configure a model with a larger context window",
    )
    DIMENSIONS_IGNORED = ("dimensions_not_supported", _NEUTRAL, True, False, True, 400)
    CANDIDATE_UNSUITABLE = (
        "unsupported_by_model",
        _NEUTRAL,
        True,
        False,
        False,
        400,
        "Leave out what the model lacks, or configure a model that has it",
    )
    REQUEST_REJECTED = ("invalid_request", _NEUTRAL, False, False, False, 400, "Correct the request")
    CONTENT_REFUSED = (
        "content_refused",
        _NEUTRAL,
        False,
        False,
        False,
        400,
        "Change the content: refused content is not sent to another provider",
    )


# fmt: on


@dataclass(frozen=True, slots=True)
class Failure:
    """How one attempt at one provider failed.

    `message` holds no secret and no text of the prompt. `provider_text` is the provider's own message, where the
    request
    or the candidate is at fault: it may quote the prompt, so only the caller may read it, after `ProviderError.masked`.
    `unsupported_feature` is what this candidate lacks: a feature or a field of the request. `provider_status` is the
    provider's HTTP status, None where it
    sent no answer. `retry_after_s` is the wait that the provider asked for. `param` is the path of the field at fault.
    `usage` is what the provider says that it bills. `may_be_billed`: the provider may bill the attempt although `usage`
    is None.
    """

    kind: FailureKind
    message: str
    provider_status: int | None = None
    retry_after_s: float | None = None
    param: str | None = None
    usage: Usage | None = None
    may_be_billed: bool = False
    provider_text: str = ""
    unsupported_feature: str | None = None


class ProviderError(BridgeError):
    """One attempt at one provider failed; `failure` says how and is never changed afterwards.

    `may_be_billed` is for a single failure that may be billed although its kind usually is not.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        provider_status: int | None = None,
        retry_after_s: float | None = None,
        param: str | None = None,
        usage: Usage | None = None,
        may_be_billed: bool = False,
        provider_text: str = "",
        unsupported_feature: str | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            kind,
            message,
            provider_status,
            retry_after_s,
            param,
            usage,
            may_be_billed or kind.may_be_billed,
            provider_text,
            unsupported_feature,
        )
        self.kind = kind
        self.status, self.type, self.code = kind.status, kind.type, kind.code
        if kind is FailureKind.REQUEST_REJECTED and provider_status in _STATUSES_OF_CALLER:
            self.status = provider_status
        self.param, self.retry_after_s = param, retry_after_s

    def with_billing(self, usage: Usage | None, *, may_be_billed: bool = False) -> "ProviderError":
        """Returns the same error with another `usage`."""
        return self._with(usage=usage, may_be_billed=may_be_billed or self.failure.may_be_billed)

    def masked(self, mask: Callable[[str], str]) -> "ProviderError":
        """Returns the same error with a `provider_text` that may be shown to the caller."""
        return self._with(provider_text=mask(self.failure.provider_text)) if self.failure.provider_text else self

    def _with(self, **changes: Any) -> "ProviderError":
        fields = {name: getattr(self.failure, name) for name in Failure.__dataclass_fields__}
        return ProviderError(**{**fields, **changes})

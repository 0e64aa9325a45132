"""Every error of the bridge, in one tree.

    BridgeError                      what a caller is told: HTTP status, type, code
    ├── ConfigError                  the YAML file cannot be used; carries every fault found
    ├── RequestError                 the caller can mend it
    │   ├── InvalidRequest           400  a field is wrong
    │   ├── NoCapableModel           400  nothing configured can do what was asked
    │   ├── CostLimitExceeded        402  everything that could costs too much
    │   ├── ModelNotFound            404  the model named is not configured
    │   ├── CollectionNotFound       404  nothing has been stored under that name
    │   ├── UnknownPath              404
    │   ├── WrongMethod              405
    │   └── EmbeddingSpaceMismatch   409  the collection holds vectors of another model
    ├── AllProvidersFailed           502  every candidate was tried and failed
    ├── StreamInterrupted                 502  a streamed answer ended before its end
    ├── ClientDisconnected                   499  the caller went away before the answer's end; only logs tell
    ├── NoProviderAvailable          503  who could answer has an open breaker, or rests
    ├── RateLimited                  429  who could answer limits its rate
    ├── DeadlineExceeded                    504  the deadline passed first
    ├── VectorStoreUnavailable       503  Chroma does not answer
    └── ProviderError                one attempt failed; the class attributes say what follows
        ├── ConnectFailed · ConnectionLost · ProviderTimeout · ProviderServerError · MalformedAnswer
        ├── ProviderRateLimited · QuotaExhausted · CredentialsRejected · ModelMissing · OutputCapRefused · AdapterFault
        └── ContextLengthExceeded · DimensionsIgnored · RequestRejected · ContentRefused

Messages say what happened, to which value, and what to do. They never hold a key or any text of a prompt.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import ClassVar

from sekha_llm_bridge.usage import Usage


class BridgeError(Exception):
    """What went wrong, in the terms of OpenAI's error envelope.

    `attempts` holds what was tried before, without secrets or prompt text; `cost_usd` is what it cost, None where that
    is not known, and `cost_bound_usd` what it cost at most. `candidates` is what `/route` knows of every model.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    param: str | None = None
    retry_after_s: float | None = None
    attempts: Sequence[Mapping[str, object]] = ()
    cost_usd: Decimal | None = None
    cost_bound_usd: Decimal | None = None
    candidates: Sequence[Mapping[str, object]] = ()

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self)

    def details(self) -> Mapping[str, object]:
        """Further fields of the envelope's `error` object."""
        tried: dict[str, object] = {}
        if self.attempts:
            tried = {
                "attempts": list(self.attempts),
                "cost": _number(self.cost_usd),
                "cost_bound": _number(self.cost_bound_usd),
            }
        return {**tried, "candidates": list(self.candidates)} if self.candidates else tried


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


class ConfigError(BridgeError):
    """The configuration cannot be used. `faults` holds every problem, one line each."""

    code = "config_invalid"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class RequestError(BridgeError):
    """The caller can mend it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(RequestError):
    """A field of the request is wrong; `param` is its path."""


class NoCapableModel(RequestError):
    """Nothing that is configured can do what was asked."""

    code = "no_capable_model"


class CostLimitExceeded(RequestError):
    """Every model that could answer would cost more than the limit."""

    status = 402
    type = "cost_limit_error"
    code = "cost_limit_exceeded"


class ModelNotFound(RequestError):
    """The model that the request names is not configured."""

    status = 404
    code = "model_not_found"


class CollectionNotFound(RequestError):
    """Nothing has been stored in a collection of that name."""

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
    """The collection holds vectors of another embedding space; `receipt` is of the embedding, which was made and
    billed.
    """

    status = 409
    code = "embedding_space_mismatch"

    def __init__(self, message: str, *, receipt: Mapping[str, object], param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.receipt = receipt

    def details(self) -> Mapping[str, object]:
        """The receipt of the embedding."""
        return {"bridge": self.receipt}


class Unavailable(BridgeError):
    """No candidate gave an answer. `retry_after_s` says when asking again makes sense, where that is known."""

    type = "provider_error"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AllProvidersFailed(Unavailable):
    """Every candidate was tried and failed."""

    status = 502
    code = "all_providers_failed"


class StreamInterrupted(Unavailable):
    """A streamed answer broke off after it had begun; what came of it is not the whole."""

    status = 502
    code = "answer_broken"


class ClientDisconnected(Unavailable):
    """Whoever asked went away before the answer had come to its end. Nobody is told but the log."""

    status = 499
    code = "caller_gone"


class NoProviderAvailable(Unavailable):
    """Every candidate has an open breaker, or some have and the rest limit their rate; `retry_after_s` is the soonest
    recovery.
    """

    status = 503
    code = "no_provider_available"


class RateLimited(Unavailable):
    """Every candidate is rate-limited; `retry_after_s` is the soonest end."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class DeadlineExceeded(Unavailable):
    """The deadline passed before any candidate answered."""

    status = 504
    code = "deadline_exceeded"


class VectorStoreUnavailable(Unavailable):
    """The server that holds the vectors does not answer, or there is none."""

    status = 503
    type = "server_error"
    code = "vector_store_unavailable"


class BreakerEffect(Enum):
    """What a failure means for the provider's circuit breaker."""

    NONE = "none"
    COUNT = "count"
    OPEN = "open"


class ProviderError(BridgeError):
    """One attempt at one provider failed.

    The class attributes are the failure table. `try_next`: may the next candidate be tried? `breaker`: what does the
    provider's breaker learn? `affects_all_models`: would its other models fail the same way now? `may_be_billed`: may
    the
    provider charge for it although no `usage` says so? `was_deadline_limited`: had this one too little time to
    count?

    `provider_status` is the provider's HTTP status, where there was an answer; `usage` what it says it will bill. A
    single failure may be known to be billable although its kind is not.
    """

    status = 502
    type = "provider_error"
    code = "provider_error"
    try_next: ClassVar[bool] = True
    breaker: ClassVar[BreakerEffect] = BreakerEffect.COUNT
    affects_all_models: ClassVar[bool] = False
    may_be_billed: bool = False
    was_deadline_limited: bool = False
    remedy: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        provider_status: int | None = None,
        retry_after_s: float | None = None,
        param: str | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.provider_status = provider_status
        self.retry_after_s = retry_after_s
        self.param = param
        self.usage = usage


class ConnectFailed(ProviderError):
    """No connection could be made; nothing was sent."""

    code = "connect_failed"
    remedy = "is it running at its base_url?"
    affects_all_models = True


class ConnectionLost(ProviderError):
    """The connection broke after the request was on its way; what the provider made of it is not known."""

    code = "connection_lost"
    may_be_billed = True


class ProviderTimeout(ProviderError):
    """The provider, or what it asked itself, did not answer in time. It may go on working, and bill it."""

    code = "timeout"
    may_be_billed = True
    remedy = "a shorter timeout_secs leaves the next model more time"


class ProviderServerError(ProviderError):
    """5xx or 408, or any other status that says nothing of the request itself."""

    code = "provider_server_error"


class MalformedAnswer(ProviderError):
    """A success status, but not an answer that can be used."""

    code = "malformed_answer"
    may_be_billed = True


class AdapterFault(ProviderError):
    """The bridge's own mistake in dealing with one provider; what the provider made of the request is not known."""

    code = "adapter_fault"
    breaker = BreakerEffect.NONE
    may_be_billed = True


class ProviderRateLimited(ProviderError):
    """429: too fast; `retry_after_s` is the provider's own wish, if it said one."""

    code = "rate_limited"
    breaker = BreakerEffect.NONE


class QuotaExhausted(ProviderError):
    """429 or 402: the account has nothing left; waiting does not help."""

    code = "quota_exhausted"
    remedy = "look at its account"
    breaker = BreakerEffect.OPEN
    affects_all_models = True


class CredentialsRejected(ProviderError):
    """401 or 403."""

    code = "credentials_rejected"
    remedy = "check its api_key"
    breaker = BreakerEffect.OPEN
    affects_all_models = True


class ModelMissing(ProviderError):
    """404: the provider does not have this model."""

    code = "provider_model_not_found"
    remedy = "check its model_id"
    breaker = BreakerEffect.NONE


class OutputCapRefused(ProviderError):
    """The provider refused the output limit that the bridge set, not the caller."""

    code = "output_cap_refused"
    breaker = BreakerEffect.NONE


class ContextLengthExceeded(ProviderError):
    """The prompt does not fit this model; only a strictly larger window may be tried."""

    remedy = "Shorten the prompt, or configure a model with a larger context window"

    status = 400
    type = "invalid_request_error"
    code = "context_length_exceeded"
    breaker = BreakerEffect.NONE


class DimensionsIgnored(ProviderError):
    """The vectors that came are longer than was asked for: the model cannot shorten them."""

    status = 400
    type = "invalid_request_error"
    code = "dimensions_not_supported"
    breaker = BreakerEffect.NONE
    may_be_billed = True


class RequestRejected(ProviderError):
    """400, 413 or 422: the request itself is at fault, and would be anywhere."""

    remedy = "Mend the request"

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    try_next = False
    breaker = BreakerEffect.NONE


class ContentRefused(ProviderError):
    """The provider refused the content; it is never taken elsewhere."""

    remedy = "Change the content: what one provider refuses is not taken to another"

    status = 400
    type = "invalid_request_error"
    code = "content_refused"
    try_next = False
    breaker = BreakerEffect.NONE

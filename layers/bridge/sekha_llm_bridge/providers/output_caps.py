"""Recognises rejections of an output limit that the bridge itself has chosen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers.calls import ChatCall

_REJECTIONS = frozenset({FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE})


@contextmanager
def output_cap_guard(
    call: ChatCall, is_about_limit: Callable[[Failure], bool], *, is_always_sent: bool = False
) -> Iterator[None]:
    """Turns the rejection of an output limit that the bridge has chosen into OUTPUT_CAP_REFUSED.

    REQUEST_REJECTED would blame the caller, and end the failover. `is_about_limit` says whether a rejection is about
    the limit. `is_always_sent`: the format requires a limit, so the bridge chooses one where the caller has none.
    """
    try:
        yield
    except ProviderError as exc:
        failure = exc.failure
        is_chosen = call.output_cap is not None or (is_always_sent and call.conversation.max_output_tokens is None)
        if not is_chosen or failure.kind not in _REJECTIONS or not is_about_limit(failure):
            raise
        message = f"{exc.message}: give the model's `max_output_tokens` in the configuration"
        refusal = ProviderError(FailureKind.OUTPUT_CAP_REFUSED, message, provider_status=failure.provider_status)
        raise refusal.with_billing(failure.usage, may_be_billed=failure.may_be_billed) from exc


def names_field(failure: Failure, *fields: str) -> bool:
    """Returns whether a rejection names one of the fields of the request."""
    rejected = (failure.param or "").partition(".")[0]
    return any(field == rejected or field in failure.message for field in fields)

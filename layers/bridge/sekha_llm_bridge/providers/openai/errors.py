"""Recognises rejections of fields that the bridge itself has added to a request."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.openai.adaptations import OUTPUT_CAP_FIELDS


@contextmanager
def output_cap_guard(call: ChatCall) -> Iterator[None]:
    """Turns the rejection of an output limit that the bridge added into OUTPUT_CAP_REFUSED.

    REQUEST_REJECTED would blame the caller, and end the failover.
    """
    try:
        yield
    except ProviderError as exc:
        if call.output_cap is None or not rejects_field(exc.failure, OUTPUT_CAP_FIELDS):
            raise
        message = f"{exc.message}: give the model's `max_output_tokens` in the configuration"
        raise ProviderError(
            FailureKind.OUTPUT_CAP_REFUSED, message, provider_status=exc.failure.provider_status
        ) from exc


def rejects_field(failure: Failure, fields: Iterable[str]) -> bool:
    """Returns whether the provider rejected the request because of one of the fields."""
    if failure.kind not in {FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE}:
        return False
    rejected = (failure.param or "").partition(".")[0]
    return any(field == rejected or field in failure.message for field in fields)

"""Requests for more vectors than a provider makes at once: sent as several, one after another, answered as one."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, Provider
from sekha_llm_bridge.usage import Usage


async def embed_in_batches(
    provider: Provider, call: EmbeddingCall, limits: BatchLimits, *, timeout_s: float, clock: Clock
) -> EmbeddingAnswer:
    """One vector for each text, of as few requests as the limits allow; each is billed by the provider.

    `timeout_s` is for all of them together. The first failure ends it: its `ProviderError` says what was billed up to
    then. The `usage` of the whole is None where a part has none.
    """
    batches = list(batches_within(limits, call.texts))
    if len(batches) <= 1:
        return await provider.embed(call, timeout_s=timeout_s)
    ends_at_s = clock.monotonic_s() + timeout_s
    answers: list[EmbeddingAnswer] = []
    for texts in batches:
        with _billing_also(answers):
            part = replace(call, texts=texts)
            answers.append(await _embed(provider, part, timeout_s=ends_at_s - clock.monotonic_s()))
    return EmbeddingAnswer([vector for answer in answers for vector in answer.vectors], _total(answers))


def batches_within(limits: BatchLimits, texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, in the fewest runs that are within the limits; a text beyond them has a run to itself.

    A text counts as many tokens as it has bytes, which no byte-level tokenizer exceeds.
    """
    most_tokens = math.inf if limits.most_tokens is None else limits.most_tokens
    return split_into_batches(texts, lambda text: len(text.encode()), max_size=most_tokens, max_items=limits.most_texts)


async def _embed(provider: Provider, part: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
    """Like `Provider.embed`; too many or too few vectors would give those of other batches to the wrong texts."""
    if timeout_s <= 0:
        raise ProviderError(
            FailureKind.TIMEOUT, "no time was left to ask the provider for all of the vectors", usage=Usage(0)
        )
    answer = await provider.embed(part, timeout_s=timeout_s)
    if len(answer.vectors) != len(part.texts):
        message = f"the provider sent {len(answer.vectors)} vectors for {len(part.texts)} texts"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=200, usage=answer.usage)
    return answer


@contextmanager
def _billing_also(answers: Sequence[EmbeddingAnswer]) -> Iterator[None]:
    """Adds to a failure's bill that of the answers before it.

    Where a part of it may be billed and nobody says how much, the whole has no `usage` and may be billed.
    """
    try:
        yield
    except ProviderError as exc:
        if answers:
            is_unknown = exc.failure.usage is None and exc.failure.may_be_billed
            total = None if is_unknown else _total([*answers, EmbeddingAnswer([], exc.failure.usage or Usage(0))])
            raise exc.with_billing(total, may_be_billed=True) from exc
        raise


def _total(answers: Sequence[EmbeddingAnswer]) -> Usage | None:
    """The sum; None if any is unknown."""
    known = [astuple(answer.usage) for answer in answers if answer.usage is not None]
    return Usage(*map(sum, zip(*known, strict=True))) if len(known) == len(answers) else None

"""Splits an embedding request that exceeds a provider's batch limits into several, and joins their answers."""

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace

from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, Provider, malformed_answer
from sekha_llm_bridge.usage import Usage

Renew = Callable[[float], Awaitable[Provider | None]]
"""Returns the provider with the secret that has replaced a rejected one, within so many seconds; None for no other."""


async def embed_in_batches(
    provider: Provider,
    call: EmbeddingCall,
    limits: BatchLimits,
    *,
    timeout_s: float,
    clock: Clock,
    renew: Renew | None = None,
) -> EmbeddingAnswer:
    """Returns one vector for each text, from the fewest requests that the limits allow, one after another.

    The provider bills each request. `timeout_s` limits all of them together. The first failure ends the call: the usage
    of its `ProviderError` includes the earlier requests. `usage` is None where one of the answers has none. A key that
    was rotated between two requests is fetched by `renew`: the earlier ones are not repeated, because they are billed.
    """
    batches = list(batch_texts(limits, call.texts))
    if len(batches) <= 1:
        return await provider.embed(call, timeout_s=timeout_s)
    deadline_s = clock.monotonic_s() + timeout_s
    answers: list[EmbeddingAnswer] = []
    for texts in batches:
        batch = replace(call, texts=texts)
        with _adding_earlier_usage(answers):
            try:
                answer = await _embed_batch(provider, batch, timeout_s=deadline_s - clock.monotonic_s())
            except ProviderError as exc:
                is_rotated = answers and renew and exc.kind is FailureKind.CREDENTIALS_REJECTED
                renewed = await renew(deadline_s - clock.monotonic_s()) if is_rotated and renew else None
                if renewed is None:
                    raise
                provider = renewed
                answer = await _embed_batch(provider, batch, timeout_s=deadline_s - clock.monotonic_s())
            answers.append(answer)
    return EmbeddingAnswer([vector for answer in answers for vector in answer.vectors], _total_usage(answers))


def batch_texts(limits: BatchLimits, texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields the texts in order, in the fewest batches within the limits; a text beyond them has its own batch.

    The number of a text's tokens is taken as its number of bytes, which no byte-level tokenizer exceeds.
    """
    max_tokens = math.inf if limits.max_tokens is None else limits.max_tokens
    return split_into_batches(texts, lambda text: len(text.encode()), max_size=max_tokens, max_items=limits.max_texts)


async def _embed_batch(provider: Provider, batch: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
    """Returns the provider's answer to one batch. Raises `ProviderError`, also for a wrong number of vectors: joined
    with other batches, they would be assigned to the wrong texts.
    """
    if timeout_s <= 0:
        raise ProviderError(
            FailureKind.TIMEOUT, "no time was left to ask the provider for all of the vectors", usage=Usage(0)
        )
    answer = await provider.embed(batch, timeout_s=timeout_s)
    if len(answer.vectors) != len(batch.texts):
        message = f"the provider sent {len(answer.vectors)} vectors for {len(batch.texts)} texts"
        raise malformed_answer(message, answer.usage)
    return answer


@contextmanager
def _adding_earlier_usage(answers: Sequence[EmbeddingAnswer]) -> Iterator[None]:
    """Adds the usage of the earlier answers to that of a failure.

    Where the failed request may be billed and its usage is unknown, the sum is unknown, too.
    """
    try:
        yield
    except ProviderError as exc:
        if answers:
            is_unknown = exc.failure.usage is None and exc.failure.may_be_billed
            total = None if is_unknown else _total_usage([*answers, EmbeddingAnswer([], exc.failure.usage or Usage(0))])
            raise exc.with_billing(total, may_be_billed=True) from exc
        raise


def _total_usage(answers: Sequence[EmbeddingAnswer]) -> Usage | None:
    """Returns the sum of the usages; None if one of them is unknown."""
    known = [astuple(answer.usage) for answer in answers if answer.usage is not None]
    return Usage(*map(sum, zip(*known, strict=True))) if len(known) == len(answers) else None

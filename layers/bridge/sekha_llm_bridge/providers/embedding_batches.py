"""Requests for more vectors than a provider makes at once: sent as several, one after another, answered as one."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.pieces import pieces
from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, Provider
from sekha_llm_bridge.usage import Usage


async def embed_in_batches(
    provider: Provider, call: EmbeddingCall, limits: BatchLimits, *, timeout_s: float, clock: Clock
) -> EmbeddingAnswer:
    """One vector for each text, of as few requests as the limits allow; each is billed by the provider.

    `timeout_s` is for all of them together. The first failure ends it: its `ProviderError` says what was billed up to
    then. The `usage` of the whole is None where a part has none.
    """
    batches = list(split_into_batches(limits, call.texts))
    if len(batches) <= 1:
        return await provider.embed(call, timeout_s=timeout_s)
    ends_at_s = clock.monotonic_s() + timeout_s
    answers: list[EmbeddingAnswer] = []
    for texts in batches:
        with _adding_earlier_usage(answers):
            part = replace(call, texts=texts)
            answers.append(await _embed_batch(provider, part, timeout_s=ends_at_s - clock.monotonic_s()))
    return EmbeddingAnswer([vector for answer in answers for vector in answer.vectors], _total_usage(answers))


def split_into_batches(limits: BatchLimits, texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, in the fewest runs that are within the limits; a text beyond them has a run to itself.

    A text counts as many tokens as it has bytes, which no byte-level tokenizer exceeds.
    """
    max_tokens = math.inf if limits.max_tokens is None else limits.max_tokens
    return pieces(texts, lambda text: len(text.encode()), most_size=max_tokens, most_items=limits.max_texts)


async def _embed_batch(provider: Provider, part: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
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
def _adding_earlier_usage(answers: Sequence[EmbeddingAnswer]) -> Iterator[None]:
    """Adds to a failure's bill that of the answers before it.

    Where a part of it may be billed and nobody says how much, the whole has no `usage` and may be billed.
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
    """The sum; None if any is unknown."""
    known = [astuple(answer.usage) for answer in answers if answer.usage is not None]
    return Usage(*map(sum, zip(*known, strict=True))) if len(known) == len(answers) else None

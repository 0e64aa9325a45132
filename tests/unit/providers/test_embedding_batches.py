"""Embedding requests beyond a provider's batch limits: how they are split, joined, timed and billed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, ChatAnswer
from sekha_llm_bridge.errors import ProviderError
from sekha_llm_bridge.providers import (
    BatchLimits,
    ChatCall,
    EmbeddingAnswer,
    EmbeddingCall,
    embed_in_batches,
    make_provider,
)
from sekha_llm_bridge.providers.embedding_batches import batch_texts
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.provider import FakeProvider, Reply, vector_of
from tests.fakes.settings import embedding_model, provider

PAIRS = BatchLimits(max_texts=2)
FIVE = ["one", "two", "three", "four", "five"]
UNKNOWN = EmbeddingAnswer([[0.0], [0.0]], None)
Scripted = EmbeddingAnswer | ProviderError


class Embedder:
    """A provider that only embeds: the length of a text is its vector and its number of tokens.

    Each call takes `takes_s`. `outcomes` replace the answers of the first calls; None is the usual answer.
    """

    def __init__(self, clock: FakeClock, *outcomes: Scripted | None, takes_s: float = 0.0) -> None:
        self.calls: list[EmbeddingCall] = []
        self.allowed_s: list[float] = []
        self._clock = clock
        self._outcomes = list(outcomes)
        self._takes_s = takes_s

    @property
    def embedding_limits(self) -> BatchLimits:
        return PAIRS

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        self.calls.append(call)
        self.allowed_s.append(timeout_s)
        await self._clock.sleep(self._takes_s)
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, ProviderError):
            raise outcome
        return outcome or EmbeddingAnswer([[float(len(text))] for text in call.texts], Usage(tokens(call.texts)))

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        raise NotImplementedError

    def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
        raise NotImplementedError

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:
        raise NotImplementedError

    async def probe(self, *, timeout_s: float) -> None:
        raise NotImplementedError


def tokens(texts: Sequence[str]) -> int:
    return sum(map(len, texts))


def embed(
    embedder: Embedder, clock: FakeClock, texts: Sequence[str] = FIVE, *, timeout_s: float = 10
) -> EmbeddingAnswer:
    call = EmbeddingCall("m", texts, dimensions=1, user="u")
    return asyncio.run(embed_in_batches(embedder, call, embedder.embedding_limits, timeout_s=timeout_s, clock=clock))


def failure_of(embedder: Embedder, clock: FakeClock, *, timeout_s: float = 10) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        embed(embedder, clock, timeout_s=timeout_s)
    return caught.value


@given(
    st.lists(st.text(max_size=12), max_size=30),
    st.builds(BatchLimits, st.integers(1, 8), st.none() | st.integers(1, 40)),
)
@example([], BatchLimits(1))
@example(["ééé"], BatchLimits(1, 3))
def test_batches_hold_all_texts_in_order_within_the_limits_and_no_two_neighbours_fit_together(
    texts: list[str], limits: BatchLimits
) -> None:
    def fits(batch: Sequence[str]) -> bool:
        size = len("".join(batch).encode())
        return len(batch) <= limits.max_texts and (limits.max_tokens is None or size <= limits.max_tokens)

    batches = list(batch_texts(limits, texts))
    assert [text for batch in batches for text in batch] == texts
    assert all(len(batch) == 1 or (batch and fits(batch)) for batch in batches)
    assert not any(fits([*batch, after[0]]) for batch, after in pairwise(batches))


def test_vectors_are_joined_in_the_order_of_their_texts_and_usage_is_summed(clock: FakeClock) -> None:
    embedder = Embedder(clock)
    answer = embed(embedder, clock)
    assert answer == EmbeddingAnswer([[3.0], [3.0], [5.0], [4.0], [4.0]], Usage(19))
    assert [call.texts for call in embedder.calls] == [FIVE[:2], FIVE[2:4], FIVE[4:]]
    assert {(call.model_id, call.dimensions, call.user) for call in embedder.calls} == {("m", 1, "u")}


def test_texts_within_the_limits_are_sent_in_one_unchanged_request(clock: FakeClock) -> None:
    answer = EmbeddingAnswer([[1.0]], None)
    embedder = Embedder(clock, answer, takes_s=3)
    assert embed(embedder, clock, FIVE[:2], timeout_s=3) is answer
    assert embedder.allowed_s == [3]


def test_usage_is_unknown_when_one_batch_has_none(clock: FakeClock) -> None:
    assert embed(Embedder(clock, None, UNKNOWN), clock).usage is None


def test_every_batch_gets_the_remaining_time(clock: FakeClock) -> None:
    embedder = Embedder(clock, takes_s=2)
    embed(embedder, clock, timeout_s=7)
    assert embedder.allowed_s == [7, 5, 3]


def test_without_remaining_time_no_batch_is_sent_and_earlier_ones_are_billed(clock: FakeClock) -> None:
    embedder = Embedder(clock, takes_s=4)
    failure = failure_of(embedder, clock, timeout_s=8)
    assert failure.kind is errors.FailureKind.TIMEOUT
    assert failure.failure.usage == Usage(tokens(FIVE[:4]))
    assert len(embedder.calls) == 2


FIRST = Usage(tokens(FIVE[:2]))


@pytest.mark.parametrize(
    ("before", "failure", "bill"),
    [
        # no earlier batch: the failure is unchanged
        ([], errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"), (None, False)),
        ([], errors.ProviderError(errors.FailureKind.TIMEOUT, "x"), (None, True)),
        ([], errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(5)), (Usage(5), True)),
        # an earlier batch with known usage
        ([None], errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"), (FIRST, True)),
        ([None], errors.ProviderError(errors.FailureKind.CONNECT_FAILED, "x"), (FIRST, True)),
        (
            [None],
            errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(5)),
            (Usage(FIRST.prompt_tokens + 5), True),
        ),
        ([None], errors.ProviderError(errors.FailureKind.TIMEOUT, "x"), (None, True)),
        # an earlier batch with unknown usage
        ([UNKNOWN], errors.ProviderError(errors.FailureKind.RATE_LIMITED, "x"), (None, True)),
        ([UNKNOWN], errors.ProviderError(errors.FailureKind.MALFORMED_ANSWER, "x", usage=Usage(5)), (None, True)),
    ],
)
def test_a_failure_includes_the_usage_of_earlier_batches_or_none_where_it_is_unknown(
    clock: FakeClock, before: list[Scripted | None], failure: ProviderError, bill: tuple[Usage | None, bool]
) -> None:
    embedder = Embedder(clock, *before, failure)
    raised = failure_of(embedder, clock)
    assert (raised.kind, raised.message) == (failure.kind, failure.message)
    assert (raised.failure.usage, raised.failure.may_be_billed) == bill
    assert len(embedder.calls) == len(before) + 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_with_a_wrong_number_of_vectors_fails(clock: FakeClock, count: int) -> None:
    embedder = Embedder(clock, EmbeddingAnswer([[0.0]] * count, Usage(7)))
    failure = failure_of(embedder, clock)
    assert failure.kind is errors.FailureKind.MALFORMED_ANSWER
    assert failure.message == f"the provider sent {count} vectors for 2 texts"
    assert (failure.failure.usage, len(embedder.calls)) == (Usage(7), 1)


TEXTS = [f"text {number}" for number in range(700)]
LONG = "x" * 200_000


@pytest.mark.parametrize(
    ("kind", "base", "path", "texts", "sizes"),
    [
        ("gemini", "/v1", "/v1/embeddings", TEXTS, [100] * 7),
        ("ollama", "", "/api/embed", TEXTS, [512, 188]),
        ("openai", "/v1", "/v1/embeddings", TEXTS, [700]),
        ("openai", "/v1", "/v1/embeddings", [LONG, "x", LONG], [2, 1]),
        ("azure_openai", "/v1", "/v1/embeddings", ["x"] * 2049, [2048, 1]),
        ("openrouter", "/v1", "/v1/embeddings", ["x"] * 2049, [2048, 1]),
        ("litellm", "/v1", "/v1/embeddings", ["x"] * 2049, [2048, 1]),
    ],
)
def test_every_provider_gets_batches_within_its_limits(
    fake: FakeProvider, kind: str, base: str, path: str, texts: list[str], sizes: list[int]
) -> None:
    config = provider("p", embedding_model("m"), provider_type=kind, base_url=fake.url + base, api_key="k")
    answer = over_http(config, texts)
    assert [len(request.body["input"]) for request in fake.calls(path)] == sizes
    assert answer.vectors == [vector_of(text, 8) for text in texts]


def test_a_rate_limit_in_the_second_batch_reports_the_usage_of_the_first(fake: FakeProvider) -> None:
    config = provider("p", embedding_model("m"), provider_type="gemini", base_url=f"{fake.url}/v1", api_key="k")
    body = {"data": [{"index": i, "embedding": [1.0]} for i in range(100)], "usage": {"prompt_tokens": 300}}
    fake.script("/v1/embeddings", Reply(body=body), Reply(429, {}))
    with raises_failure(errors.FailureKind.RATE_LIMITED) as caught:
        over_http(config, TEXTS)
    assert caught.value.failure.usage == Usage(300)


def over_http(config: dict[str, object], texts: Sequence[str]) -> EmbeddingAnswer:
    """The answer of the configured provider's adapter, in batches within its limits."""

    async def ask() -> EmbeddingAnswer:
        clock = SystemClock()
        http = JsonHttp(clock)
        try:
            adapter = make_provider(ProviderConfig.model_validate(config), http, clock)
            call = EmbeddingCall("m", texts)
            return await embed_in_batches(adapter, call, adapter.embedding_limits, timeout_s=30, clock=clock)
        finally:
            await http.aclose()

    return asyncio.run(ask())

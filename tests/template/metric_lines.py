"""The metrics that the code writes: their lines, in CloudWatch's embedded metric format, from code paths that write them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from sekha_llm_bridge.access.keys.verifier import KeysUnavailable, KeyVerifier
from sekha_llm_bridge.access.quotas import QuotasUnavailable
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.embeddings import Batch, EmbeddingStorage, VectorRecord
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage
from sekha_llm_bridge.embeddings.deferred_writes.outbox import EnqueueFailed
from sekha_llm_bridge.embeddings.store import StoreDown
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.jobs.authorizer import authorizer_handler
from sekha_llm_bridge.jobs.health_check import check_all
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.clock import FakeClock
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.functions import Function
from tests.fakes.keys import FakeKeyStore
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.fakes.settings import chat_model, make_settings, provider
from tests.fakes.vector_queue import MemoryPendingWrites, MemoryQueue

PATH = "/v1/chat/completions"
RULES = {"failure_threshold": 2, "timeout_secs": 60, "success_threshold": 1}
Written = set[tuple[str, str, frozenset[str], str]]
"""Namespace, name, names of the dimensions, unit."""


def written_metrics(lines: Iterable[str]) -> Written:
    """Returns what CloudWatch makes of these lines of a log. Raises AssertionError for a line that it would refuse."""
    return {one for line in lines if '"_aws"' in line for one in _metrics_of(json.loads(line))}


def _metrics_of(line: dict[str, Any]) -> Iterator[tuple[str, str, frozenset[str], str]]:
    assert isinstance(line["_aws"]["Timestamp"], int)
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(line[name], str) and line[name] for name in dimensions), line
            for metric in directive["Metrics"]:
                assert _is_numeric(line[metric["Name"]]), line
                yield directive["Namespace"], metric["Name"], frozenset(dimensions), metric["Unit"]


def _is_numeric(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(type(one) in {int, float} for one in values)


class _Down:
    """A vector store, a server and an outbox that take nothing."""

    def prepare(self) -> None: ...

    def upsert(self, batch: Batch, **_: object) -> int:
        raise StoreDown("down")

    def is_up(self) -> bool:
        return True

    async def refresh_pending(self) -> None: ...

    def has_pending(self, batch: Batch) -> bool:
        return False

    async def enqueue(self, batch: Batch) -> int:
        raise EnqueueFailed("down")


class _NoQuotas(MemoryQuotaStore):
    async def change(self, *_: object) -> Any:
        raise QuotasUnavailable("down")


def _bridge(fake: FakeProvider, *, budget: dict[str, Any] | None = None, **parts: Any) -> Bridge:
    first = provider("p", chat_model("a"), base_url=f"{fake.url}/v1")
    sections = {"routing": {"circuit_breaker": RULES, **({"budget": budget} if budget else {})}}
    return make_bridge(make_settings(first, **sections), **parts)


def _chats(bridge: Bridge, *requests: dict[str, Any]) -> list[int]:
    """Returns the statuses of chats, each with further fields."""
    chat = Function("chat_completions", bridge)
    hello = {"messages": [{"role": "user", "content": "Hello"}]}
    return [chat("POST", PATH, {**hello, **fields}).status for fields in requests]


def answers(fake: FakeProvider, _clock: FakeClock) -> None:
    """A whole answer, and one that is streamed."""
    assert _chats(_bridge(fake), {}, {"stream": True}) == [200, 200]


def broken_answer(fake: FakeProvider, _clock: FakeClock) -> None:
    """A stream that ends too early."""
    part = {"id": "1", "choices": [{"index": 0, "delta": {"content": "one"}}]}
    fake.script(PATH, Reply(stream=Stream([f"data: {json.dumps(part)}\n\n".encode()], ending="closed")))
    assert _chats(_bridge(fake), {"stream": True}) == [200]


def breaker(fake: FakeProvider, clock: FakeClock) -> None:
    """A breaker opens, refuses, and is closed by the scheduled check."""
    store = MemoryProviderStore()
    fake.always(PATH, Reply(500, {}))
    assert _chats(_bridge(fake, clock=clock, store=store), {}, {}, {}) == [502, 502, 503]
    clock.advance(60)
    checked = asyncio.run(check_all(_bridge(fake, clock=clock, store=store)))
    assert checked["p"]["status"] == "healthy"


def rejected_key(fake: FakeProvider, _clock: FakeClock) -> None:
    """The provider does not take its key."""
    fake.always(PATH, Reply(401, {}))
    assert _chats(_bridge(fake), {}) == [502]


def no_state_table(fake: FakeProvider, clock: FakeClock) -> None:
    """The table of the breakers does not answer."""
    store = FaultyStore(MemoryProviderStore(), clock)
    store.fault = Fault.REFUSED
    assert _chats(_bridge(fake, clock=clock, store=store), {}) == [200]


def no_quotas(fake: FakeProvider, _clock: FakeClock) -> None:
    """The table of the budgets does not answer."""
    assert _chats(_bridge(fake, budget={"daily_usd": 1}, quota_store=_NoQuotas()), {}) == [503]


def spent_budget(fake: FakeProvider, _clock: FakeClock) -> None:
    """Requests use a budget up."""
    bridge = _bridge(fake, budget={"daily_usd": "0.0008"}, quota_store=MemoryQuotaStore())
    assert {*_chats(bridge, *[{"max_tokens": 5}] * 30)} == {200, 402}


def no_keys(_fake: FakeProvider, clock: FakeClock) -> None:
    """The table of API keys does not answer."""
    store = FakeKeyStore()
    key = store.add()
    store.take_down()
    headers = {"multiValueHeaders": {"x-api-key": [key.text]}, "headers": {"x-api-key": key.text}}
    event = {"type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/GET/", "path": "/", **headers}
    with suppress(KeysUnavailable):
        authorizer_handler(KeyVerifier(store, clock))({**event, "requestContext": {"requestId": "1"}}, None)
        raise AssertionError("who could not be verified was let in")


def lost_vectors(_fake: FakeProvider, _clock: FakeClock) -> None:
    """Neither Chroma nor the queue takes the vectors of a request."""
    batch = Batch("notes", 2, "space", (VectorRecord("1", "text", [1.0, 2.0], None),))
    storage: Any = EmbeddingStorage(_Down(), _Down())  # type: ignore[arg-type]  # only what `save` calls
    assert asyncio.run(storage.save(batch, timeout_s=5)).stored == 0


def rejected_vectors(_fake: FakeProvider, clock: FakeClock) -> None:
    """A message in the queue can never be stored."""

    async def drained() -> list[str]:
        queue, down = MemoryQueue(), _Down()
        await queue.send([EncodedMessage("not a batch", 1)], group="notes")
        drain = Drain(queue, MemoryPendingWrites(clock), down, down, clock)  # type: ignore[arg-type]  # only what it calls
        await drain.run(until_s=clock.monotonic_s() + 5)
        return queue.rejected

    assert asyncio.run(drained()) == ["not a batch"]


def invalid_configuration(_fake: FakeProvider, _clock: FakeClock) -> None:
    """The configuration of a release cannot be used."""
    assert Function("models", ConfigError(["providers: a fault"]))("GET", "/v1/models").status == 500


SCENARIOS: tuple[Callable[[FakeProvider, FakeClock], None], ...] = (
    answers,
    broken_answer,
    breaker,
    rejected_key,
    no_state_table,
    no_quotas,
    spent_budget,
    no_keys,
    lost_vectors,
    rejected_vectors,
    invalid_configuration,
)

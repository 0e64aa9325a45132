"""The queue and the pending writes: one suite for those in memory and for those on SQS and DynamoDB over HTTP."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import (
    DynamoPendingWrites,
    PendingWrites,
    PendingWritesUnavailable,
    group_id_of,
)
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, MessageQueue, QueueFailed
from sekha_llm_bridge.embeddings.deferred_writes.sqs import SqsQueue
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.vector_queue import MemoryPendingWrites, MemoryQueue

T = TypeVar("T")


@pytest.fixture(scope="module")
def aws() -> Iterator[DynamoDb]:
    with DynamoDb() as running:
        yield running


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(autouse=True)
def _near_aws(aws: DynamoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    for service in ("DYNAMODB", "SQS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", aws.url)


@pytest.fixture
def connections(runner: asyncio.Runner, clock: FakeClock) -> Iterator[Connections]:
    made = Connections(clock)
    yield made
    runner.run(made.aclose())


@pytest.fixture(params=["memory", "sqs"])
def queue(request: pytest.FixtureRequest, aws: DynamoDb, connections: Connections, clock: FakeClock) -> MessageQueue:
    if request.param == "memory":
        return MemoryQueue()
    urls = aws.new_queue()
    return SqsQueue(urls.url, connections, clock, dead_letters_url=urls.dead_letters_url)


@pytest.fixture(params=["memory", "dynamodb"])
def pending_writes(
    request: pytest.FixtureRequest, aws: DynamoDb, connections: Connections, clock: FakeClock
) -> PendingWrites:
    return (
        MemoryPendingWrites(clock)
        if request.param == "memory"
        else DynamoPendingWrites(aws.new_table(), connections, clock)
    )


class Run:
    """Runs coroutines, sends messages and receives them."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def send(self, queue: MessageQueue, group: str, *bodies: str) -> None:
        self(queue.send([EncodedMessage(body, 1) for body in bodies], group=group))

    def received(self, queue: MessageQueue) -> list[Message]:
        return self(queue.receive())


@pytest.fixture
def run(runner: asyncio.Runner) -> Run:
    return Run(runner)


def bodies(messages: list[Message]) -> list[str]:
    return [message.body for message in messages]


def test_messages_of_a_group_are_received_in_the_order_in_which_they_were_sent(run: Run, queue: MessageQueue) -> None:
    run.send(queue, "g", *(f"m{i}" for i in range(25)))
    got: list[str] = []
    while messages := run.received(queue):
        got += bodies(messages)
        for message in messages:
            run(queue.delete(message))
    assert got == [f"m{i}" for i in range(25)]


def test_a_group_with_a_hidden_message_delivers_nothing_and_other_groups_do(run: Run, queue: MessageQueue) -> None:
    run.send(queue, "g", *(f"g{i}" for i in range(12)))
    first = run.received(queue)
    run.send(queue, "h", "h0")
    assert bodies(run.received(queue)) == ["h0"]
    for message in first:
        run(queue.delete(message))
    assert bodies(run.received(queue)) == [f"g{i}" for i in range(len(first), 12)]


def test_a_message_that_is_put_back_is_received_again_at_its_old_position(run: Run, queue: MessageQueue) -> None:
    run.send(queue, "g", "one", "two")
    for message in run.received(queue):
        run(queue.put_back(message))
    assert bodies(run.received(queue)) == ["one", "two"]


def test_two_messages_with_the_same_text_are_both_received(run: Run, queue: MessageQueue) -> None:
    run.send(queue, "g", "same")
    run.send(queue, "g", "same")
    assert bodies(run.received(queue)) == ["same", "same"]


def test_the_size_includes_hidden_messages(run: Run, queue: MessageQueue) -> None:
    assert run(queue.size()) == 0
    run.send(queue, "g", "one")
    run.received(queue)
    run.send(queue, "g", "two")
    assert run(queue.size()) == 2


def test_a_rejected_message_is_no_longer_in_the_queue(run: Run, queue: MessageQueue) -> None:
    run.send(queue, "g", "bad", "good")
    bad, good = run.received(queue)
    run(queue.reject(bad))
    run(queue.put_back(good))
    assert bodies(run.received(queue)) == ["good"]


def test_messages_are_sent_in_batches_within_the_limits_of_sqs(
    run: Run, aws: DynamoDb, connections: Connections
) -> None:
    urls = aws.new_queue()
    queue = SqsQueue(urls.url, connections, FakeClock())
    run.send(queue, "g", *("x" * 100_000 for _ in range(5)), *("y" for _ in range(11)))
    sent = [one.request["Entries"] for one in aws.requests if one.action == "SendMessageBatch"][-4:]
    assert [len(entries) for entries in sent] == [2, 2, 10, 2]
    assert run(queue.size()) == 16


def test_only_messages_that_sqs_did_not_accept_are_sent_again(
    run: Run, fake: FakeProvider, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", fake.url)
    queue = SqsQueue("q", connections, FakeClock())
    fake.script("/", Reply(503, {}), Reply(200, {"Successful": [], "Failed": []}))
    run.send(queue, "g", "one", "two")
    first, second = (call.body["Entries"] for call in fake.calls("/"))
    assert first == second, "SQS recognises them by their deduplication ids"


def test_an_error_of_sqs_raises_queue_failed_without_the_text_of_sqs(
    run: Run, fake: FakeProvider, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", fake.url)
    queue = SqsQueue("q", connections, FakeClock())
    fake.always("/", Reply(200, {"Successful": [], "Failed": [{"Id": "x"}]}))
    run.send(queue, "g", "one")  # the failed id is none of the sent ones
    refusal = Reply(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "secret"})
    fake.always("/", refusal)
    with pytest.raises(QueueFailed, match=r"^SQS request failed \(QueueDoesNotExist\)$"):
        run.send(queue, "g", "one")


def test_counts_has_every_group_with_pending_records(run: Run, pending_writes: PendingWrites) -> None:
    assert run(pending_writes.counts()) == {}
    run(pending_writes.add("a", 3))
    run(pending_writes.add("a", 2))
    run(pending_writes.add("b", 1))
    assert run(pending_writes.counts()) == {"a": 5, "b": 1}


def test_add_if_pending_adds_only_to_a_count_above_zero(run: Run, pending_writes: PendingWrites) -> None:
    assert run(pending_writes.add_if_pending("a", 1)) is False
    assert run(pending_writes.counts()) == {}
    run(pending_writes.add("a", 1))
    assert run(pending_writes.add_if_pending("a", 2)) is True
    assert run(pending_writes.counts()) == {"a": 3}


def test_a_group_with_a_count_of_zero_is_deleted(run: Run, pending_writes: PendingWrites) -> None:
    run(pending_writes.add("a", 3))
    run(pending_writes.subtract("a", 2))
    assert run(pending_writes.counts()) == {"a": 1}
    run(pending_writes.subtract("a", 1))
    assert run(pending_writes.counts()) == {}
    assert run(pending_writes.add_if_pending("a", 1)) is False


def test_a_count_never_becomes_negative(run: Run, pending_writes: PendingWrites) -> None:
    run(pending_writes.add("a", 1))
    run(pending_writes.subtract("a", 2))
    run(pending_writes.subtract("a", 2))
    run(pending_writes.add("a", 1))
    assert run(pending_writes.counts()) == {"a": 1}


def test_leftover_records_are_subtracted_when_the_queue_has_been_empty_for_minutes(
    run: Run, pending_writes: PendingWrites, clock: FakeClock
) -> None:
    run(pending_writes.add("a", 2))
    run(pending_writes.add("b", 1))
    run(pending_writes.reconcile_empty("a"))
    clock.advance(300)
    run(pending_writes.reconcile_empty("a"))
    assert run(pending_writes.counts()) == {"a": 2, "b": 1}
    clock.advance(60)
    run(pending_writes.reconcile_empty("a"))
    run(pending_writes.reconcile_empty("never"))
    assert run(pending_writes.counts()) == {"b": 1}


def test_records_that_are_about_to_be_sent_are_not_subtracted(
    run: Run, pending_writes: PendingWrites, clock: FakeClock
) -> None:
    run(pending_writes.add("a", 5))
    run(pending_writes.reconcile_empty("a"))
    clock.advance(60)
    run(pending_writes.subtract("a", 3))
    run(pending_writes.reconcile_empty("a"))
    clock.advance(300)
    run(pending_writes.add_if_pending("a", 4))
    run(pending_writes.reconcile_empty("a"))
    assert run(pending_writes.counts()) == {"a": 4}, "2 were left over, 4 were added just now"


def test_an_observation_of_an_hour_ago_is_not_used(run: Run, pending_writes: PendingWrites, clock: FakeClock) -> None:
    run(pending_writes.add("a", 1))
    run(pending_writes.reconcile_empty("a"))
    clock.advance(3_600)
    run(pending_writes.reconcile_empty("a"))
    assert run(pending_writes.counts()) == {"a": 1}
    clock.advance(330)
    run(pending_writes.reconcile_empty("a"))
    assert run(pending_writes.counts()) == {}


def test_the_longest_collection_name_has_a_group_id(run: Run, pending_writes: PendingWrites) -> None:
    run(pending_writes.add(group_id_of("x" * 512), 1))
    assert run(pending_writes.counts()) == {group_id_of("x" * 512): 1}


def test_an_unreachable_table_raises_pending_writes_unavailable_without_its_text(
    run: Run, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    away = DynamoPendingWrites("t", connections, FakeClock())
    with pytest.raises(PendingWritesUnavailable, match="ConnectError"):
        run(away.counts())

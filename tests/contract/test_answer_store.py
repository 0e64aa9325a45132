"""One suite for both stores of answer records, in memory and in DynamoDB over HTTP."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.access.idempotency import AnswerRecord, AnswerStore, AnswersUnavailable, RecordState
from sekha_llm_bridge.access.idempotency.answer import MAX_SEALED_BYTES
from sekha_llm_bridge.access.idempotency.dynamodb import DynamoAnswerStore
from sekha_llm_bridge.access.idempotency.memory import MemoryAnswerStore
from sekha_llm_bridge.access.idempotency.record import unix_ms, unix_s
from sekha_llm_bridge.connections import Connections
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

T = TypeVar("T")
LEASE_S, DAY_S = 30, 24 * 3600


class Stored:
    """A store, and an event loop for its requests."""

    def __init__(self, runner: asyncio.Runner, store: AnswerStore, clock: FakeClock) -> None:
        self._runner = runner
        self._store = store
        self._clock = clock

    def record(self, owner: str = "first", record_id: str = "a", **fields: Any) -> AnswerRecord:
        now = self._clock.now()
        lease_ends_at, expires_at = now + timedelta(seconds=LEASE_S), now + timedelta(seconds=DAY_S)
        record = AnswerRecord(
            record_id, owner, "hash", RecordState.UNDER_WAY, unix_ms(lease_ends_at), unix_s(expires_at)
        )
        return record._replace(**fields)

    def claim(self, record: AnswerRecord) -> bool:
        return self._run(self._store.claim(record, self._clock.now()))

    def claim_all(self, records: list[AnswerRecord]) -> list[bool]:
        async def all_at_once() -> list[bool]:
            return await asyncio.gather(*(self._store.claim(one, self._clock.now()) for one in records))

        return self._run(all_at_once())

    def read(self, record_id: str = "a") -> AnswerRecord | None:
        return self._run(self._store.read(record_id))

    def finish(self, record: AnswerRecord) -> bool:
        return self._run(self._store.finish(record))

    def remove(self, owner: str, record_id: str = "a") -> None:
        self._run(self._store.remove(record_id, owner))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(work, 30))


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture(params=["memory", "dynamodb"])
def stored(
    request: pytest.FixtureRequest, dynamodb: DynamoDb, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stored]:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    connections = Connections(clock)
    store: AnswerStore = MemoryAnswerStore()
    if request.param == "dynamodb":
        store = DynamoAnswerStore(dynamodb.new_table("AnswersTable"), connections, clock)
    with asyncio.Runner() as runner:
        yield Stored(runner, store, clock)
        runner.run(connections.aclose())


def test_the_first_claim_is_granted_and_the_second_is_refused(stored: Stored) -> None:
    first = stored.record()
    assert stored.read() is None
    assert stored.claim(first)
    assert not stored.claim(stored.record("second"))
    assert stored.read() == first


def test_a_claim_that_is_sent_twice_is_granted_twice_to_the_same_owner(stored: Stored) -> None:
    assert stored.claim(stored.record())
    assert stored.claim(stored.record())


def test_of_many_claims_at_once_one_is_granted(stored: Stored) -> None:
    owners = [f"owner-{number}" for number in range(12)]
    found = stored.claim_all([stored.record(owner) for owner in owners])
    assert found.count(True) == 1
    assert stored.read() == stored.record(owners[found.index(True)])


def test_records_of_other_ids_are_not_touched(stored: Stored) -> None:
    assert stored.claim(stored.record())
    assert stored.claim(stored.record("second", "b"))
    stored.remove("second", "b")
    assert stored.read("b") is None
    assert stored.read() == stored.record()


def test_a_claim_lapses_at_the_end_of_its_lease(stored: Stored, clock: FakeClock) -> None:
    stored.claim(stored.record())
    clock.advance(LEASE_S - 0.001)
    assert not stored.claim(stored.record("second"))
    clock.advance(0.001)
    assert stored.claim(stored.record("second"))


def test_an_answer_is_kept_after_the_lease_and_lapses_when_it_expires(stored: Stored, clock: FakeClock) -> None:
    record = stored.record()
    answered = record._replace(state=RecordState.ANSWERED, sealed=bytes(range(256)))
    stored.claim(record)
    assert stored.finish(answered)
    clock.advance(DAY_S - 1)
    assert not stored.claim(stored.record("second"))
    assert stored.read() == answered
    clock.advance(1)
    assert stored.claim(stored.record("second"))


@pytest.mark.parametrize("state", [RecordState.ANSWERED, RecordState.NOT_KEPT])
def test_what_an_owner_finishes_replaces_its_claim(stored: Stored, state: RecordState) -> None:
    finished = stored.record()._replace(state=state, sealed=b"sealed" if state is RecordState.ANSWERED else b"")
    stored.claim(stored.record())
    assert stored.finish(finished)
    assert stored.finish(finished)  # a request that was repeated, because its answer was lost
    assert stored.read() == finished


def test_an_owner_that_was_replaced_can_neither_finish_nor_remove(stored: Stored, clock: FakeClock) -> None:
    slow = stored.record()
    stored.claim(slow)
    clock.advance(LEASE_S)
    second = stored.record("second")
    stored.claim(second)
    assert not stored.finish(slow._replace(state=RecordState.ANSWERED, sealed=b"late"))
    stored.remove("first")
    assert stored.read() == second


def test_a_claim_that_arrives_late_does_not_replace_the_answer(stored: Stored) -> None:
    claimed = stored.record()
    answered = claimed._replace(state=RecordState.ANSWERED, sealed=b"sealed")
    stored.claim(claimed)
    assert stored.finish(answered)
    assert not stored.claim(claimed)
    assert stored.read() == answered


def test_a_removed_record_can_be_claimed_again(stored: Stored) -> None:
    stored.claim(stored.record())
    stored.remove("first")
    stored.remove("first")
    assert stored.read() is None
    assert stored.claim(stored.record("second"))


def test_the_largest_answer_fits_into_a_record(stored: Stored) -> None:
    largest = stored.record(
        record_id="f" * 64, owner="o" * 22, request_hash="h" * 64, state=RecordState.ANSWERED, sealed=bytes(400_000)
    )
    assert len(largest.sealed) == MAX_SEALED_BYTES
    stored.claim(largest._replace(state=RecordState.UNDER_WAY, sealed=b""))
    assert stored.finish(largest)
    assert stored.read(largest.id) == largest
    assert not stored.claim(largest._replace(owner="second"))


def test_memory_forgets_the_oldest_records_first(clock: FakeClock) -> None:
    with asyncio.Runner() as runner:
        stored = Stored(runner, MemoryAnswerStore(), clock)
        for number in range(257):
            stored.claim(stored.record(record_id=str(number)))
        assert stored.read("0") is None
        assert stored.read("1") is not None
        assert stored.read("256") is not None


def test_a_failure_of_dynamodb_is_reported_without_its_text(
    fake: FakeProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", fake.url)
    fake.always("/", Reply(400, {"__type": "x#ThrottlingException", "message": "secret"}))
    connections = Connections(clock)
    with asyncio.Runner() as runner:
        stored = Stored(runner, DynamoAnswerStore("table", connections, clock), clock)
        for work in (lambda: stored.claim(stored.record()), stored.read, lambda: stored.finish(stored.record())):
            with pytest.raises(AnswersUnavailable, match=r"^DynamoDB request failed \(ThrottlingException\)$"):
                work()
        runner.run(connections.aclose())


def test_a_table_that_answers_byte_by_byte_is_unavailable_after_its_time(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send_slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n")
            for _byte in range(200):
                await asyncio.sleep(0.05)
                writer.write(b" ")
                await writer.drain()

    async def each_call_fails() -> None:
        async with await asyncio.start_server(send_slowly, "127.0.0.1", 0) as server:
            monkeypatch.setenv("AWS_REGION", REGION)
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            connections = Connections(clock)
            store = DynamoAnswerStore("table", connections, clock, timeout_s=0.2)
            record = AnswerRecord("a", "owner", "hash", RecordState.UNDER_WAY, 1, 1)
            works = [
                store.claim(record, clock.now()),
                store.read("a"),
                store.finish(record),
                store.remove("a", "owner"),
            ]
            for work in works:
                with pytest.raises(AnswersUnavailable):
                    await asyncio.wait_for(work, 5)  # all of an answer takes 10 s
            await connections.aclose()

    asyncio.run(each_call_fails())

"""Who answers a repeated request, and what the store sees of it."""

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.access.idempotency import (
    AnswerKeys,
    AnswerRecord,
    AnswerRecorder,
    Answers,
    AnswersUnavailable,
    Claim,
    RecordState,
    StoredAnswer,
    is_valid_key,
)
from sekha_llm_bridge.access.idempotency.answer import MAX_SEALED_BYTES
from sekha_llm_bridge.access.idempotency.memory import MemoryAnswerStore
from sekha_llm_bridge.errors import AnswerNotKept, IdempotencyKeyReused, RequestUnderWay
from tests.fakes.waiting_clock import PersistentLoop, WaitingClock

HEADERS = {"content-type": "application/json", "x-bridge-model": "m"}


def keys_of(key: str = "key", *, caller: str = "key_a", path: str = "/v1/chat/completions", body: bytes = b"{}") -> Any:
    return AnswerKeys.of(key, caller_id=caller, path=path, body=body)


def recorded(body: bytes = b'{"a": 1}\n\n') -> AnswerRecorder:
    recorder = AnswerRecorder()
    recorder.begin(200, HEADERS)
    recorder.add(body)
    return recorder


@pytest.mark.parametrize("key", ["a", "~", "!", "9f1c-4b", "x" * 255])
def test_visible_ascii_is_a_valid_key(key: str) -> None:
    assert is_valid_key(key)


@pytest.mark.parametrize("key", ["", " ", "a b", "a, b", "x" * 256, "é", "a\n", "\x7f", "ключ", "a\t"])
def test_other_keys_are_invalid(key: str) -> None:
    assert not is_valid_key(key)


def test_two_callers_with_the_same_key_have_nothing_in_common() -> None:
    one, other, nobody = keys_of(caller="key_a"), keys_of(caller="key_b"), keys_of(caller="")
    for field in AnswerKeys._fields:
        assert len({getattr(keys, field) for keys in (one, other, nobody)}) == 3
    sealed = recorded().sealed(one)
    assert sealed is not None
    with pytest.raises(ValueError, match="cannot be decrypted"):
        StoredAnswer.open(sealed, other)


def test_another_path_or_body_changes_the_hash_and_not_the_record() -> None:
    variants = [keys_of(), keys_of(path="/embed"), keys_of(body=b"{ }")]
    assert len({keys.request_hash for keys in variants}) == 3
    assert len({keys.record_id for keys in variants}) == 1


def test_what_is_stored_contains_neither_the_key_nor_the_request_nor_the_answer() -> None:
    keys = keys_of("secret-order-7", body=b"my prompt")
    sealed = recorded(b"the answer, the answer, the answer").sealed(keys)
    assert sealed is not None
    stored = repr((keys.record_id, keys.request_hash, sealed))
    assert not [word for word in ("secret-order-7", "my prompt", "the answer", "x-bridge") if word in stored]


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.lists(st.binary()))
def test_an_answer_is_opened_as_it_was_recorded(status: int, headers: dict[str, str], parts: list[bytes]) -> None:
    recorder = AnswerRecorder()
    recorder.begin(status, headers)
    for part in parts:
        recorder.add(part)
    sealed = recorder.sealed(keys_of())
    assert sealed is not None
    assert StoredAnswer.open(sealed, keys_of()) == StoredAnswer(status, headers, b"".join(parts))


@given(st.data())
def test_a_changed_answer_cannot_be_opened(data: st.DataObject) -> None:
    sealed = recorded().sealed(keys_of())
    assert sealed is not None
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytes([*sealed[:place], sealed[place] ^ data.draw(st.integers(1, 255)), *sealed[place + 1 :]])
    with pytest.raises(ValueError, match="cannot be decrypted"):
        StoredAnswer.open(changed, keys_of())


def test_an_answer_that_was_cut_or_moved_to_another_request_cannot_be_opened() -> None:
    sealed = recorded().sealed(keys_of())
    assert sealed is not None
    for cut, keys in ((sealed[:-1], keys_of()), (b"", keys_of()), (sealed, keys_of(body=b"other"))):
        with pytest.raises(ValueError, match="cannot be decrypted"):
            StoredAnswer.open(cut, keys)


def test_a_large_answer_that_compresses_well_is_kept_and_one_that_does_not_is_dropped() -> None:
    assert recorded(b"the same words " * 200_000).sealed(keys_of()) is not None
    limit = recorded(os.urandom(MAX_SEALED_BYTES - 2000)).sealed(keys_of())
    assert limit is not None
    assert MAX_SEALED_BYTES - 2000 < len(limit) <= MAX_SEALED_BYTES
    too_large = recorded(os.urandom(MAX_SEALED_BYTES))
    assert too_large.sealed(keys_of()) is None
    assert too_large._parts == []  # no memory for what is not kept


# ---- Who answers


class Unreliable(MemoryAnswerStore):
    """A store in memory that counts its calls, and whose next calls of a method fail before or after they take effect.
    The calls of a method that is in `silent` take that many seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.lost_requests: list[str] = []
        self.lost_answers: list[str] = []
        self.silent: dict[str, float] = {}

    async def claim(self, record: AnswerRecord, now: datetime) -> bool:
        return bool(await self._call("claim", super().claim(record, now)))

    async def read(self, record_id: str) -> AnswerRecord | None:
        found: AnswerRecord | None = await self._call("read", super().read(record_id))
        return found

    async def finish(self, record: AnswerRecord) -> bool:
        return bool(await self._call("finish", super().finish(record)))

    async def remove(self, record_id: str, owner: str) -> None:
        await self._call("remove", super().remove(record_id, owner))

    async def _call(self, name: str, work: Any) -> Any:
        self.calls.append(name)
        try:
            await asyncio.sleep(self.silent.get(name, 0))
        except asyncio.CancelledError:
            work.close()
            raise
        if name in self.lost_requests:
            self.lost_requests.remove(name)
            work.close()
            raise AnswersUnavailable(name)
        result = await work
        if name in self.lost_answers:
            self.lost_answers.remove(name)
            raise AnswersUnavailable(name)
        return result


class World:
    """Requests of one key, in virtual time."""

    def __init__(self) -> None:
        self.clock = WaitingClock()
        self.loop = PersistentLoop(self.clock)
        self.store = Unreliable()
        self.answers = Answers(self.store, self.clock)
        self.n_answered = 0

    async def begin(self, keys: AnswerKeys | None = None, *, wait_s: float = 60, lease_s: float = 60) -> Any:
        lease_ends_at = self.clock.now() + timedelta(seconds=lease_s)
        return await self.answers.begin(keys or keys_of(), lease_ends_at=lease_ends_at, wait_s=wait_s)

    async def ask(self, keys: AnswerKeys | None = None, *, takes_s: float = 1, **times: float) -> Any:
        """Returns the answer, which this request makes itself where it has the claim."""
        begun = await self.begin(keys, **times)
        if not isinstance(begun, Claim):
            return begun
        self.n_answered += 1
        body = b"answer %d" % self.n_answered
        await self.clock.sleep(takes_s)
        await begun.finish(recorded(body))
        return StoredAnswer(200, HEADERS, body)

    def run(self, *works: Any) -> list[Any]:
        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*works, return_exceptions=True)

        return self.loop.run(all_at_once())


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.loop.close()


def test_twenty_requests_at_once_are_answered_once_and_equally(world: World) -> None:
    answers = world.run(*(world.ask(takes_s=7) for _ in range(20)))
    assert answers == [StoredAnswer(200, HEADERS, b"answer 1")] * 20
    assert world.n_answered == 1


def test_a_first_request_costs_two_writes_and_no_read_and_a_repeated_one_a_write_and_a_read(world: World) -> None:
    world.run(world.ask())
    assert world.store.calls == ["claim", "finish"]
    world.store.calls.clear()
    world.run(world.ask())
    assert world.store.calls == ["claim", "read"]


def test_who_waits_polls_less_and_less_often(world: World) -> None:
    world.run(world.ask(takes_s=55), world.ask())
    assert world.store.calls.count("read") < 40


def test_who_waited_long_enough_is_told_to_come_back(world: World) -> None:
    _, second = world.run(world.ask(takes_s=30), world.ask(wait_s=10))
    assert isinstance(second, RequestUnderWay)
    assert second.retry_after_s == 5
    assert world.run(world.ask()) == [StoredAnswer(200, HEADERS, b"answer 1")]


def test_another_request_with_the_key_is_refused_at_once_also_while_the_first_is_under_way(world: World) -> None:
    started = world.clock.monotonic_s()

    async def refused() -> float:
        with pytest.raises(IdempotencyKeyReused):
            await world.ask(keys_of(body=b"other"))
        return world.clock.monotonic_s() - started

    _, waited_s = world.run(world.ask(takes_s=30), refused())
    assert waited_s == 0
    assert world.run(refused()) == [30]
    assert world.n_answered == 1


def test_where_the_first_leaves_nothing_one_of_those_that_wait_answers(world: World) -> None:
    async def fails() -> None:
        begun = await world.begin()
        await world.clock.sleep(2)
        await begun.release()

    _, *answers = world.run(fails(), *(world.ask() for _ in range(5)))
    assert answers == [StoredAnswer(200, HEADERS, b"answer 1")] * 5


def test_a_function_that_was_killed_leaves_a_claim_that_lapses_at_its_deadline(world: World) -> None:
    async def is_killed() -> None:
        await world.begin(lease_s=20)

    async def waits() -> Any:
        answer = await world.ask(takes_s=0)
        return answer, world.clock.monotonic_s()

    started_s = world.clock.monotonic_s()
    _, (answer, answered_at_s) = world.run(is_killed(), waits())
    assert answer.body == b"answer 1"
    assert 20 <= answered_at_s - started_s <= 22.1


def test_who_answers_after_its_lease_does_not_replace_the_answer_of_the_next(world: World) -> None:
    async def late() -> Any:
        begun = await world.begin(lease_s=5)
        await world.clock.sleep(30)
        return await begun.finish(recorded(b"late"))

    outcome, answer = world.run(late(), world.ask())
    assert outcome is None
    assert world.run(world.ask()) == [answer]


def test_an_answer_is_kept_for_a_day(world: World) -> None:
    world.run(world.ask())
    world.clock.advance(24 * 3600 - 2)
    assert world.run(world.ask())[0].body == b"answer 1"
    world.clock.advance(61)
    assert world.run(world.ask())[0].body == b"answer 2"


def test_an_answer_that_is_too_large_is_recorded_as_such(world: World) -> None:
    async def large() -> Any:
        return await (await world.begin()).finish(recorded(os.urandom(MAX_SEALED_BYTES)))

    assert world.run(large()) == [RecordState.NOT_KEPT]
    with pytest.raises(AnswerNotKept, match="may have been billed, but its answer is too large"):
        world.loop.run(world.ask())
    assert world.n_answered == 0


def test_an_answer_that_cannot_be_decrypted_is_never_asked_for_again(world: World) -> None:
    world.run(world.ask())
    [record] = world.store._records.values()
    world.store._records[record.id] = record._replace(sealed=b"x" + record.sealed[1:])
    with pytest.raises(AnswerNotKept, match="cannot be decrypted"):
        world.loop.run(world.ask())
    assert world.n_answered == 1


@pytest.mark.parametrize("lost", ["lost_requests", "lost_answers"])
@pytest.mark.parametrize("name", ["claim", "finish"])
def test_one_failure_of_the_store_is_not_noticed(world: World, name: str, lost: str) -> None:
    getattr(world.store, lost).append(name)
    assert world.run(world.ask(), world.ask()) == [StoredAnswer(200, HEADERS, b"answer 1")] * 2
    assert world.n_answered == 1


@pytest.mark.parametrize("lost", ["lost_requests", "lost_answers"])
def test_a_claim_that_failed_does_not_keep_the_next_request_waiting(world: World, lost: str) -> None:
    getattr(world.store, lost).extend(["claim", "claim"])
    with pytest.raises(AnswersUnavailable):
        world.loop.run(world.ask())
    assert world.n_answered == 0
    started_s = world.clock.monotonic_s()
    world.run(world.ask(takes_s=0))
    assert (world.n_answered, world.clock.monotonic_s()) == (1, started_s)


def test_who_has_waited_too_long_does_not_ask_a_model_and_comes_back(world: World) -> None:
    """A model's answer would come after its deadline, and that error would be kept."""

    async def fails() -> None:
        begun = await world.begin()
        await world.clock.sleep(11)
        await begun.release()

    _, late = world.run(fails(), world.ask(wait_s=15, lease_s=20))
    assert isinstance(late, RequestUnderWay)
    assert late.retry_after_s == 1
    assert world.n_answered == 0
    assert world.run(world.ask())[0].body == b"answer 1"


def test_with_half_of_its_time_left_who_has_waited_asks_a_model(world: World) -> None:
    async def fails() -> None:
        begun = await world.begin()
        await world.clock.sleep(7)
        await begun.release()

    _, answer = world.run(fails(), world.ask(wait_s=15, lease_s=20))
    assert answer.body == b"answer 1"


def test_a_store_that_has_become_slow_makes_no_wait_longer(world: World) -> None:
    async def becomes_slow() -> None:
        await world.clock.sleep(5)
        world.store.silent["read"] = 60

    async def waits() -> float:
        started_s = world.clock.monotonic_s()
        with pytest.raises(AnswersUnavailable):
            await world.ask(wait_s=10)
        return world.clock.monotonic_s() - started_s

    _, _, waited_s = world.run(world.ask(takes_s=50), becomes_slow(), waits())
    assert waited_s <= 11


@pytest.mark.parametrize("name", ["finish", "remove"])
def test_storing_takes_no_longer_than_its_limit(world: World, name: str) -> None:
    async def ends() -> float:
        begun = await world.begin()
        world.store.silent[name] = 60
        started_s = world.clock.monotonic_s()
        with pytest.raises(AnswersUnavailable):
            await (begun.finish(recorded(), limit_s=0.7) if name == "finish" else begun.release(limit_s=0.7))
        return world.clock.monotonic_s() - started_s

    assert world.run(ends()) == [pytest.approx(0.7)]

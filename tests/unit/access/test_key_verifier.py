"""Which headers have a valid key, for how long the answer is kept, and how many reads it costs."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.record import Rejection, UnreadableRecord
from sekha_llm_bridge.access.keys.verifier import Headers, KeysUnavailable, KeyVerifier
from tests.fakes import virtual_time
from tests.fakes.clock import FakeClock
from tests.fakes.keys import FakeKeyStore

MINUTE_S = 60


class Door:
    """A verifier with its store and clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.store = FakeKeyStore()
        self.clock = clock
        self.verifier = KeyVerifier(self.store, clock)

    def ask(self, headers: Headers) -> Caller | Rejection:
        return virtual_time.run(self.verifier.verify(headers), self.clock)

    def ask_with(self, key: KeyText) -> Caller | Rejection:
        return self.ask(bearer(key))

    def ask_at_once(self, *many: Headers) -> list[Caller | Rejection | BaseException]:
        async def all_of_them() -> list[Caller | Rejection | BaseException]:
            return await asyncio.gather(*map(self.verifier.verify, many), return_exceptions=True)

        return virtual_time.run(all_of_them(), self.clock)


@pytest.fixture
def door(clock: FakeClock) -> Door:
    return Door(clock)


def bearer(key: KeyText) -> Headers:
    return {"Authorization": f"Bearer {key.text}"}


@pytest.mark.parametrize(
    "headers",
    [
        lambda text: {"authorization": f"Bearer {text}"},
        lambda text: {"AUTHORIZATION": f"bearer   {text} "},
        lambda text: {"x-api-key": text},
        lambda text: {"X-Api-Key": f" {text}"},
        lambda text: {"api-key": text},
        lambda text: {"authorization": [f"Bearer {text}"]},
        lambda text: {"authorization": [f"Bearer {text}", f"Bearer {text}"]},
        lambda text: {"authorization": f"Bearer {text}", "x-api-key": text, "api-key": text},
        lambda text: {"authorization": "Basic dXNlcjpwdw==", "x-api-key": text},
        lambda text: {"authorization": "Bearer", "x-api-key": text},
    ],
)
def test_a_key_is_found_where_clients_send_it(door: Door, headers: Callable[[str], Headers]) -> None:
    policy = KeyPolicy(models=("gpt-4o",), may_store=False)
    key = door.store.add(labels={"team": "search"}, policy=policy)
    assert door.ask(headers(key.text)) == Caller(key.key_id, {"team": "search"}, policy)


@pytest.mark.parametrize(
    ("headers", "rejection"),
    [
        ({}, Rejection.NO_KEY),
        ({"authorization": ""}, Rejection.NO_KEY),
        ({"authorization": "Bearer"}, Rejection.NO_KEY),
        ({"authorization": "Bearer "}, Rejection.NO_KEY),
        ({"authorization": []}, Rejection.NO_KEY),
        ({"authorization": new_key().text}, Rejection.NO_KEY),
        ({"authorization": f"Basic {new_key().text}"}, Rejection.NO_KEY),
        ({"x-key": new_key().text, "cookie": new_key().text}, Rejection.NO_KEY),
        ({"authorization": "Bearer none"}, Rejection.MALFORMED),
        ({"authorization": "Bearer sk-proj-0123456789"}, Rejection.MALFORMED),
        ({"x-api-key": f"Bearer {new_key().text}"}, Rejection.MALFORMED),
        ({"api-key": f"{new_key().text}, {new_key().text}"}, Rejection.MALFORMED),
        ({"api-key": f"{new_key().text}\n"[1:]}, Rejection.MALFORMED),
        ({"authorization": "Bearer " + "a" * 1_000_000}, Rejection.MALFORMED),
        ({"authorization": "Bearer ключ"}, Rejection.MALFORMED),
        ({"authorization": f"Bearer {new_key().text[:-1]}١"}, Rejection.MALFORMED),
        ({"authorization": "Bearer \ud800"}, Rejection.MALFORMED),
        ({"authorization": "Bearer \x00"}, Rejection.MALFORMED),
        ({"authorization": f"Bearer {new_key().text}", "x-api-key": new_key().text}, Rejection.SEVERAL_KEYS),
        ({"authorization": f"Bearer {new_key().text}", "x-api-key": "none"}, Rejection.SEVERAL_KEYS),
        ({"x-api-key": [new_key().text, new_key().text]}, Rejection.SEVERAL_KEYS),
    ],
)
def test_headers_without_one_key_are_rejected_without_a_read(
    door: Door, headers: Headers, rejection: Rejection
) -> None:
    assert door.ask(headers) is rejection
    assert door.store.reads == []


def test_an_unknown_key_and_a_wrong_secret_are_told_apart_by_nobody(door: Door) -> None:
    key = door.store.add(revoked=door.clock.now(), expires=door.clock.now())
    assert door.ask_with(new_key()) is door.ask_with(new_key(key.key_id)) is Rejection.UNKNOWN


def test_a_key_is_read_once_a_minute(door: Door) -> None:
    key = door.store.add()
    for _ in range(59):
        assert isinstance(door.ask_with(key), Caller)
        door.clock.advance(1)
    assert door.store.reads == [key.key_id]
    door.clock.advance(1)
    door.ask_with(key)
    assert door.store.reads == [key.key_id] * 2


def test_a_revoked_key_is_rejected_within_a_minute(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    door.store.change(key, revoked=door.clock.now())
    door.clock.advance(MINUTE_S)
    assert door.ask_with(key) is Rejection.REVOKED


def test_a_revoked_key_is_rejected_within_a_minute_also_when_the_environment_was_frozen(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    door.store.change(key, revoked=door.clock.now())
    door.clock.freeze(MINUTE_S)
    assert door.ask_with(key) is Rejection.REVOKED


def test_a_slow_read_does_not_make_a_key_valid_for_longer_than_a_minute(door: Door) -> None:
    key = door.store.add()
    door.store.delay_s = 30
    door.ask_with(key)
    door.store.change(key, revoked=door.clock.now())
    door.clock.advance(30)
    assert door.ask_with(key) is Rejection.REVOKED


def test_a_clock_that_is_set_back_does_not_make_a_revoked_key_valid(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    door.store.change(key, revoked=door.clock.now())
    door.clock.freeze(-3600)
    assert door.ask_with(key) is Rejection.REVOKED


def test_a_key_expires_at_its_moment_also_while_its_record_is_in_memory(door: Door) -> None:
    key = door.store.add(expires=door.clock.now() + timedelta(seconds=10))
    assert isinstance(door.ask_with(key), Caller)
    door.clock.advance(9.9)
    assert isinstance(door.ask_with(key), Caller)
    door.clock.advance(0.1)
    assert door.ask_with(key) is Rejection.EXPIRED
    assert len(door.store.reads) == 1


def test_a_changed_policy_holds_within_a_minute(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    door.store.change(key, policy=KeyPolicy(may_store=False))
    door.clock.advance(MINUTE_S)
    assert door.ask_with(key) == Caller(key.key_id, {}, KeyPolicy(may_store=False))


def test_a_rotated_key_is_valid_at_once_and_its_earlier_text_until_its_end(door: Door) -> None:
    old = door.store.add()
    new = new_key(old.key_id)
    assert isinstance(door.ask_with(old), Caller)
    until = door.clock.now() + timedelta(hours=24)
    door.store.records[old.key_id] = door.store.records[old.key_id].rotated(new, keep_until=until)
    assert door.ask_with(new) == door.ask_with(old) == Caller(old.key_id)
    door.clock.advance(24 * 3600)
    assert door.ask_with(old) is Rejection.REPLACED
    assert isinstance(door.ask_with(new), Caller)


def test_a_rotated_key_without_a_time_for_the_earlier_text_is_the_only_valid_one(door: Door) -> None:
    old = door.store.add()
    new = new_key(old.key_id)
    door.store.records[old.key_id] = door.store.records[old.key_id].rotated(new, keep_until=None)
    assert door.ask_with(old) is Rejection.UNKNOWN
    assert isinstance(door.ask_with(new), Caller)


def test_a_revoked_key_is_rejected_with_its_earlier_text_too(door: Door) -> None:
    old = door.store.add()
    record = door.store.records[old.key_id].rotated(new_key(old.key_id), keep_until=door.clock.now() + timedelta(1))
    door.store.records[old.key_id] = record._replace(revoked=door.clock.now())
    assert door.ask_with(old) is Rejection.REVOKED


def test_requests_with_one_key_at_once_cost_one_read(door: Door) -> None:
    key = door.store.add()
    door.store.delay_s = 0.1
    assert door.ask_at_once(*[bearer(key)] * 50) == [Caller(key.key_id)] * 50
    assert len(door.store.reads) == 1


def test_many_requests_with_one_unknown_key_cost_one_read_a_minute(door: Door) -> None:
    headers = bearer(new_key())
    assert [door.ask(headers) for _ in range(1000)] == [Rejection.UNKNOWN] * 1000
    assert len(door.store.reads) == 1
    door.clock.advance(MINUTE_S)
    door.ask(headers)
    assert len(door.store.reads) == 2


def test_a_flood_of_wrong_secrets_of_a_known_key_costs_a_read_in_five_seconds(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    for _ in range(50):
        assert door.ask_with(new_key(key.key_id)) is Rejection.UNKNOWN
        door.clock.advance(0.1)
    assert len(door.store.reads) == 2
    assert isinstance(door.ask_with(key), Caller)


def test_a_flood_of_invented_keys_costs_a_read_each_and_does_not_displace_a_valid_one(door: Door) -> None:
    key = door.store.add()
    door.ask_with(key)
    n_invented = 12_000
    for _ in range(n_invented):
        door.ask_with(new_key())
    assert len(door.store.reads) == 1 + n_invented
    assert isinstance(door.ask_with(key), Caller)
    assert len(door.store.reads) == 1 + n_invented
    assert len(door.verifier._unknown) == 10_000


def test_the_records_in_memory_are_limited_and_the_oldest_is_forgotten(door: Door) -> None:
    keys = [door.store.add() for _ in range(1_001)]
    for key in keys:
        door.ask_with(key)
    door.store.reads.clear()
    door.ask_with(keys[1])
    assert door.store.reads == []
    door.ask_with(keys[0])
    assert door.store.reads == [keys[0].key_id]


def test_a_table_that_is_down_lets_nobody_in_whose_key_is_not_in_memory(door: Door) -> None:
    key, other = door.store.add(), door.store.add()
    door.ask_with(key)
    door.store.take_down()
    assert isinstance(door.ask_with(key), Caller)
    with pytest.raises(KeysUnavailable) as error:
        door.ask_with(other)
    assert (error.value.status, error.value.retry_after_s) == (503, 5)
    door.clock.advance(MINUTE_S)
    with pytest.raises(KeysUnavailable):
        door.ask_with(key)


def test_a_failed_read_fails_all_requests_that_wait_for_it_and_is_not_kept(door: Door) -> None:
    key = door.store.add()
    door.store.delay_s = 1.0
    door.store.take_down()
    assert {type(one) for one in door.ask_at_once(*[bearer(key)] * 20)} == {KeysUnavailable}
    assert len(door.store.reads) == 1
    door.store.failure = None
    assert isinstance(door.ask_with(key), Caller)


def test_a_cancelled_read_is_done_by_the_next_that_waits(door: Door) -> None:
    key = door.store.add()
    door.store.delay_s = 1.0

    async def cancel_the_first() -> Caller | Rejection:
        first, second = (asyncio.create_task(door.verifier.verify(bearer(key))) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        return await second

    assert virtual_time.run(cancel_the_first(), door.clock) == Caller(key.key_id)
    assert len(door.store.reads) == 2


def test_a_read_whose_event_loop_has_ended_does_not_block_the_next_one(door: Door) -> None:
    key = door.store.add()
    door.store.delay_s = 1.0

    async def leave_it() -> None:
        task = asyncio.create_task(door.verifier.verify(bearer(key)))
        await asyncio.sleep(0.5)
        assert not task.done()

    virtual_time.run(leave_it(), door.clock)
    assert isinstance(door.ask_with(key), Caller)


def test_a_record_of_another_version_is_rejected_and_read_once_a_minute(door: Door) -> None:
    key = door.store.add()
    door.store.failure = UnreadableRecord()
    assert [door.ask_with(key) for _ in range(3)] == [Rejection.UNREADABLE] * 3
    assert len(door.store.reads) == 1

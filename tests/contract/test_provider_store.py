"""One suite for both stores of provider records, in memory and in DynamoDB. Tests of DynamoDB alone follow."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count
from typing import Any, TypeVar

import hypothesis
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.aws.state_table import provider_key
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.connections import Reply as Received
from sekha_llm_bridge.resilience import (
    Breaker,
    BreakerState,
    CheckResult,
    PermitSource,
    ProviderRecord,
    StoreUnavailable,
)
from sekha_llm_bridge.resilience.breaker import CheckTrust, Lease
from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.resilience.store import ProviderStore, WriteResult
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, TTL_ATTRIBUTE, DynamoDb
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.wire import reply, wire

T = TypeVar("T")
AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LATER = AT + timedelta(seconds=9)
WEEK = timedelta(days=7)
MINE, OTHER = Lease("mine", LATER), Lease("other's", LATER)
FAILED = Breaker(failure_count=1, last_failure=AT, cause="timeout", failure_source=PermitSource.CHECK)
OPENED = replace(FAILED, state=BreakerState.OPEN, epoch=1, failure_count=5, retry_at=LATER)
PROBED = replace(OPENED, state=BreakerState.HALF_OPEN, epoch=2, retry_at=None, lease=MINE)
MAX_CONCURRENT = 40  # moto is slow, and a request times out after two seconds


class StoredRecords:
    """The stored records. `store` makes one more store for them, as every function instance has its own."""

    def __init__(self, runner: asyncio.Runner, store: Callable[[], ProviderStore]) -> None:
        self.runner = runner
        self.store = store
        self._first = store()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 30))

    def read(self, *provider_ids: str) -> Mapping[str, ProviderRecord]:
        return self.run(self._first.read(provider_ids))

    def record(self, provider_id: str = "p") -> ProviderRecord:
        return self.read(provider_id).get(provider_id, ProviderRecord())

    def breaker(self, provider_id: str = "p") -> Breaker:
        return self.record(provider_id).breaker

    def record_check(self, result: CheckResult) -> None:
        self.run(self._first.record_check(result))

    def add_failure(self, before: Breaker, after: Breaker, provider_id: str = "p") -> WriteResult:
        return self.run(self._first.add_failure(provider_id, before, after))

    def replace(self, before: Breaker, after: Breaker, provider_id: str = "p") -> WriteResult:
        return self.run(self._first.replace(provider_id, before, after))


class Table(StoredRecords):
    """Records in a DynamoDB table."""

    def __init__(self, runner: asyncio.Runner, dynamodb: DynamoDb, clock: FakeClock) -> None:
        self.dynamodb = dynamodb
        self.name = dynamodb.new_table()
        self.clock = clock
        self._opened: list[Connections] = []
        super().__init__(runner, self._new_store)

    def item(self, provider_id: str = "p") -> dict[str, Any]:
        return self.dynamodb.item(self.name, provider_key(provider_id))

    def close(self) -> None:
        for connections in self._opened:
            self.run(connections.aclose())

    def _new_store(self) -> ProviderStore:
        self._opened.append(Connections(self.clock))
        return DynamoProviderStore(self.name, self._opened[-1], self.clock)


@pytest.fixture(autouse=True)
def _no_aws_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("REGION", "SESSION_TOKEN", "ENDPOINT_URL", "ENDPOINT_URL_DYNAMODB", "CONTAINER_CREDENTIALS_FULL_URI")
    more = ("CONTAINER_CREDENTIALS_RELATIVE_URI", "CONTAINER_AUTHORIZATION_TOKEN")
    for name in (*names, *more):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", REGION)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture
def table(
    runner: asyncio.Runner, dynamodb: DynamoDb, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Table]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    made = Table(runner, dynamodb, clock)
    yield made
    made.close()


@pytest.fixture(params=["memory", "dynamodb"])
def records(request: pytest.FixtureRequest, runner: asyncio.Runner) -> StoredRecords:
    if request.param == "dynamodb":
        found: StoredRecords = request.getfixturevalue("table")
        return found
    only = MemoryProviderStore()
    return StoredRecords(runner, lambda: only)


def check(provider_id: str = "p", **changed: Any) -> CheckResult:
    return replace(CheckResult(provider_id, is_healthy=True, latency_ms=12, checked_at=AT), **changed)


def test_an_unknown_provider_has_no_record(records: StoredRecords) -> None:
    assert records.read("p") == {}
    assert records.read() == {}


def test_the_reason_of_a_missing_secret_is_kept_until_the_next_check(records: StoredRecords) -> None:
    missing = check(is_healthy=False, error="disabled", is_conclusive=False, unusable_because="it does not exist")
    for one in (missing, check()):
        records.record_check(one)
        assert records.read("p")["p"].check == one


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("latency_ms", [None, 0, 12])
@pytest.mark.parametrize("error", [None, "timeout"])
@pytest.mark.parametrize("is_conclusive", [True, False])
def test_a_check_is_read_back_as_it_was_recorded(
    records: StoredRecords, *, healthy: bool, latency_ms: int | None, error: str | None, is_conclusive: bool
) -> None:
    recorded = check(is_healthy=healthy, latency_ms=latency_ms, error=error, is_conclusive=is_conclusive)
    records.record_check(recorded)
    assert records.read("p") == {"p": ProviderRecord(recorded)}


def test_a_check_replaces_all_attributes_of_the_previous_one(records: StoredRecords) -> None:
    for result in (
        check(is_healthy=False, latency_ms=None, error="timeout"),
        check(checked_at=LATER),
        check(latency_ms=None),
    ):
        records.record_check(result)
        assert records.record().check == result


def test_recording_a_check_does_not_change_the_breaker(records: StoredRecords) -> None:
    records.replace(Breaker(), PROBED)
    records.record_check(check(is_healthy=False, latency_ms=None, error="timeout"))
    assert records.breaker() == PROBED


def test_writing_the_breaker_does_not_change_the_check(records: StoredRecords) -> None:
    records.record_check(check(error="timeout"))
    records.add_failure(Breaker(), FAILED)
    records.replace(FAILED, OPENED)
    assert records.record() == ProviderRecord(check(error="timeout"), OPENED)


def test_three_hundred_providers_are_read_by_one_call(records: StoredRecords) -> None:
    names = [f"p{number}" for number in range(300)]
    for name in names:
        records.record_check(check(name))
    found = records.read(*names, "ghost", "p0")
    assert found == {name: ProviderRecord(check(name)) for name in names}


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 — Hypothesis adds the zone
COUNTS = st.integers(0, 1000)
FIELDS = {
    "state": st.sampled_from(BreakerState),
    "epoch": st.integers(0, 2**40),
    "failure_count": COUNTS,
    "success_count": COUNTS,
    "retry_at": st.none() | MOMENTS,
    "lease": st.none() | st.builds(Lease, st.text("0123456789abcdef", min_size=1), MOMENTS),
    "last_failure": st.none() | MOMENTS,
    "cause": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "failure_source": st.sampled_from(PermitSource),
    "check_trust": st.sampled_from(CheckTrust),
}
BREAKERS = st.fixed_dictionaries(FIELDS).map(lambda values: Breaker(**values))


def test_the_generated_breakers_vary_in_every_field() -> None:
    assert FIELDS.keys() == {field.name for field in fields(Breaker)}


def test_any_breaker_can_be_replaced_by_any_other_in_every_field(records: StoredRecords) -> None:
    """From no record to one, to another, and to the default. A field that becomes None is removed."""
    names = map(str, count())

    @hypothesis.settings(max_examples=60)
    @given(BREAKERS, BREAKERS)
    def check_property(one: Breaker, another: Breaker) -> None:
        name = next(names)
        for before, after in ((Breaker(), one), (one, another), (another, Breaker())):
            assert records.replace(before, after, name) == WriteResult(is_written=True, breaker=after)
            assert records.breaker(name) == after

    check_property()


REFUSED = {
    "a past epoch": (OPENED, replace(OPENED, epoch=0)),
    "a future epoch": (OPENED, replace(OPENED, epoch=2)),
    "another lease": (PROBED, replace(PROBED, lease=OTHER)),
    "no lease, one is stored": (PROBED, replace(PROBED, lease=None)),
    "a lease, none is stored": (OPENED, replace(OPENED, lease=MINE)),
    "more failures than stored": (OPENED, replace(OPENED, failure_count=6)),
    "another epoch, nothing is stored": (None, OPENED),
    "a lease, nothing is stored": (None, Breaker(lease=MINE)),
    "failures, nothing is stored": (None, FAILED),
}


@pytest.mark.parametrize(("stored", "assumed"), REFUSED.values(), ids=REFUSED)
def test_a_replace_whose_condition_is_not_met_returns_the_stored_breaker(
    records: StoredRecords, stored: Breaker | None, assumed: Breaker
) -> None:
    if stored is not None:
        records.replace(Breaker(), stored)
    there = records.read("p")
    changed = replace(assumed, state=BreakerState.CLOSED, success_count=7, cause="changed", retry_at=AT, lease=OTHER)
    assert records.replace(assumed, changed) == WriteResult(is_written=False, breaker=stored or Breaker())
    assert records.read("p") == there


def test_replace_accepts_and_keeps_failures_added_since_the_read(records: StoredRecords) -> None:
    records.replace(Breaker(), FAILED)
    newer = replace(FAILED, last_failure=LATER, cause="rejected", failure_source=PermitSource.REQUEST)
    records.add_failure(FAILED, newer)
    written = records.replace(FAILED, replace(FAILED, state=BreakerState.OPEN, epoch=1, retry_at=LATER))
    both = replace(newer, state=BreakerState.OPEN, epoch=1, retry_at=LATER, failure_count=2)
    assert written == WriteResult(is_written=True, breaker=both)
    assert records.breaker() == both


def test_a_reset_of_the_count_includes_failures_added_since_the_read(records: StoredRecords) -> None:
    records.replace(Breaker(), FAILED)
    records.add_failure(FAILED, FAILED)
    assert records.replace(FAILED, replace(FAILED, failure_count=0)).breaker.failure_count == 0


@pytest.mark.parametrize("first", [FAILED, replace(FAILED, failure_count=0)], ids=["counted", "not counted"])
def test_epoch_zero_is_the_same_stored_or_absent(records: StoredRecords, first: Breaker) -> None:
    """A failure or a check creates a record without an epoch; `replace` may create one with epoch 0."""
    records.add_failure(Breaker(), FAILED, "not written")
    records.replace(Breaker(), replace(FAILED, epoch=1), "written")
    records.replace(replace(FAILED, epoch=1), FAILED, "written")
    for name in ("not written", "written"):
        assert records.breaker(name) == FAILED
        assert records.add_failure(first, FAILED, name).is_written
        assert records.replace(first, OPENED, name).is_written


def test_one_of_fifty_simultaneous_acquires_gets_the_lease(records: StoredRecords) -> None:
    records.replace(Breaker(), OPENED)
    leases = [Lease(f"number {number}", LATER) for number in range(50)]

    async def take() -> list[WriteResult]:
        stores = [records.store() for _ in range(5)]
        wanted = [replace(PROBED, lease=lease) for lease in leases]
        return await all_at_once([stores[i % 5].replace("p", OPENED, after) for i, after in enumerate(wanted)])

    answers = records.run(take())
    assert [answer.is_written for answer in answers].count(True) == 1
    assert {answer.breaker for answer in answers} == {records.breaker()}


def test_adding_a_failure_changes_only_the_count_and_the_last_failure(records: StoredRecords) -> None:
    records.replace(Breaker(), replace(PROBED, check_trust=CheckTrust.DISTRUSTED))
    last = Breaker(epoch=2, failure_count=99, success_count=9, last_failure=LATER, cause="rejected")
    counted = replace(PROBED, check_trust=CheckTrust.DISTRUSTED, failure_count=6, last_failure=LATER, cause="rejected")
    counted = replace(counted, failure_source=PermitSource.REQUEST)
    assert records.add_failure(Breaker(epoch=2), last) == WriteResult(is_written=True, breaker=counted)
    assert records.breaker() == counted


def test_the_first_failure_creates_the_record(records: StoredRecords) -> None:
    assert records.add_failure(Breaker(), FAILED) == WriteResult(is_written=True, breaker=FAILED)
    assert records.read("p") == {"p": ProviderRecord(None, FAILED)}


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_failure_of_another_epoch_is_not_counted(records: StoredRecords, epoch: int) -> None:
    records.replace(Breaker(), OPENED)
    assert records.add_failure(Breaker(epoch=epoch), FAILED) == WriteResult(is_written=False, breaker=OPENED)
    assert records.breaker() == OPENED


def test_a_failure_of_a_later_epoch_creates_no_record(records: StoredRecords) -> None:
    assert records.add_failure(Breaker(epoch=1), FAILED) == WriteResult(is_written=False, breaker=Breaker())
    assert records.read("p") == {}


def test_two_hundred_simultaneous_failures_are_all_counted(records: StoredRecords) -> None:
    async def add() -> list[WriteResult]:
        stores = [records.store() for _ in range(5)]
        return await all_at_once([stores[i % 5].add_failure("p", Breaker(), FAILED) for i in range(200)])

    answers = records.run(add())
    assert sorted(answer.breaker.failure_count for answer in answers) == list(range(1, 201))
    assert records.breaker() == replace(FAILED, failure_count=200)


def test_failures_during_an_opening_are_counted_or_refused_and_never_lost(records: StoredRecords) -> None:
    records.add_failure(Breaker(), FAILED)

    async def fail_and_open() -> list[WriteResult]:
        stores = [records.store() for _ in range(4)]
        adding = [stores[i % 3].add_failure("p", Breaker(), FAILED) for i in range(MAX_CONCURRENT)]
        opened = replace(OPENED, failure_count=FAILED.failure_count)
        return await all_at_once([*adding[:20], stores[3].replace("p", FAILED, opened), *adding[20:]])

    counted = [answer for answer in records.run(fail_and_open()) if answer.is_written]
    assert records.breaker().state is BreakerState.OPEN
    assert records.breaker().failure_count == len(counted)  # the first failure, and all writes but the opening


async def all_at_once(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    limit = asyncio.Semaphore(MAX_CONCURRENT)

    async def with_limit(one: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await one

    return await asyncio.gather(*map(with_limit, work))


LEASES = st.sampled_from([None, None, MINE, OTHER])
FEW_BREAKERS = st.builds(
    Breaker,
    state=st.sampled_from(BreakerState),
    epoch=st.integers(0, 2),
    failure_count=st.integers(0, 3),
    success_count=st.integers(0, 1),
    retry_at=st.sampled_from([None, LATER]),
    lease=LEASES,
    last_failure=st.sampled_from([AT, LATER]),
    cause=st.sampled_from(["", "timeout"]),
    failure_source=st.sampled_from(PermitSource),
    check_trust=st.sampled_from(CheckTrust),
)
CHECKS = st.builds(check, latency_ms=st.sampled_from([None, 1]), error=st.sampled_from([None, "timeout"]))
CHANGES = st.tuples(st.sampled_from(["replace", "add_failure"]), st.none() | FEW_BREAKERS, FEW_BREAKERS)


def test_both_stores_return_the_same_for_any_sequence_of_writes(table: Table) -> None:
    """A write is decided by the stored breaker, or by an outdated one."""
    names = map(str, count())

    @hypothesis.settings(max_examples=40)
    @given(st.lists(CHANGES | CHECKS, max_size=8))
    def check_property(history: list[Any]) -> None:
        memory, name = StoredRecords(table.runner, MemoryProviderStore), next(names)
        for step in history:
            if isinstance(step, CheckResult):
                for records in (memory, table):
                    records.record_check(replace(step, provider_id=name))
            else:
                change, assumed, after = step
                before = memory.breaker(name) if assumed is None else assumed
                assert getattr(table, change)(before, after, name) == getattr(memory, change)(before, after, name)
            assert table.read(name) == memory.read(name)

    check_property()


# Only DynamoDB: expiry, faults, endpoints, credentials.
WRITES: dict[str, Callable[[StoredRecords], object]] = {
    "a check": lambda records: records.record_check(check()),
    "a failure": lambda records: records.add_failure(Breaker(), FAILED),
    "a change": lambda records: records.replace(Breaker(), OPENED),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_item_expires_a_week_after_its_last_write_of_any_kind(
    table: Table, write: Callable[[StoredRecords], object]
) -> None:
    assert TTL_ATTRIBUTE is not None
    table.record_check(check(is_healthy=False))
    table.clock.advance(1000.6)
    write(table)
    assert table.item()[TTL_ATTRIBUTE] == {"N": str(int((table.clock.now() + WEEK).timestamp()))}


def test_a_refused_write_does_not_change_the_expiry(table: Table) -> None:
    assert TTL_ATTRIBUTE is not None
    table.replace(Breaker(), OPENED)
    before = table.item()
    table.clock.advance(1000)
    assert not table.replace(PROBED, OPENED).is_written
    assert table.item() == before


def test_a_field_that_is_none_has_no_attribute(table: Table) -> None:
    table.replace(Breaker(), PROBED)
    table.replace(PROBED, replace(PROBED, lease=None, last_failure=None))
    table.record_check(check(latency_ms=None))
    assert (
        not {"lease_token", "lease_until", "last_failure", "retry_at", "check_ms", "check_error"} & table.item().keys()
    )


def test_a_read_is_consistent_and_requests_each_key_once(table: Table) -> None:
    table.dynamodb.requests.clear()
    table.read("p", "q", "p")
    (request,) = table.dynamodb.requests
    keys = [{"pk": {"S": f"provider#{name}"}, "sk": {"S": "state"}} for name in ("p", "q")]
    assert request.request["RequestItems"] == {table.name: {"Keys": keys, "ConsistentRead": True}}


REQUEST_FAILED = re.compile(r"DynamoDB request failed \(\w+\)")
NEWER = {"half_life": {"M": {"hours": {"N": "3"}}}}
SECRET = "arn:aws:dynamodb:us-east-1:123456789012:table/secret"
BROKEN_BREAKERS: dict[str, dict[str, Any]] = {
    "an unknown state": {"state": {"S": SECRET}},
    "an unknown source": {"failure_source": {"S": SECRET}},
    "an unknown trust": {"check_trust": {"S": SECRET}},
    "an epoch that is text": {"epoch": {"S": SECRET}},
    "an invalid time": {"retry_at": {"S": SECRET}},
    "a time that is a number": {"last_failure": {"N": "1"}},
}
BROKEN_CHECKS: dict[str, dict[str, Any]] = {
    "no result": {"checked_at": {"S": AT.isoformat()}},
    "an invalid time": {"checked_at": {"S": SECRET}, "check_healthy": {"BOOL": True}},
    "a result that is text": {"checked_at": {"S": AT.isoformat()}, "check_healthy": {"S": SECRET}},
}


@pytest.mark.parametrize("attributes", BROKEN_BREAKERS.values(), ids=BROKEN_BREAKERS)
def test_a_breaker_that_cannot_be_parsed_is_treated_as_missing_and_hides_nothing_else(
    table: Table, log: StringIO, attributes: dict[str, Any]
) -> None:
    table.record_check(check("p"))
    table.record_check(check("q"))
    table.dynamodb.set_attributes(table.name, provider_key("p"), **attributes)
    assert table.read("p", "q") == {"p": ProviderRecord(check("p")), "q": ProviderRecord(check("q"))}
    assert json.loads(log.getvalue().splitlines()[-1])["message"] == "unreadable provider record"
    assert SECRET not in log.getvalue()


@pytest.mark.parametrize("attributes", BROKEN_CHECKS.values(), ids=BROKEN_CHECKS)
def test_a_check_that_cannot_be_parsed_is_treated_as_missing_and_hides_nothing_else(
    table: Table, log: StringIO, attributes: dict[str, Any]
) -> None:
    table.replace(Breaker(), PROBED)
    table.dynamodb.set_attributes(table.name, provider_key("p"), **attributes)
    assert table.read("p") == {"p": ProviderRecord(None, PROBED)}
    assert SECRET not in log.getvalue()


def test_unknown_attributes_are_not_changed(table: Table) -> None:
    """A newer version of the bridge may have written them."""
    table.dynamodb.set_attributes(table.name, provider_key("p"), **NEWER, epoch={"N": "3"})
    assert table.breaker() == Breaker(epoch=3)
    assert table.replace(Breaker(epoch=3), OPENED).is_written
    assert NEWER.items() <= table.item().items()


def test_a_write_refused_because_of_an_unreadable_item_is_a_refusal(table: Table) -> None:
    table.dynamodb.set_attributes(table.name, provider_key("p"), state={"S": "ajar"}, epoch={"N": "7"})
    assert table.add_failure(Breaker(), FAILED) == WriteResult(is_written=False, breaker=Breaker())


@dataclass
class Fake:
    """A store whose DynamoDB returns scripted replies."""

    server: FakeProvider
    records: StoredRecords

    def answers(self, *replies: Reply) -> None:
        self.server.script("/", *replies)

    @property
    def requests(self) -> list[Any]:
        return [request.body for request in self.server.calls("/")]


@pytest.fixture
def connections(runner: asyncio.Runner, clock: FakeClock) -> Iterator[Connections]:
    made = Connections(clock)
    yield made
    runner.run(made.aclose())


@pytest.fixture
def canned(
    runner: asyncio.Runner,
    clock: FakeClock,
    fake: FakeProvider,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> Fake:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"{fake.url}/")
    return Fake(fake, StoredRecords(runner, lambda: DynamoProviderStore("table", connections, clock)))


ACTIONS: dict[str, Callable[[StoredRecords], object]] = {"a read": lambda records: records.read("p"), **WRITES}


def refusal(kind: str, status: int = 400) -> Reply:
    return Reply(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": SECRET})


FAULTS = {
    "access denied": refusal("AccessDeniedException"),
    "no such table": refusal("ResourceNotFoundException"),
    "throughput exceeded": refusal("ProvisionedThroughputExceededException"),
    "throttled": refusal("ThrottlingException"),
    "too many requests": refusal("RequestLimitExceeded"),
    "an expired token": refusal("ExpiredTokenException"),
    "invalid": refusal("ValidationException"),
    "transaction conflict": refusal("TransactionConflictException"),
    "an unknown kind": refusal("NewException"),
    "400 without a kind": Reply(400, raw=SECRET.encode()),
    "internal error": refusal("InternalServerError", 500),
    "500 with HTML": Reply(500, raw=b"<html>" + SECRET.encode()),
    "502 with HTML": Reply(502, raw=b"<html>" + SECRET.encode()),
    "unavailable": Reply(503, {}),
    "a redirect": Reply(307, {}, {"location": "http://127.0.0.1:9/"}),
    "a redirect with a valid body": Reply(307, {"Responses": {}, "Attributes": {}}),
    "an empty body": Reply(raw=b""),
    "HTML": Reply(raw=b"<html>" + SECRET.encode()),
    "incomplete JSON": Reply(raw=b'{"Attributes": {'),
    "null": Reply(raw=b"null"),
    "a list": Reply(body=[SECRET]),
    "an empty object": Reply(body={}),
    "fields of the wrong type": Reply(body={"Responses": [SECRET], "Attributes": 7}),
    "fields that are null": Reply(body={"Responses": None, "Attributes": None}),
    "items of the wrong type": Reply(body={"Responses": {"table": [SECRET]}}),
    "items that are null": Reply(body={"Responses": {"table": [None]}}),
    "a body in a wrong encoding": Reply(raw=b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    "half a body": Reply(body={"Responses": {}, "Attributes": {}}, cut_at_byte=5),
    "a broken connection": Reply(reset=True),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_invalid_response_raises_store_unavailable_after_one_request(
    canned: Fake, action: str, fault: str
) -> None:
    canned.answers(FAULTS[fault])
    with pytest.raises(StoreUnavailable) as raised:
        ACTIONS[action](canned.records)
    assert REQUEST_FAILED.fullmatch(str(raised.value))
    assert len(canned.requests) == 1


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_after_a_failed_request_the_next_one_is_sent_as_usual(
    canned: Fake, action: Callable[[StoredRecords], object]
) -> None:
    canned.answers(Reply(500, {}), Reply(body={"Responses": {}, "Attributes": {}}))
    with pytest.raises(StoreUnavailable):
        action(canned.records)
    action(canned.records)
    assert canned.requests[0] == canned.requests[1]


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_missing_table_raises_store_unavailable(table: Table, action: Callable[[StoredRecords], object]) -> None:
    table.name = "ghost"
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        action(StoredRecords(table.runner, table.store))


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_refused_connection_raises_store_unavailable(canned: Fake, action: Callable[[StoredRecords], object]) -> None:
    canned.server.stop()
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        action(canned.records)


@pytest.mark.parametrize("write", [WRITES["a failure"], WRITES["a change"]], ids=["a failure", "a change"])
@pytest.mark.parametrize("there", [Breaker(), PROBED])
def test_a_refused_write_returns_the_breaker_of_the_returned_item_if_there_is_one(
    canned: Fake, write: Callable[[StoredRecords], WriteResult], there: Breaker
) -> None:
    item = {"state": {"S": "half_open"}, "epoch": {"N": "2"}, "failure_count": {"N": "5"}}
    item |= {"lease_token": {"S": MINE.token}, "lease_until": {"S": LATER.isoformat()}}
    item |= {"last_failure": {"S": AT.isoformat()}, "cause": {"S": "timeout"}, "failure_source": {"S": "check"}}
    answer = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}
    canned.answers(Reply(400, answer if there == Breaker() else {**answer, "Item": item}))
    assert write(canned.records) == WriteResult(is_written=False, breaker=there)


def responses(*provider_ids: str, left: Any = None) -> Reply:
    items = [provider_key(provider_id).attributes for provider_id in provider_ids]
    return Reply(body={"Responses": {"table": items}, "UnprocessedKeys": left or {}})


def test_unprocessed_keys_are_requested_again(canned: Fake) -> None:
    rest = {"table": {"Keys": [provider_key("q").attributes], "ConsistentRead": True}}
    canned.answers(responses("p", left=rest), responses(left=rest), responses("q"))
    assert canned.records.read("p", "q").keys() == {"p", "q"}
    assert [body["RequestItems"] for body in canned.requests[1:]] == [rest, rest]


def test_keys_that_stay_unprocessed_raise_store_unavailable_after_three_requests(canned: Fake) -> None:
    rest = {"table": {"Keys": [provider_key("q").attributes], "ConsistentRead": True}}
    canned.server.always("/", responses("p", left=rest))
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        canned.records.read("p", "q")
    assert len(canned.requests) == 3


def test_more_than_a_hundred_keys_are_requested_in_batches(canned: Fake) -> None:
    canned.server.always("/", responses())
    canned.records.read(*map(str, range(250)))
    assert [len(body["RequestItems"]["table"]["Keys"]) for body in canned.requests] == [100, 100, 50]


async def within(work: Coroutine[Any, Any, object], *, seconds: float = 0.1) -> None:
    async with asyncio.timeout(seconds):
        await work


@pytest.mark.parametrize("action", ["read", "add_failure", "replace", "record_check"])
def test_a_cancelled_request_closes_its_connection(canned: Fake, action: str) -> None:
    hanging = Reply(hang=True)
    canned.answers(hanging)
    arguments: dict[str, Any] = {"read": [["p"]], "record_check": [check()]}
    with pytest.raises(TimeoutError):
        canned.records.run(
            within(getattr(canned.records.store(), action)(*arguments.get(action, ["p", FAILED, FAILED])))
        )
    assert hanging.client_disconnected.wait(5)
    canned.answers(responses("p"))
    assert canned.records.read("p").keys() == {"p"}


def test_a_hanging_request_times_out(canned: Fake) -> None:
    hanging = Reply(hang=True)
    canned.answers(hanging)
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        canned.records.read("p")
    assert hanging.client_disconnected.wait(5)


def test_a_connection_that_the_server_closed_is_replaced(
    runner: asyncio.Runner, connections: Connections, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    async def scenario() -> int:
        async with wire(reply(b'{"Responses": {}}'), then_close=True) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{server.port}/")
            store = DynamoProviderStore("table", connections, clock)
            for _ in range(3):
                assert await store.read(["p"]) == {}
                await asyncio.sleep(0)
            return server.connections

    assert runner.run(scenario()) == 3


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it is passed to the connections."""

    url: str
    content: bytes
    headers: Mapping[str, str]


class RecordingConnections(Connections):
    """Records requests instead of sending them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.sent: list[Sent] = []

    async def exchange(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Received:
        self.sent.append(Sent(url, content or b"", headers))
        return Received(200, [], b'{"Responses": {}, "Attributes": {}}')


@pytest.fixture
def recording(clock: FakeClock) -> RecordingConnections:
    return RecordingConnections(clock)


def sent_by(
    recording: RecordingConnections, clock: FakeClock, action: Callable[[StoredRecords], object] = ACTIONS["a read"]
) -> Sent:
    with asyncio.Runner() as runner:
        action(StoredRecords(runner, lambda: DynamoProviderStore("table", recording, clock)))
    return recording.sent[-1]


AWS_URL = "https://dynamodb.us-east-1.amazonaws.com/"
ENDPOINTS: dict[str, tuple[dict[str, str], str]] = {
    "of the region": ({}, AWS_URL),
    "of the default region": (
        {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"},
        "https://dynamodb.eu-west-3.amazonaws.com/",
    ),
    "in China": ({"AWS_REGION": "cn-north-1"}, "https://dynamodb.cn-north-1.amazonaws.com.cn/"),
    "of a GovCloud region": ({"AWS_REGION": "us-gov-west-1"}, "https://dynamodb.us-gov-west-1.amazonaws.com/"),
    "of AWS_ENDPOINT_URL": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/"}, "http://127.0.0.1:4566/"),
    "of AWS_ENDPOINT_URL_DYNAMODB": (
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000/"},
        "http://127.0.0.1:8000/",
    ),
    "of an empty AWS_ENDPOINT_URL": ({"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_DYNAMODB": ""}, AWS_URL),
}


@pytest.mark.parametrize(("env", "url"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_the_endpoint_follows_from_the_environment(
    env: dict[str, str], url: str, recording: RecordingConnections, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert sent_by(recording, clock).url == url


SIGNED = ("content-type", "x-amz-date", "x-amz-target")  # botocore adds the host and the token


def botocore_signature(sent: Sent, *, token: str | None = None) -> str:
    """Returns the Authorization header that botocore computes for the same request, key and date."""
    credentials = Credentials("testing", "testing", token)
    request = AWSRequest("POST", sent.url, {name: sent.headers[name] for name in SIGNED}, sent.content)
    if token:  # botocore adds it only to a request whose date it set itself
        request.headers["x-amz-security-token"] = token
    request.context["timestamp"] = sent.headers["x-amz-date"]
    auth = SigV4Auth(credentials, "dynamodb", REGION)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    headers = auth.signed_headers(auth.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={headers}, Signature={signature}"


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_request_is_signed_as_botocore_signs_it(
    action: Callable[[StoredRecords], object], recording: RecordingConnections, clock: FakeClock
) -> None:
    sent = sent_by(recording, clock, action)
    assert sent.headers["authorization"] == botocore_signature(sent)
    assert "x-amz-security-token" not in sent.headers


def test_a_session_token_is_sent_and_signed_as_botocore_signs_it(
    recording: RecordingConnections, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    sent = sent_by(recording, clock)
    assert sent.headers["x-amz-security-token"] == "session"
    assert sent.headers["authorization"] == botocore_signature(sent, token="session")


def test_an_endpoint_with_a_port_is_signed_as_botocore_signs_it(
    recording: RecordingConnections, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")
    sent = sent_by(recording, clock)
    assert sent.headers["authorization"] == botocore_signature(sent)


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_without_credentials_nothing_is_sent_and_the_store_is_unavailable(
    missing: str, recording: RecordingConnections, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        sent_by(recording, clock)
    assert recording.sent == []


def test_a_local_endpoint_needs_no_credentials(canned: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    canned.answers(responses("p"))
    assert canned.records.read("p").keys() == {"p"}


@pytest.fixture
def restored(canned: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The store of a function that was restored from a snapshot: it fetches its credentials from `/credentials`."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{canned.server.url}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who-I-am")
    canned.server.always("/", responses("p"))
    return Fake(canned.server, StoredRecords(canned.records.runner, canned.records.store))


def credentials(number: int, clock: FakeClock, *, last_for: timedelta = timedelta(hours=6)) -> Reply:
    expires = (clock.now() + last_for).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Reply(
        body={"AccessKeyId": f"key-{number}", "SecretAccessKey": "s", "Token": f"token-{number}", "Expiration": expires}
    )


def used_credentials(fake: Fake) -> list[tuple[str, str]]:
    """Returns the access keys and tokens that the requests were signed with."""
    headers = [request.headers for request in fake.server.calls("/")]
    return [(re.findall(r"Credential=([^/]*)/", h["authorization"])[0], h["x-amz-security-token"]) for h in headers]


def test_credentials_are_fetched_once_with_the_environments_token(restored: Fake, clock: FakeClock) -> None:
    restored.server.script("/credentials", credentials(1, clock), credentials(2, clock))
    for _ in range(3):
        restored.records.read("p")
    assert used_credentials(restored) == [("key-1", "token-1")] * 3
    (fetched,) = restored.server.calls("/credentials")
    assert (fetched.method, fetched.headers["authorization"]) == ("GET", "who-I-am")


def test_credentials_are_fetched_again_before_they_expire(restored: Fake, clock: FakeClock) -> None:
    restored.server.script("/credentials", credentials(1, clock, last_for=timedelta(hours=1)))
    for minutes in (0, 30, 29):
        clock.advance(60 * minutes)
        restored.server.script("/credentials", credentials(2, clock))
        restored.records.read("p")
    assert used_credentials(restored) == [("key-1", "token-1"), ("key-1", "token-1"), ("key-2", "token-2")]


def test_credentials_that_expired_during_a_freeze_are_not_used(restored: Fake, clock: FakeClock) -> None:
    restored.server.script("/credentials", credentials(1, clock))
    restored.records.read("p")
    clock.freeze(24 * 3600)
    restored.server.script("/credentials", credentials(2, clock))
    restored.records.read("p")
    assert used_credentials(restored) == [("key-1", "token-1"), ("key-2", "token-2")]


def test_credentials_are_fetched_again_after_an_expired_token_error(restored: Fake, clock: FakeClock) -> None:
    restored.server.script("/credentials", credentials(1, clock), credentials(2, clock))
    restored.answers(refusal("ExpiredTokenException"))
    with pytest.raises(StoreUnavailable, match=REQUEST_FAILED):
        restored.records.read("p")
    restored.records.read("p")
    assert used_credentials(restored) == [("key-1", "token-1"), ("key-2", "token-2")]


CREDENTIAL_FAULTS = {
    "an error": Reply(500, {}),
    "refused": Reply(403, {"message": SECRET}),
    "HTML": Reply(raw=b"<html>" + SECRET.encode()),
    "no credentials": Reply(body={"message": SECRET}),
    "no date": Reply(body={"AccessKeyId": "a", "SecretAccessKey": SECRET, "Expiration": SECRET}),
    "a broken connection": Reply(reset=True),
}


@pytest.mark.parametrize("fault", CREDENTIAL_FAULTS.values(), ids=CREDENTIAL_FAULTS)
def test_a_failing_credentials_endpoint_makes_the_store_unavailable(
    restored: Fake, fault: Reply, clock: FakeClock
) -> None:
    restored.server.always("/credentials", fault)
    with pytest.raises(StoreUnavailable) as raised:
        restored.records.read("p")
    assert REQUEST_FAILED.fullmatch(str(raised.value))
    assert restored.requests == []
    restored.server.always("/credentials", credentials(1, clock))
    assert restored.records.read("p").keys() == {"p"}


def test_a_cancelled_request_for_credentials_closes_its_connection(restored: Fake, clock: FakeClock) -> None:
    hanging = Reply(hang=True)
    restored.server.script("/credentials", hanging, credentials(1, clock))
    with pytest.raises(TimeoutError):
        restored.records.run(within(restored.records.store().read(["p"])))
    assert hanging.client_disconnected.wait(5)
    assert restored.records.read("p").keys() == {"p"}


def test_a_request_that_stops_waiting_for_credentials_does_not_cancel_others(restored: Fake, clock: FakeClock) -> None:
    """A scheduled check writes for all providers at the same time, each with its own time budget."""
    restored.server.always("/credentials", replace(credentials(1, clock), delay_s=0.4))

    async def two() -> list[BaseException | None]:
        store = restored.records.store()
        both = within(store.read(["p"])), within(store.read(["p"]), seconds=5)
        return list(await asyncio.gather(*both, return_exceptions=True))

    gave_up, waited = restored.records.run(two())
    assert isinstance(gave_up, TimeoutError)
    assert waited is None

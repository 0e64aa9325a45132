"""Texts of API keys, and texts that only look like keys."""

from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from sekha_llm_bridge.access.caller import KeyPolicy
from sekha_llm_bridge.access.keys.key_text import KeyText, is_handle, new_key, parse_key
from sekha_llm_bridge.access.keys.record import KeyRecord, Rejection, check
from sekha_llm_bridge.config.vocabulary import Task

KEYS = st.builds(new_key)
MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AMOUNTS = st.none() | st.decimals(min_value=0, max_value=10**6, places=6)
COUNTS = st.none() | st.integers(min_value=0, max_value=10**9)
POLICIES = st.builds(
    KeyPolicy,
    models=st.lists(TEXTS).map(tuple),
    tasks=st.lists(st.sampled_from(Task)).map(tuple),
    max_cost_per_request_usd=AMOUNTS,
    requests_per_minute=COUNTS,
    tokens_per_minute=COUNTS,
    concurrent_requests=COUNTS,
    daily_usd=AMOUNTS,
    monthly_usd=AMOUNTS,
    chroma_tenant=st.none() | TEXTS,
    chroma_database=st.none() | TEXTS,
    may_store=st.booleans(),
)
RECORDS = st.builds(
    KeyRecord,
    key_id=KEYS.map(lambda key: key.key_id),
    digest=KEYS.map(lambda key: key.digest),
    name=TEXTS,
    created=MOMENTS,
    labels=st.dictionaries(TEXTS, TEXTS),
    policy=POLICIES,
    expires=st.none() | MOMENTS,
    revoked=st.none() | MOMENTS,
    earlier_digest=st.none() | KEYS.map(lambda key: key.digest),
    earlier_until=st.none() | MOMENTS,
)


@given(KEYS)
def test_a_new_key_is_parsed_to_itself(key: KeyText) -> None:
    assert parse_key(key.text) == key
    assert is_handle(key.key_id)
    assert key.text.startswith("sk-sekha-")


@given(KEYS, st.data())
def test_a_key_with_one_wrong_character_is_no_key(key: KeyText, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(key.text) - 1))
    wrong = data.draw(st.characters())
    assume(wrong != key.text[place])
    assert parse_key(key.text[:place] + wrong + key.text[place + 1 :]) is None


@given(KEYS, st.data())
def test_a_key_with_two_neighbouring_characters_in_the_wrong_order_is_no_key(key: KeyText, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(key.text) - 2))
    first, second = key.text[place], key.text[place + 1]
    assume(first != second)
    assert parse_key(key.text[:place] + second + first + key.text[place + 2 :]) is None


@given(KEYS, st.data())
def test_a_part_of_a_key_is_no_key(key: KeyText, data: st.DataObject) -> None:
    length = data.draw(st.integers(min_value=0, max_value=len(key.text) - 1))
    assert parse_key(key.text[:length]) is None
    assert parse_key(key.text[len(key.text) - length :]) is None


@given(KEYS, st.text(min_size=1))
def test_a_key_with_more_before_or_after_it_is_no_key(key: KeyText, more: str) -> None:
    assert parse_key(key.text + more) is None
    assert parse_key(more + key.text) is None


@given(st.text())
def test_an_arbitrary_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None
    assert parse_key(f"sk-sekha-{text}") is None


@given(KEYS)
def test_another_key_of_a_handle_has_another_secret(key: KeyText) -> None:
    other = new_key(key.key_id)
    assert other.key_id == key.key_id
    assert other.text != key.text
    assert parse_key(other.text) == other


@given(RECORDS)
def test_a_record_is_the_same_after_it_was_stored(record: KeyRecord) -> None:
    assert KeyRecord.from_attributes(record.as_attributes()) == record


@given(RECORDS, KEYS, MOMENTS)
def test_a_secret_that_the_record_does_not_have_is_unknown_whatever_else_the_record_has(
    record: KeyRecord, key: KeyText, now: datetime
) -> None:
    assert check(record, key, now) is Rejection.UNKNOWN


@given(RECORDS, KEYS)
def test_neither_a_record_nor_the_display_of_a_key_has_its_secret(record: KeyRecord, key: KeyText) -> None:
    secret = key.text.split("-")[3]
    stored = record._replace(key_id=key.key_id, digest=key.digest)
    assert secret not in repr(key) + str(key) + repr(stored) + repr(stored.as_attributes())

"""Records of the table of keys that another version, or a person, has written."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.keys.key_text import new_key
from sekha_llm_bridge.access.keys.record import KeyRecord, Rejection, UnreadableRecord, check

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = new_key()
RECORD = KeyRecord(KEY.key_id, KEY.digest, "a key", NOW)


@pytest.mark.parametrize("name", ["id", "hash", "name", "labels", "policy", "created"])
def test_a_record_without_a_needed_attribute_is_unreadable(name: str) -> None:
    item = RECORD.as_attributes()
    del item[name]
    with pytest.raises(UnreadableRecord):
        KeyRecord.from_attributes(item)


@pytest.mark.parametrize(
    "changed",
    [
        {"policy": {"S": '{"allowed_addresses": ["10.0.0.1"]}'}},
        {"policy": {"S": '{"daily_usd": "much"}'}},
        {"policy": {"S": '{"tasks": ["poetry"]}'}},
        {"policy": {"S": "[]"}},
        {"policy": {"S": "{"}},
        {"labels": {"S": "[1]"}},
        {"labels": {"M": {}}},
        {"created": {"S": "yesterday"}},
        {"expires": {"S": "2026-01-02T00:00:00"}},
        {"expires": {"N": "1767323045"}},
        {"revoked": {"S": ""}},
        {"id": {}},
    ],
)
def test_a_record_of_another_form_is_unreadable(changed: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord):
        KeyRecord.from_attributes({**RECORD.as_attributes(), **changed})


@pytest.mark.parametrize("digest", ["", "é", KEY.digest.upper(), KEY.text])
def test_a_record_with_another_digest_accepts_nobody(digest: str) -> None:
    assert check(RECORD._replace(digest=digest, earlier_digest=digest), KEY, NOW) is Rejection.UNKNOWN


def test_an_earlier_digest_without_an_end_is_not_valid() -> None:
    record = RECORD._replace(digest="0", earlier_digest=KEY.digest, earlier_until=None)
    assert check(record, KEY, NOW) is Rejection.REPLACED


def test_a_valid_key_is_its_own_caller() -> None:
    assert check(RECORD._replace(labels={"team": "search"}), KEY, NOW) == Caller(KEY.key_id, {"team": "search"})

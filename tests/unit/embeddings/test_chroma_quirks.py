"""What Chroma changes in records, and how it is undone."""

import math
from typing import Any

import httpx
import numpy
import pytest

from sekha_llm_bridge.embeddings.chroma_quirks import (
    is_equal_value,
    is_equal_vector,
    metadata_replacing,
    raise_for_unreported_status,
)
from sekha_llm_bridge.embeddings.store import QuotaExceeded

THIRD = 1 / 3


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"n": THIRD, "l": [THIRD]}, {"n": math.nextafter(THIRD, 1), "l": [math.nextafter(THIRD, 0)]}, True),
        ({"n": THIRD}, {"n": THIRD * (1 + 1e-12)}, False),
        ({"n": 1}, {"n": 1.0}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": 1}, {"m": 1}, False),
        ([1, 2], [1], False),
        ("text", "text", True),
        (None, None, True),
        (None, {}, False),
    ],
)
def test_values_are_equal_but_for_the_last_bit_of_a_decimal_number(
    one: object, other: object, *, expected: bool
) -> None:
    assert is_equal_value(one, other) is expected


def test_vectors_are_equal_bit_for_bit_or_within_the_rounding_tolerance() -> None:
    one: Any = numpy.asarray([4.0, 5.0, 6.0], dtype="<f4")
    near: Any = numpy.asarray([4.0, 5.0, 6.0000005], dtype="<f4")
    far: Any = numpy.asarray([4.0, 5.0, 6.00001], dtype="<f4")
    assert is_equal_vector(one, one.copy(), is_rounded=False)
    assert not is_equal_vector(one, near, is_rounded=False)
    assert is_equal_vector(one, near, is_rounded=True)
    assert not is_equal_vector(one, far, is_rounded=True)
    assert not is_equal_vector(one, one[:2], is_rounded=True)


def test_keys_that_only_the_stored_metadata_have_become_null() -> None:
    assert metadata_replacing({"b": 3}, {"a": 1, "b": 2}) == {"a": None, "b": 3}
    assert metadata_replacing(None, {"a": 1}) == {"a": None}
    assert metadata_replacing({"b": 3}, None) == {"b": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Quota exceeded: 'Number of records' exceeded quota limit for action 'Add': current usage of 500 exceeds limit of 300",
            "a quota of the server is exceeded: Number of records 500, at most 300 are allowed",
        ),
        ("Quota exceeded for 'my secret text'", "a quota of the server is exceeded"),
        ("quota exceeded", "a quota of the server is exceeded"),
    ],
)
def test_a_refusal_by_a_quota_has_its_name_and_numbers_and_nothing_of_what_was_sent(text: str, said: str) -> None:
    response = httpx.Response(422, json={"error": "ChromaError", "message": text})
    with pytest.raises(QuotaExceeded) as refused:
        raise_for_unreported_status(response)
    assert str(refused.value) == said


def test_another_422_is_left_to_the_client() -> None:
    raise_for_unreported_status(httpx.Response(422, json={"error": "ChromaError", "message": "invalid type: string"}))

"""The checks of what a caller reads: one that finds nothing wrong would make the table of callers untrue."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.caller_calls import all_callers, read_caller
from tests.corpus.read_types import unreadable

READABLE: list[tuple[Any, str]] = [
    ("a", "string"),
    ("", "string"),
    ("a", "text"),
    (1, "i32"),
    (-1, "i64"),
    (2**32 - 1, "u32"),
    (1, "f32"),
    (1.5, "number"),
    (True, "bool"),
    ({}, "object"),
    ([0.5, 1], "[f32]"),
    (None, "string?"),
    ("a", "=a"),
    (2, "=2"),
]
UNREADABLE: list[tuple[Any, str]] = [
    (None, "string"),
    (1, "string"),
    (" ", "text"),
    (1.0, "i32"),  # serde takes no float for an integer
    (True, "i32"),
    (2**31, "i32"),
    (-1, "u32"),
    (True, "number"),
    ("1", "f64"),
    (0, "bool"),
    ([], "object"),
    ([], "[f32]"),
    (["a"], "[f32]"),
    (1, "string?"),
    ("b", "=a"),
]


@pytest.mark.parametrize(("value", "kind"), READABLE)
def test_a_value_of_the_type_is_readable(value: Any, kind: str) -> None:
    assert unreadable({"a": value}, {"a": kind}) == []


@pytest.mark.parametrize(("value", "kind"), UNREADABLE)
def test_a_value_of_another_type_is_not_readable(value: Any, kind: str) -> None:
    assert len(unreadable({"a": value}, {"a": kind})) == 1


@pytest.mark.parametrize("answer", [{}, {"a": {}}, {"a": []}, [], None])
def test_a_missing_place_is_not_readable(answer: Any) -> None:
    assert unreadable(answer, {"a[].b": "string"}) == ["a[].b is missing, not string"]


def test_every_element_of_a_list_is_read() -> None:
    assert unreadable([{"a": 1}, {"a": "1"}], {"[].a": "i32"}) == ["[].a is '1', not i32"]
    assert unreadable({"c": [{"a": "x"}, {"a": 1}]}, {"c[0].a": "string"}) == []


def test_no_two_calls_of_a_caller_have_the_same_name() -> None:
    names = [(one.name, call.name) for one in all_callers() for call in one.calls]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("wrong", [{"read": {}}, {"reads": {}, "stream": {}}, {}, {"reads": {}, "expect": 1}])
def test_a_file_with_an_unknown_or_missing_key_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "caller.json"
    call = {"call": "a", "method": "GET", "path": "/", **wrong}
    path.write_text(json.dumps({"caller": "c", "about": "a", "source": "s", "calls": [call]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"caller\.json"):
        read_caller(path)

"""`tests/COMPATIBILITY.md` has what the tests' data have."""

import pytest

import compatibility_table
from tests.clients.libraries import all_libraries
from tests.corpus.caller_calls import all_callers

TEXT = compatibility_table.DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_in_the_document_are_those_of_the_data() -> None:
    """Otherwise run `.local/envs/bridge/bin/python infra/build/compatibility_table.py`."""
    assert compatibility_table.with_tables(TEXT) == TEXT


def test_the_tables_name_every_library_and_every_call_of_a_program() -> None:
    names = [one.name for one in all_libraries()]
    calls = [f"| {call.caller} | {call.name} |" for one in all_callers() for call in one.calls]
    assert [name for name in [*names, *calls] if name not in TEXT] == []


def test_a_document_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        compatibility_table.with_tables("# Compatibility\n")

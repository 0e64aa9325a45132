"""Reads the cases of `tests/corpus/events`. The format is described in the README beside this file."""

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "events"
TAKERS = frozenset({"api", "authorizer", "migration", "usage_records"})

_KEYS = {"about", "source", "taken_by", "kind", "event"}


@dataclass(frozen=True)
class EventCase:
    """One event, what it seems to be by its keys, and the functions that take it; all others warn."""

    name: str
    kind: str
    taken_by: Set[str]
    event: Any


def read_event_case(path: Path) -> EventCase:
    """Returns the case of a file. Raises ValueError for an unknown or missing key, or an unknown taker."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    taken_by = frozenset(fields.get("taken_by", ()))
    if fields.keys() | {"taken_by"} != _KEYS or not taken_by <= TAKERS:
        raise ValueError(f"{path.name}: keys are {sorted(_KEYS)}, and takers {sorted(TAKERS)}")
    return EventCase(path.stem, fields["kind"], taken_by, fields["event"])


def all_event_cases() -> list[EventCase]:
    """Returns every case, by file name."""
    return [read_event_case(path) for path in sorted(FOLDER.glob("*.json"))]

"""What is stored, and under which names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class VectorRecord:
    """One text with its vector, as one record of a collection."""

    id: str
    document: str
    vector: Sequence[float]
    metadata: Mapping[str, str | int | float | bool] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one request: all of one `dimension` and one embedding `space`; an id stands for its last record."""

    base_name: str
    dimension: int
    space: str
    records: tuple[VectorRecord, ...]

    @property
    def collection(self) -> str:
        """The collection they belong in."""
        return collection_name(self.base_name, self.dimension)

    def deduplicated(self) -> list[VectorRecord]:
        """The records, each id once: Chroma refuses a batch that names one twice."""
        return list({record.id: record for record in self.records}.values())


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of a batch: how many distinct records `collection` now holds of it, how many wait to be stored, and
    what else to say.

    `collection` is None where there is no server to have one.
    """

    collection: str | None
    stored: int
    pending: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """One record that a search found. `distance` is by its collection's own measure, lower is nearer; of `score`
    higher is better.
    """

    id: str
    document: str | None
    metadata: Mapping[str, Any] | None
    distance: float
    score: float
    collection: str


def collection_name(base_name: str, dimension: int) -> str:
    """`conversations` and 768 give `conversations_768`, and so does `conversations_768` itself."""
    suffix = f"_{dimension}"
    return base_name if base_name.endswith(suffix) else f"{base_name}{suffix}"


def split_collection_name(name: str) -> tuple[str, int] | None:
    """`conversations_768` gives `conversations` and 768; None for a name that does not end like that."""
    base_name, _, digits = name.rpartition("_")
    is_dimension = digits.isascii() and digits.isdigit() and not digits.startswith("0")
    return (base_name, int(digits)) if base_name and is_dimension else None


def target_collection_name(name: str, dimension: int) -> str | None:
    """The name that a collection with vectors of this dimension should have; None where it has it already."""
    target = collection_name(name, dimension)
    return None if target == name else target


def content_id(text: str) -> str:
    """The id of a text that came without one: the same text, the same record."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""The records that the bridge stores and finds, and the names of their collections."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class VectorRecord:
    """A text and its vector, as one record of a collection."""

    id: str
    document: str
    vector: Sequence[float]
    metadata: Mapping[str, str | int | float | bool] | None = None


class Database(NamedTuple):
    """A database of a Chroma server. Its collections are separate from those of every other database."""

    tenant: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of the tenant {self.tenant}"


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one request. All have the same `dimension` and embedding `space`.

    `database`: None is the configured one.
    """

    base_name: str
    dimension: int
    space: str
    records: tuple[VectorRecord, ...]
    database: Database | None = None

    @property
    def collection(self) -> str:
        """The name of the collection to store them in."""
        return collection_name(self.base_name, self.dimension)

    def deduplicated(self) -> list[VectorRecord]:
        """Returns the last record of each id: Chroma rejects a batch with a repeated id."""
        return list({record.id: record for record in self.records}.values())


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The result of storing a batch, in records. Records with the same id count once.

    `stored` are in `collection`, `pending` are in the queue. `notes` say why records are not stored. `collection` is
    None without a Chroma server.
    """

    collection: str | None
    stored: int
    pending: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A record that a search found.

    `distance` is by its collection's own measure, lower is nearer. Of `score`, higher is nearer.
    """

    id: str
    document: str | None
    metadata: Mapping[str, Any] | None
    distance: float
    score: float
    collection: str


def collection_name(base_name: str, dimension: int) -> str:
    """Returns `conversations_768` for `conversations` and 768, and also for `conversations_768` and 768."""
    suffix = f"_{dimension}"
    return base_name if base_name.endswith(suffix) else f"{base_name}{suffix}"


def split_collection_name(name: str) -> tuple[str, int] | None:
    """Returns `conversations` and 768 for `conversations_768`; None for a name without a dimension at its end."""
    base_name, _, digits = name.rpartition("_")
    is_dimension = digits.isascii() and digits.isdigit() and not digits.startswith("0")
    return (base_name, int(digits)) if base_name and is_dimension else None


def target_collection_name(name: str, dimension: int) -> str | None:
    """Returns the name that a collection with vectors of this dimension should have; None if it has that name."""
    target = collection_name(name, dimension)
    return None if target == name else target


def content_id(text: str) -> str:
    """Returns the id for a text that came without one. The same text always has the same id."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]

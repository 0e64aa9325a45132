"""What is stored, and under which names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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

    def once_each(self) -> list[VectorRecord]:
        """The records, each id once: Chroma refuses a batch that names one twice."""
        return list({record.id: record for record in self.records}.values())


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of a batch: how many distinct records `collection` now holds of it, and what else to say.

    `collection` is None where there is no server to have one.
    """

    collection: str | None
    stored: int
    notes: tuple[str, ...] = ()


def collection_name(base_name: str, dimension: int) -> str:
    """`conversations` and 768 give `conversations_768`."""
    return f"{base_name}_{dimension}"


def content_id(text: str) -> str:
    """The id of a text that came without one: the same text, the same record."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]

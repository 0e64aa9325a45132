"""When a record of a backup is as the server holds it, and what must be written where it is not.

A collection that measures by cosine keeps its vectors by direction and length apart, and gives them back rounded anew:
there a vector is equal when it differs by no more than that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sekha_llm_bridge.embeddings.backup.file import Record, rows
from sekha_llm_bridge.embeddings.chroma_server import ServerCollection

# Of a vector's length: twice what rounding to float32 three times comes to.
_ROUNDING = 4e-7


@dataclass(frozen=True, slots=True)
class Compared:
    """A page of a file's records beside what the server `held` of their ids; `rounds`: its vectors are rounded."""

    page: Sequence[Record]
    held: Mapping[str, Record]
    rounds: bool

    def same(self) -> list[Record]:
        """Those of the page that are on the server as they are in the file."""
        return [row for row in self.page if self._is_there(row)]

    def others(self) -> list[Record]:
        """Those that the server lacks or has otherwise, in the file's order."""
        return [row for row in self.page if not self._is_there(row)]

    def replaced(self) -> int:
        """How many the server has otherwise."""
        return sum(row.id in self.held for row in self.others())

    def rounded(self) -> int:
        """How many are the same but for the last bits of their vector."""
        return sum(row.vector != self.held[row.id].vector for row in self.same())

    def to_write(self) -> list[Record]:
        """The others, so that nothing stays of what they replace."""
        return [_over(row, self.held.get(row.id)) for row in self.others()]

    def _is_there(self, row: Record) -> bool:
        return row.id in self.held and is_same(row, self.held[row.id], rounds=self.rounds)


def compared(page: Sequence[Record], collection: ServerCollection) -> Compared:
    """A page beside what the server holds now. Raises `StoreFailed`."""
    ids = [row.id for row in page]
    held = {row.id: row for row in rows(collection.get(ids))} if collection.existing(ids) else {}
    return Compared(page, held, collection.distance == "cosine")


def is_same(one: Record, other: Record, *, rounds: bool) -> bool:
    """Whether two records of one id are equal; where the server `rounds`, vectors but for that."""
    if one.contents() != other.contents():
        return False
    return one.vector == other.vector or (rounds and _is_rounded(one.vector, other.vector))


def _over(row: Record, held: Record | None) -> Record:
    """The record as it must be written over `held`: Chroma keeps metadata that are not named, and drops those that
    are null.
    """
    if held is None or not held.metadata:
        return row
    return replace(row, metadata={**dict.fromkeys(held.metadata), **(row.metadata or {})})


def _is_rounded(one: bytes, other: bytes) -> bool:
    """Whether no number differs by more than rounding does, of a vector of that length."""
    import numpy

    if len(one) != len(other):
        return False
    wanted, found = _numbers(one), _numbers(other)
    return bool(numpy.abs(wanted - found).max(initial=0.0) <= _ROUNDING * numpy.linalg.norm(wanted))


def _numbers(vector: bytes) -> Any:
    import numpy

    return numpy.frombuffer(vector, dtype="<f4").astype(numpy.float64)

"""When a record of a backup is as the server holds it, and what must be written where it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sekha_llm_bridge.embeddings.backup.file_format import Record, to_rows
from sekha_llm_bridge.embeddings.chroma_quirks import is_equal_value, is_equal_vector, metadata_replacing
from sekha_llm_bridge.embeddings.chroma_server import ServerCollection


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
    held = {row.id: row for row in to_rows(collection.get(ids))} if collection.existing_ids(ids) else {}
    return Compared(page, held, collection.distance == "cosine")


def is_same(one: Record, other: Record, *, rounds: bool) -> bool:
    """Whether two records of one id are equal; where the server `rounds`, vectors but for that."""
    contents = ([row.id, row.document, row.metadata, row.uri] for row in (one, other))
    return is_equal_value(*contents) and is_equal_vector(_numbers(one), _numbers(other), rounds=rounds)


def _over(row: Record, held: Record | None) -> Record:
    """The record as it must be written over `held`."""
    return replace(row, metadata=metadata_replacing(row.metadata, held.metadata)) if held else row


def _numbers(row: Record) -> Any:
    import numpy

    return numpy.frombuffer(row.vector, dtype="<f4")

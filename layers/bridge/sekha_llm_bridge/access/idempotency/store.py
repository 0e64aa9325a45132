"""The interface of the stores of answer records. Every write is one conditional write."""

from datetime import datetime
from typing import Protocol

from sekha_llm_bridge.access.idempotency.record import AnswerRecord


class AnswersUnavailable(Exception):
    """The store did not answer in time, or failed. The message has only the kind of failure."""


class AnswerStore(Protocol):
    """The records of all callers. Every method raises `AnswersUnavailable`.

    A write that raises may have been made. It may be repeated: the same owner writes the same record.
    """

    async def claim(self, record: AnswerRecord, now: datetime) -> bool:
        """Stores the record, unless a record with its id is there that has not lapsed, and that belongs to another
        owner or is answered: a claim of the same owner may arrive late. Returns whether it is stored.
        """
        ...

    async def read(self, record_id: str) -> AnswerRecord | None:
        """Returns the record, read consistently."""
        ...

    async def finish(self, record: AnswerRecord) -> bool:
        """Replaces the record of the same owner. Returns False where that one has lapsed and another owner has claimed
        it since; then nothing is written.
        """
        ...

    async def remove(self, record_id: str, owner: str) -> None:
        """Deletes the record, if it belongs to this owner."""
        ...

"""Answer records in memory, for a bridge without a table: one process remembers what it has answered."""

from datetime import datetime

from sekha_llm_bridge.access.idempotency.record import AnswerRecord, RecordState

_MAX_RECORDS = 256  # of at most 400 kB each


class MemoryAnswerStore:
    """See `AnswerStore`. The oldest records are forgotten first."""

    def __init__(self) -> None:
        self._records: dict[str, AnswerRecord] = {}

    async def claim(self, record: AnswerRecord, now: datetime) -> bool:
        """See `AnswerStore`."""
        found = self._records.get(record.id)
        if found is not None and not found.has_lapsed(now):
            is_repeated = found.owner == record.owner and found.state is RecordState.UNDER_WAY
            if not is_repeated:
                return False
        self._records.pop(record.id, None)
        while len(self._records) >= _MAX_RECORDS:
            del self._records[next(iter(self._records))]
        self._records[record.id] = record
        return True

    async def read(self, record_id: str) -> AnswerRecord | None:
        """See `AnswerStore`."""
        return self._records.get(record_id)

    async def finish(self, record: AnswerRecord) -> bool:
        """See `AnswerStore`."""
        found = self._records.get(record.id)
        if found is None or found.owner != record.owner:
            return False
        self._records[record.id] = record
        return True

    async def remove(self, record_id: str, owner: str) -> None:
        """See `AnswerStore`."""
        found = self._records.get(record_id)
        if found is not None and found.owner == owner:
            del self._records[record_id]

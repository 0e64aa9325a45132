"""The storage of vectors: its time limits, with a store that is a fake."""

import asyncio
import time
from collections.abc import Callable
from io import StringIO

from sekha_llm_bridge.embeddings import Batch, EmbeddingStorage, VectorRecord

BATCH = Batch("notes", 2, "space", (VectorRecord("1", "text", [1.0, 2.0], None),))


class SlowStore:
    """A vector store whose writes take longer than the test allows."""

    def prepare(self) -> None: ...

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool]) -> int:
        time.sleep(0.6)
        return len(batch.records) if should_continue() else 0


def test_without_a_queue_a_slow_store_is_reported_as_unavailable_and_not_as_a_loss(log: StringIO) -> None:
    storage = EmbeddingStorage(SlowStore())  # type: ignore[arg-type]  # only what `save` calls
    report = asyncio.run(storage.save(BATCH, timeout_s=0.4))
    assert (report.stored, report.notes) == (0, ("not stored: Chroma is slow",))
    assert "vectors not stored" in log.getvalue()
    assert "vectors lost" not in log.getvalue()

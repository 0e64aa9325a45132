"""What a write reports that a quota of the account has ended."""

import pytest

from sekha_llm_bridge.embeddings import Batch, QuotaExceeded, VectorRecord, content_id
from sekha_llm_bridge.embeddings.chroma_collection import Records
from sekha_llm_bridge.embeddings.chroma_store import ChromaStore
from tests.fakes.clock import FakeClock


class FullCollection:
    """Takes `left` more records, and refuses a request that has more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def upsert(self, records: Records) -> None:
        if len(records.ids) > self.left:
            raise QuotaExceeded("a quota of the server is exceeded")
        self.left -= len(records.ids)


class Store(ChromaStore):
    """A store of one collection, without a server."""

    full: FullCollection

    def _collection_for(self, batch: Batch) -> FullCollection:  # type: ignore[override]
        return self.full


def test_records_that_were_stored_before_the_account_was_full_are_counted() -> None:
    store = Store(None, FakeClock(), default=None)  # type: ignore[arg-type]
    store.full = FullCollection(left=300)
    texts = [f"text {i}" for i in range(450)]
    batch = Batch("notes", 3, "mini", tuple(VectorRecord(content_id(one), one, [1.0, 0.0, 0.0]) for one in texts))
    with pytest.raises(QuotaExceeded) as ended:
        store._write(batch, lambda: True)
    assert ended.value.stored == 300

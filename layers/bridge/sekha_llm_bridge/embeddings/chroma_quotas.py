"""The quotas of Chroma Cloud for a record and a request, and the order in which too large records are found.

Source: https://docs.trychroma.com/cloud/quotas-limits, November 2026. An account may have larger ones, so nothing is
refused because of this table: it says which records to suspect when the server has refused several together.
"""

from collections.abc import Sequence

from sekha_llm_bridge.embeddings.records import VectorRecord

MAX_RECORDS = 300
"""In one write. The server's own `max_batch_size` says 1,000 there (chroma-core/chroma issue 5453)."""

MAX_RESULTS = 300
"""Of one search, and of one page."""

_MAX_DOCUMENT_BYTES = 16_384
_MAX_ID_BYTES = 128
_MAX_DIMENSION = 4_096
_MAX_METADATA_KEYS = 32
_MAX_METADATA_KEY_BYTES = 36
_MAX_METADATA_VALUE_BYTES = 4_096


def exceeds_a_quota(record: VectorRecord) -> bool:
    """Returns whether the record is larger than Chroma Cloud takes by default."""
    metadata = record.metadata or {}
    return (
        len(record.document.encode()) > _MAX_DOCUMENT_BYTES
        or len(record.id.encode()) > _MAX_ID_BYTES
        or len(record.vector) > _MAX_DIMENSION
        or len(metadata) > _MAX_METADATA_KEYS
        or any(len(key.encode()) > _MAX_METADATA_KEY_BYTES for key in metadata)
        or any(len(str(value).encode()) > _MAX_METADATA_VALUE_BYTES for value in metadata.values())
    )


def split_in_two(records: Sequence[VectorRecord]) -> tuple[Sequence[VectorRecord], Sequence[VectorRecord]]:
    """Returns the records in two parts that are not empty: those that exceed a quota apart, else two halves."""
    suspects = [one for one in records if exceeds_a_quota(one)]
    if 0 < len(suspects) < len(records):
        return [one for one in records if not exceeds_a_quota(one)], suspects
    half = len(records) // 2
    return records[:half], records[half:]

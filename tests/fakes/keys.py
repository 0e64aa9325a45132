"""A table of API keys in memory, which counts its reads and can be down or slow."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.access.keys.verifier import KeysUnavailable

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


class FakeKeyStore:
    """A `KeyStore`. `reads` are the handles that were read. `delay_s`: how long a read takes."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.reads: list[str] = []
        self.delay_s = 0.0
        self.failure: Exception | None = None

    def add(self, **fields: Any) -> KeyText:
        """Adds a new key with these fields of its record."""
        key = new_key()
        record = KeyRecord(key.key_id, key.digest, "a key", CREATED)
        self.records[key.key_id] = record._replace(**fields)
        return key

    def change(self, key: KeyText, **fields: Any) -> None:
        """Changes fields of the key's record."""
        self.records[key.key_id] = self.records[key.key_id]._replace(**fields)

    def take_down(self) -> None:
        """Lets every read fail from now on."""
        self.failure = KeysUnavailable("the table is down")

    async def read(self, key_id: str) -> KeyRecord | None:
        self.reads.append(key_id)
        record = self.records.get(key_id)
        await asyncio.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        return record

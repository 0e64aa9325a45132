"""The last write of each id is stored in its database in the end, for any order of writes, outages, drains, crashes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sekha_llm_bridge.embeddings import Batch, Database, EmbeddingStorage, Match, StoreDown, VectorRecord
from sekha_llm_bridge.embeddings.deferred_writes.drain import Drain
from sekha_llm_bridge.embeddings.deferred_writes.outbox import Outbox
from sekha_llm_bridge.embeddings.deferred_writes.pending_writes import PendingWrites, PendingWritesUnavailable
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, QueueFailed
from tests.fakes.clock import FakeClock
from tests.fakes.vector_queue import MemoryPendingWrites, MemoryQueue


@dataclass
class Chroma:
    """A store that can be down. With `takes_before_it_fails` it then stores the records and fails all the same.

    `stored` has the documents by database, collection and id.
    """

    is_down: bool = False
    takes_before_it_fails: bool = False
    stored: dict[tuple[Database | None, str, str], str] = field(default_factory=dict)
    server: "Chroma | None" = None
    database: Database | None = None

    def in_database(self, database: Database) -> "Chroma":
        return Chroma(server=self, database=database)

    def prepare(self) -> None: ...

    def is_up(self) -> bool:
        return not self.is_down

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        server = self.server or self
        if not server.is_down or server.takes_before_it_fails:
            server.stored |= {(self.database, batch.collection, one.id): one.document for one in batch.records}
        if server.is_down:
            raise StoreDown("down")
        return len(batch.deduplicated())

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        raise NotImplementedError

    def check_filter(self, where: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def query(
        self, collection: str, space: str, vector: Sequence[float], *, limit: int, where: Mapping[str, Any] | None
    ) -> list[Match]:
        raise NotImplementedError


class MortalQueue(MemoryQueue):
    """Fails at its n-th deletion, as if the drain were killed after it stored a message and before it deleted it."""

    dies_in = -1

    async def delete(self, message: Message) -> None:
        self.dies_in -= 1
        if self.dies_in == 0:
            raise QueueFailed("killed")
        await super().delete(message)


class World:
    """A store, a queue, pending writes, and three instances of a function, each with its own copy of the pending writes."""

    def __init__(self, pending_writes: PendingWrites, clock: FakeClock) -> None:
        self.clock = clock
        self.chroma = Chroma()
        self.queue = MortalQueue()
        self.storages = [
            EmbeddingStorage(self.chroma, Outbox(self.queue, pending_writes, self.clock)) for _ in range(3)
        ]
        self.drain = Drain(self.queue, pending_writes, self.chroma, self.chroma, self.clock)  # type: ignore[arg-type]  # it calls only `is_up` of a server
        self.expected: dict[tuple[Database | None, str, str], str] = {}
        self.written = 0

    async def write(self, instance: int, database: Database | None, name: str, ids: Sequence[str]) -> None:
        self.clock.advance(1.1)  # an instance uses its copy of the pending writes for a second
        self.written += 1
        document = f"version {self.written}"
        batch = Batch(name, 1, "mini", tuple(VectorRecord(one, document, [1.0]) for one in ids), database)
        storage = self.storages[instance]
        await storage.preload()
        report = await storage.save(batch, timeout_s=20)
        assert report.stored + report.pending == len(set(ids))
        self.expected |= {(database, batch.collection, one): document for one in ids}

    async def run_drain(self, dies_in: int) -> None:
        """Messages that a killed drain has received are hidden until the step `unhide`."""
        self.clock.advance(61)
        self.queue.dies_in = dies_in
        with suppress(QueueFailed):
            await self.drain.run(until_s=self.clock.monotonic_s() + 60)
        self.queue.dies_in = -1


WRITE = st.tuples(
    st.just("write"),
    st.integers(0, 2),
    st.sampled_from([None, Database("team", "key_a"), Database("team", "key_b")]),
    st.sampled_from(["a", "b"]),
    st.lists(st.sampled_from("xyz"), min_size=1),
)
OTHER = st.tuples(st.sampled_from(["down", "up", "half", "unhide"])) | st.tuples(
    st.just("drain"), st.sampled_from([-1, 1, 2])
)


async def _run_steps(world: World, steps: Sequence[tuple[Any, ...]]) -> None:
    for kind, *details in steps:
        match kind:
            case "write":
                await world.write(*details)
            case "drain":
                await world.run_drain(*details)
            case "unhide":
                world.queue.unhide_all()
            case _:
                world.chroma.is_down = kind != "up"
                world.chroma.takes_before_it_fails = kind == "half"


@settings(max_examples=300)
@given(st.lists(WRITE | OTHER, max_size=25))
def test_the_last_write_of_each_id_is_stored_and_nothing_is_pending(steps: list[tuple[Any, ...]]) -> None:
    clock = FakeClock()
    pending_writes = MemoryPendingWrites(clock)
    world = World(pending_writes, clock)

    async def scenario() -> None:
        await _run_steps(world, steps)
        await _run_steps(world, [("up",), ("unhide",), *[("drain", -1)] * 8])

    asyncio.run(scenario())
    assert world.chroma.stored == world.expected
    assert asyncio.run(pending_writes.counts()) == {}
    assert asyncio.run(world.queue.size()) == 0


class UnavailablePendingWrites:
    """Pending writes that never answer."""

    async def counts(self) -> Mapping[str, int]:
        raise PendingWritesUnavailable("away")

    async def add(self, group: str, records: int) -> None:
        raise PendingWritesUnavailable("away")

    async def add_if_pending(self, group: str, records: int) -> bool:
        raise PendingWritesUnavailable("away")

    async def subtract(self, group: str, records: int) -> None:
        raise PendingWritesUnavailable("away")

    async def reconcile_empty(self, group: str) -> None:
        raise PendingWritesUnavailable("away")


@given(st.lists(WRITE | OTHER, max_size=20))
def test_nothing_is_lost_without_the_pending_writes(steps: list[tuple[Any, ...]]) -> None:
    world = World(UnavailablePendingWrites(), FakeClock())

    async def scenario() -> None:
        await _run_steps(world, steps)
        await _run_steps(world, [("up",), ("unhide",), *[("drain", -1)] * 8])

    asyncio.run(scenario())
    assert world.chroma.stored.keys() == world.expected.keys()
    assert asyncio.run(world.queue.size()) == 0

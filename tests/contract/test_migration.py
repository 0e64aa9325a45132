"""The migration of collections, on a real Chroma server."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import chromadb
import numpy
import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection, differing_ids
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.moving import Migrated, Progress, migrate
from sekha_llm_bridge.embeddings.migration.plan import (
    EMPTY,
    GONE,
    SUFFIXED,
    Failed,
    MigrationAction,
    PlannedMigration,
    Skipped,
    plan,
)
from sekha_llm_bridge.embeddings.spaces import EmbeddingSpace
from sekha_llm_bridge.embeddings.store import CollectionMissing, StoreDown, StoreFailed
from tests.fakes.chroma import chroma_server

EVERYTHING = ["embeddings", "documents", "metadatas"]
_databases = (f"test-{number}" for number in count())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@dataclass
class Place:
    """A database of its own on the server. `client` is Chroma's own client, for setup and checks."""

    client: Any
    config: ChromaConfig

    @property
    def server(self) -> ChromaServer:
        return ChromaServer(self.config)

    def fill(self, name: str, records: Records, **made: Any) -> Any:
        collection = self.client.get_or_create_collection(name, embedding_function=None, **made)
        for start in range(0, len(records), 1000):
            part = records.select(range(start, min(start + 1000, len(records))))
            metadatas: Any = part.metadatas
            collection.add(ids=part.ids, embeddings=part.vectors, documents=part.documents, metadatas=metadatas)
        return collection

    def names(self) -> list[str]:
        return sorted(one.name for one in self.client.list_collections())

    def migrate(self, default: EmbeddingSpace | None = None, *, keep: bool = False) -> list[Any]:
        """Returns the outcomes, sorted by name."""
        events = list(migrate(self.server, default, keep=keep))
        return sorted((one for one in events if not isinstance(one, Progress)), key=lambda one: one.collection)

    def plan(self, default: EmbeddingSpace | None = None, *, keep: bool = False) -> list[Any]:
        return sorted(plan(self.server, default, keep=keep), key=lambda one: one.collection)

    def stored(self, name: str) -> Records:
        """Returns all records of a collection."""
        found = self.client.get_collection(name).get(include=EVERYTHING)
        vectors = numpy.asarray(found["embeddings"], dtype=numpy.float32)
        return Records(found["ids"], vectors, found["documents"], found["metadatas"])


@pytest.fixture
def place(url: str) -> Place:
    database = next(_databases)
    host, _, port = url.removeprefix("http://").partition(":")
    chromadb.AdminClient(
        chromadb.Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI", chroma_server_host=host, chroma_server_http_port=int(port)
        )
    ).create_database(database)
    return Place(chromadb.HttpClient(host, int(port), database=database), ChromaConfig(url=url, database=database))


def some(number: int, dimension: int = 3, *, name: str = "r", seed: int = 1) -> Records:
    """Returns records with and without documents and metadata, and with every type of metadata."""
    random = numpy.random.default_rng(seed)
    documents = [None if one % 7 == 3 else f"text {one} of {seed}: žluťoučký 🐎" for one in range(number)]
    kinds: Sequence[Callable[[int], Any]] = [
        lambda one: {"text": "words", "number": one, "share": one / 7, "yes": one % 2 == 0},
        lambda one: {"tags": ["a", f"b{one}"], "seed": seed, "shares": [one / 7, 0.5]},
        lambda one: None,
    ]
    return Records(
        [f"{name}-{one}" for one in range(number)],
        random.standard_normal((number, dimension)).astype(numpy.float32),
        documents,
        [kinds[one % 3](one) for one in range(number)],
    )


def assert_same(place: Place, name: str, records: Records) -> None:
    """Asserts that the collection holds exactly these records, bit for bit."""
    stored = place.stored(name)
    assert sorted(stored.ids) == sorted(records.ids)
    assert differing_ids(records, stored) == []


def test_a_renamed_collection_keeps_its_id_and_its_records(place: Place) -> None:
    records = some(1200, 64)
    old = place.fill("conversations", records, metadata={"made_by": "v1"})
    assert place.migrate() == [Migrated("conversations", "conversations_64", MigrationAction.RENAME, 1200)]
    assert place.names() == ["conversations_64"]
    assert place.client.get_collection("conversations_64").id == old.id
    assert place.client.get_collection("conversations_64").metadata == {"made_by": "v1"}
    assert_same(place, "conversations_64", records)


def test_records_that_the_target_does_not_have_are_copied_into_it(place: Place) -> None:
    place.fill("conversations", some(1200, 64))
    place.fill("conversations_64", some(700, 64, name="own", seed=2))
    assert place.migrate() == [
        Migrated("conversations", "conversations_64", MigrationAction.MERGE, 1200, copied=1200),
        Skipped("conversations_64", SUFFIXED),
    ]
    assert place.names() == ["conversations_64"]
    stored = place.stored("conversations_64")
    assert len(stored) == 1900
    assert differing_ids(some(1200, 64), stored) == []
    assert differing_ids(some(700, 64, name="own", seed=2), stored) == []


@pytest.mark.parametrize("measure", ["cosine", "l2", "ip"])
def test_copied_vectors_are_unchanged_for_every_distance_measure(place: Place, measure: str) -> None:
    """With cosine they are equal but for the rounding of float32: in a collection of more than some hundred records,
    Chroma keeps each vector as direction and length.
    """
    records = some(2500, 64)
    place.fill("conversations", records)
    place.fill("conversations_64", some(1500, 64, name="own", seed=2), configuration={"hnsw": {"space": measure}})
    assert place.migrate()[0] == Migrated("conversations", "conversations_64", MigrationAction.MERGE, 2500, copied=2500)
    stored = place.stored("conversations_64")
    assert differing_ids(records, stored, is_rounded=measure == "cosine") == []
    assert (differing_ids(records, stored) != []) == (measure == "cosine")


@pytest.mark.parametrize(("factor", "is_same"), [(1 + 2e-7, True), (1.0001, False)])
def test_vectors_that_differ_by_more_than_rounding_are_different(*, factor: float, is_same: bool) -> None:
    records = some(5, 64)
    vectors = records.vectors.copy()
    vectors[2, 7] *= factor
    changed = Records(records.ids, vectors, records.documents, records.metadatas)
    assert differing_ids(records, changed) == ["r-2"]
    assert differing_ids(records, changed, is_rounded=True) == ([] if is_same else ["r-2"])


@pytest.mark.parametrize(
    "name", ["conversations", "query_results", "conversations_v2", "notes_12", "a.b-c", "notes_064"]
)
def test_a_name_without_the_dimension_gets_it(place: Place, name: str) -> None:
    place.fill(name, some(3, 64))
    assert place.migrate() == [Migrated(name, f"{name}_64", MigrationAction.RENAME, 3)]
    assert place.names() == [f"{name}_64"]


def test_a_number_at_the_end_of_a_name_counts_only_if_it_is_the_dimension(place: Place) -> None:
    place.fill("notes_12", some(2, 12))
    place.fill("conversations_768", some(2, 64))
    assert place.migrate() == [
        Migrated("conversations_768", "conversations_768_64", MigrationAction.RENAME, 2),
        Skipped("notes_12", SUFFIXED),
    ]


def test_an_empty_collection_is_skipped(place: Place) -> None:
    place.fill("conversations", some(0))
    assert place.migrate() == [Skipped("conversations", EMPTY)]
    assert place.names() == ["conversations"]


def test_a_second_run_has_nothing_to_do(place: Place) -> None:
    place.fill("conversations", some(5))
    place.migrate()
    assert place.migrate() == [Skipped("conversations_3", SUFFIXED)]


def test_a_name_that_one_collection_gives_up_is_used_for_another_in_the_same_run(place: Place) -> None:
    place.fill("one", some(2, 12))
    place.fill("one_12", some(2, 64))
    expected = [
        PlannedMigration("one", "one_12", MigrationAction.RENAME, 2),
        PlannedMigration("one_12", "one_12_64", MigrationAction.RENAME, 2),
    ]
    assert place.plan() == expected
    assert [(one.collection, one.target, one.how) for one in place.migrate()] == [
        ("one", "one_12", MigrationAction.RENAME),
        ("one_12", "one_12_64", MigrationAction.RENAME),
    ]
    assert_same(place, "one_12", some(2, 12))


@pytest.mark.parametrize(("length", "moves"), [(509, True), (510, False)])
def test_a_name_that_chroma_would_refuse_is_reported(place: Place, length: int, *, moves: bool) -> None:
    """Chroma's limit is 512 characters; the first case shows that 512 are allowed."""
    place.fill("n" * length, some(2, 64))
    place.fill("other", some(2, 64))
    first, second = place.migrate()
    assert isinstance(first, Migrated if moves else Failed)
    assert second == Migrated("other", "other_64", MigrationAction.RENAME, 2)


def test_a_collection_that_cannot_be_read_is_reported_and_the_others_are_migrated(place: Place) -> None:
    place.fill("middle", some(2))
    for name in ("after", "zero"):
        place.fill(name, some(2))

    class Unreadable(ServerCollection):
        def page(self, *, offset: int, limit: int) -> Records:
            raise StoreDown("Chroma did not read (InternalError)")

    class Server(ChromaServer):
        def collections(self) -> Iterator[ServerCollection]:
            for one in super().collections():
                yield Unreadable(one._collection) if one.name == "middle" else one

        def find(self, name: str) -> ServerCollection | None:
            found = super().find(name)
            return Unreadable(found._collection) if found and name == "middle" else found

    outcomes = [one for one in migrate(Server(place.config), None) if not isinstance(one, Progress)]
    assert [(type(one), one.collection) for one in outcomes] == [
        (Migrated, "zero"),
        (Failed, "middle"),
        (Migrated, "after"),
    ]
    assert outcomes[1] == Failed("middle", None, "Chroma did not read (InternalError)")
    assert [type(one) for one in plan(Server(place.config), None)] == [Skipped, Failed, Skipped]


def test_of_two_records_with_the_same_id_the_targets_stays(place: Place) -> None:
    place.fill("conversations", some(700, 64))
    theirs = some(300, 64, seed=2)
    place.fill("conversations_64", theirs)
    assert place.migrate()[0] == Migrated("conversations", "conversations_64", MigrationAction.MERGE, 700, copied=400)
    stored = place.stored("conversations_64")
    assert len(stored) == 700
    assert differing_ids(theirs, stored) == []
    assert differing_ids(some(700, 64).select(range(300, 700)), stored) == []


def test_with_keep_the_old_collection_is_not_deleted_and_a_second_run_changes_nothing(place: Place) -> None:
    place.fill("conversations", some(600, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    merged = Migrated("conversations", "conversations_8", MigrationAction.MERGE, 600, copied=600, kept=True)
    assert place.migrate(keep=True)[0] == merged
    before = place.stored("conversations_8")
    assert place.migrate(keep=True)[0] == Migrated(
        "conversations", "conversations_8", MigrationAction.MERGE, 600, kept=True
    )
    assert_same(place, "conversations_8", before)
    assert_same(place, "conversations", some(600, 8))


def test_long_vectors_and_documents_are_copied_in_smaller_requests(place: Place) -> None:
    long = some(40, 3072)
    long = Records(long.ids, long.vectors, ["x" * 300_000 for _ in long.ids], long.metadatas)
    for start in range(0, 40, 20):
        place.fill("conversations", long.select(range(start, start + 20)))
    place.fill("conversations_3072", some(1, 3072, name="own"))
    assert place.migrate()[0] == Migrated("conversations", "conversations_3072", MigrationAction.MERGE, 40, copied=40)
    assert differing_ids(long, place.stored("conversations_3072")) == []


# --- Embedding spaces


def test_a_known_space_is_recorded(place: Place) -> None:
    place.fill("conversations", some(2), metadata={"made_by": "v1", "hnsw:space": "ip"})
    place.migrate(EmbeddingSpace("mini", 3))
    found = place.client.get_collection("conversations_3")
    assert found.metadata == {"made_by": "v1", "embedding_space": "mini", "dimension": 3, "measured_by": "ip"}
    assert found.configuration_json["hnsw"]["space"] == "ip"


def test_a_default_space_of_another_dimension_is_not_recorded(place: Place) -> None:
    place.fill("conversations", some(2))
    place.migrate(EmbeddingSpace("mini", 768))
    assert place.client.get_collection("conversations_3").metadata is None


@pytest.mark.parametrize(
    ("ours", "theirs", "default"),
    [("a", "b", None), ("a", None, "b"), (None, "b", "a")],
    ids=["both recorded", "the target by default", "the old one by default"],
)
def test_vectors_of_two_spaces_are_not_merged(
    place: Place, ours: str | None, theirs: str | None, default: str | None
) -> None:
    place.fill("conversations", some(2), **recording(ours))
    place.fill("conversations_3", some(1, name="own"), **recording(theirs))
    failed = place.migrate(EmbeddingSpace(default, 3) if default else None)[0]
    reason = "conversations_3 holds vectors of the space b, not a: vectors of two spaces are never merged"
    assert failed == Failed("conversations", "conversations_3", reason)
    assert_same(place, "conversations_3", some(1, name="own"))
    assert_same(place, "conversations", some(2))


def test_vectors_of_an_unknown_space_are_not_merged_with_those_of_a_known_one(place: Place) -> None:
    place.fill("conversations", some(2))
    place.fill("conversations_3", some(1, name="own"), **recording("a"))
    place.fill("notes", some(2), **recording("a"))
    place.fill("notes_3", some(1, name="own"))
    outcomes = place.migrate()
    assert [type(one) for one in outcomes] == [Failed, Skipped, Failed, Skipped]
    assert_same(place, "conversations", some(2))
    assert_same(place, "notes", some(2))


def test_the_default_space_is_assumed_for_a_collection_that_records_none(place: Place) -> None:
    place.fill("conversations", some(2))
    place.fill("conversations_3", some(1, name="own"), **recording("a"))
    moved = place.migrate(EmbeddingSpace("a", 3))[0]
    assert moved == Migrated("conversations", "conversations_3", MigrationAction.MERGE, 2, copied=2)


def test_two_unknown_spaces_are_assumed_to_be_the_same(place: Place) -> None:
    place.fill("conversations", some(2))
    place.fill("conversations_3", some(1, name="own"))
    assert place.migrate()[0] == Migrated("conversations", "conversations_3", MigrationAction.MERGE, 2, copied=2)


def recording(space: str | None) -> dict[str, Any]:
    return {"metadata": {"embedding_space": space}} if space else {}


def test_a_target_of_another_dimension_is_not_changed(place: Place) -> None:
    """`one_3` cannot be renamed, because `one_3_8` is taken."""
    place.fill("one", some(2))
    place.fill("one_3", some(2, 8), metadata={"embedding_space": "one"})
    place.fill("one_3_8", some(2, 8, name="own"), metadata={"embedding_space": "two"})
    first, second, third = place.migrate()
    assert first == Failed("one", "one_3", "one_3 holds vectors of 8 dimensions, not 3")
    assert isinstance(second, Failed)
    assert third == Skipped("one_3_8", SUFFIXED)
    assert place.plan() == [first, second, third]


# --- The plan


def test_a_plan_writes_nothing_and_lists_what_the_migration_then_does(place: Place) -> None:
    place.fill("conversations", some(7))
    place.fill("query_results", some(5))
    place.fill("query_results_3", some(4, name="own"))
    place.fill("empty", some(0))
    place.fill("n" * 512, some(1))
    planned = place.plan(EmbeddingSpace("mini", 3))
    assert planned == [
        PlannedMigration("conversations", "conversations_3", MigrationAction.RENAME, 7),
        Skipped("empty", EMPTY),
        Failed("n" * 512, "n" * 512 + "_3", "Chroma allows names of at most 512 characters"),
        PlannedMigration("query_results", "query_results_3", MigrationAction.MERGE, 5),
        Skipped("query_results_3", SUFFIXED),
    ]
    assert place.names() == ["conversations", "empty", "n" * 512, "query_results", "query_results_3"]
    assert place.client.get_collection("conversations").metadata is None
    assert_same(place, "query_results_3", some(4, name="own"))
    done = place.migrate(EmbeddingSpace("mini", 3))
    assert [one.collection for one in done] == [one.collection for one in planned]


# --- What other processes do during the migration


def until(events: Iterator[Any], wanted: Callable[[Any], bool]) -> Any:
    """Continues until the first event for which `wanted` is true; returns it."""
    return next(event for event in events if wanted(event))


def last(events: Iterator[Any]) -> Any:
    return list(events)[-1]


def test_it_can_be_stopped_after_any_event_and_run_again(place: Place) -> None:
    place.fill("conversations", some(1200, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    for events_seen in range(1, 8):
        events = migrate(place.server, None)
        for _ in range(events_seen):
            next(events, None)
    assert place.migrate()[0] == Migrated("conversations", "conversations_8", MigrationAction.MERGE, 1200)
    stored = place.stored("conversations_8")
    assert len(stored) == 1201
    assert differing_ids(some(1200, 8), stored) == []


def test_a_collection_is_merged_if_its_target_is_created_before_it_is_renamed(place: Place) -> None:
    place.fill("conversations", some(5))
    events = migrate(place.server, None)
    assert next(events) == Progress("conversations", "conversations_3", MigrationAction.RENAME, 0, 5)
    place.fill("conversations_3", some(2, name="own"))
    assert last(events) == Migrated("conversations", "conversations_3", MigrationAction.MERGE, 5, copied=5)
    assert len(place.stored("conversations_3")) == 7


def test_a_writer_that_uses_the_id_writes_to_the_renamed_collection(place: Place) -> None:
    old = place.fill("conversations", some(5))
    place.migrate()
    old.add(ids=["late"], embeddings=[[1, 2, 3]])
    assert "late" in place.stored("conversations_3").ids


@pytest.mark.parametrize("seen", [1, 500, 1000, 1200])
def test_records_appended_during_the_migration_are_copied(place: Place, seen: int) -> None:
    old = place.fill("conversations", some(1200, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    events = migrate(place.server, None)
    until(events, lambda event: isinstance(event, Progress) and event.done >= seen)
    late = some(600, 8, name="late", seed=3)
    old.add(ids=late.ids, embeddings=late.vectors, documents=late.documents, metadatas=late.metadatas)
    outcome = until(events, lambda event: not isinstance(event, Progress))
    assert outcome == Migrated("conversations", "conversations_8", MigrationAction.MERGE, 1800, copied=1800)
    stored = place.stored("conversations_8")
    assert differing_ids(late, stored) == []
    assert differing_ids(some(1200, 8), stored) == []


def test_records_appended_after_every_page_are_copied_and_the_migration_ends(place: Place) -> None:
    """A writer that never stops does not delay the migration, if it is slower than the copying."""
    old = place.fill("conversations", some(1200, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    appended = 0
    events = migrate(place.server, None)
    outcome = None
    for event in events:
        outcome = event
        if isinstance(event, Progress) and appended < 40:
            old.add(ids=[f"late-{appended}"], embeddings=[[appended] * 8])
            appended += 1
    assert isinstance(outcome, Migrated)
    assert {f"late-{number}" for number in range(appended)} <= set(place.stored("conversations_8").ids)


def test_a_writer_to_the_deleted_old_collection_gets_an_error(place: Place) -> None:
    place.fill("conversations", some(5))
    place.fill("conversations_3", some(1, name="own"))
    old = place.server.find("conversations")
    assert old is not None
    place.migrate()
    with pytest.raises(CollectionMissing):
        old.add(some(1, name="late"))


@pytest.mark.parametrize("gone", [["r-0"], ["r-499"], ["r-1199"], [f"r-{one}" for one in range(700)]])
def test_no_record_is_skipped_if_earlier_ones_are_deleted(place: Place, gone: list[str]) -> None:
    """The later records move to lower offsets, so the first of a page moves to the page before."""
    old = place.fill("conversations", some(1200, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    events = migrate(place.server, None)
    until(events, lambda event: isinstance(event, Progress) and event.done == 500)
    old.delete(ids=gone)
    old.add(ids=["late"], embeddings=[[1] * 8])
    assert isinstance(until(events, lambda event: not isinstance(event, Progress)), Migrated)
    expected = {one for one in some(1200, 8).ids if one not in gone} | {"late"}
    assert expected <= set(place.stored("conversations_8").ids)


def test_a_collection_that_is_emptied_during_the_migration_is_migrated(place: Place) -> None:
    old = place.fill("conversations", some(5))
    place.fill("conversations_3", some(1, name="own"))
    events = migrate(place.server, None)
    next(event for event in events if event.collection == "conversations")
    old.delete(ids=some(5).ids)
    assert until(events, lambda event: not isinstance(event, Progress)) == Migrated(
        "conversations", "conversations_3", MigrationAction.MERGE, 0
    )


class Meddling(ChromaServer):
    """A server whose collections call `meddle` whenever records are added."""

    def __init__(self, place: Place, meddle: Callable[[ServerCollection, Records], object]) -> None:
        super().__init__(place.config)
        self._meddle = meddle

    def find(self, name: str) -> ServerCollection | None:
        meddle = self._meddle

        class Meddled(ServerCollection):
            def add(self, records: Records) -> None:
                super().add(records)
                meddle(self, records)

        found = super().find(name)
        return Meddled(found._collection) if found else None


def test_a_record_that_another_process_replaces_while_it_is_copied_is_left_as_it_is(place: Place) -> None:
    place.fill("conversations", some(5))
    target = place.fill("conversations_3", some(1, name="own"))

    def replace(_added_to: ServerCollection, _records: Records) -> None:
        target.upsert(ids=["r-2"], embeddings=[[7, 7, 7]], documents=["newer"])

    moved = last(migrate(Meddling(place, replace), None))
    assert moved == Migrated("conversations", "conversations_3", MigrationAction.MERGE, 5, copied=5)
    assert place.client.get_collection("conversations_3").get("r-2")["documents"] == ["newer"]


def test_lists_that_leaked_from_a_deleted_record_are_removed(place: Place) -> None:
    place.fill("conversations", some(5))
    target = place.fill("conversations_3", some(1, name="own"))

    def leak(_added_to: ServerCollection, records: Records) -> None:
        if "r-2" in records.ids:
            target.update(ids=["r-2"], metadatas=[{"tags": ["secret", "x"]}])

    moved = last(migrate(Meddling(place, leak), None))
    assert moved == Migrated("conversations", "conversations_3", MigrationAction.MERGE, 5, copied=5)
    assert differing_ids(some(5), place.stored("conversations_3")) == []


def test_a_record_that_the_target_cannot_store_stays_in_the_old_collection(place: Place) -> None:
    records = some(5)
    records.vectors[2] = [3e38, 3e38, 3e38]
    place.fill("conversations", records)
    place.fill("conversations_3", some(1, name="own"), configuration={"hnsw": {"space": "cosine"}})
    for copied in (5, 1):
        failed = place.migrate()[0]
        assert isinstance(failed, Failed), copied
        assert "cannot store the vectors of 1 of its records" in failed.reason
    assert_same(place, "conversations", records)
    assert "r-2" not in place.stored("conversations_3").ids


def test_another_collection_that_got_the_old_name_is_not_deleted(place: Place) -> None:
    old = place.fill("conversations", some(5))
    place.fill("conversations_3", some(1, name="own"))

    def rename(_added_to: ServerCollection, _records: Records) -> None:
        if "conversations_mine" not in place.names():
            old.modify(name="conversations_mine")
            place.fill("conversations", some(1, name="precious"))

    left = last(migrate(Meddling(place, rename), None))
    assert isinstance(left, Skipped)
    assert_same(place, "conversations", some(1, name="precious"))
    assert_same(place, "conversations_mine", some(5))


def test_a_collection_that_was_renamed_after_the_listing_is_skipped(place: Place) -> None:
    place.fill("zzz", some(1))
    nnn = place.fill("nnn", some(1))
    events = migrate(place.server, None)
    next(events)
    nnn.modify(name="my_archive")
    left = {one.collection: one for one in events if not isinstance(one, Progress)}
    assert left["nnn"] == Skipped("nnn", GONE)
    assert "my_archive" in place.names()


def test_a_run_that_respects_keep_marks_keeps_a_marked_collection(place: Place) -> None:
    place.fill("conversations", some(5), metadata={"made_by": "v1"})
    place.fill("conversations_3", some(1, name="own"))
    place.migrate(keep=True)
    outcomes = list(migrate(place.server, None, respects_keep_marks=True))
    kept = Migrated("conversations", "conversations_3", MigrationAction.MERGE, 5, kept=True)
    assert kept in outcomes
    assert_same(place, "conversations", some(5))
    place.migrate()
    assert "conversations" not in place.names()


def test_a_collection_of_an_older_chroma_keeps_its_distance_measure(place: Place) -> None:
    place.fill("conversations", some(2), metadata={"hnsw:space": "cosine"})
    place.migrate()
    moved = place.server.find("conversations_3")
    assert moved is not None
    assert moved.distance == "cosine"
    place.fill("notes", some(2), metadata={"hnsw:space": "cosine", "made_by": "v1"})
    place.migrate(EmbeddingSpace("mini", 3))
    moved = place.server.find("notes_3")
    assert moved is not None
    assert moved.metadata == {"made_by": "v1", "measured_by": "cosine", "embedding_space": "mini", "dimension": 3}


def test_no_record_is_lost_if_the_target_is_deleted_during_the_migration(place: Place) -> None:
    """The records have no lists: Chroma 1.5.9 does not delete the lists of a deleted collection, and adds them to the
    next records.
    """
    records = some(1200, 8)
    records = Records(records.ids, records.vectors, records.documents, [{"number": 1}] * 1200)
    place.fill("conversations", records)
    place.fill("conversations_8", some(1, 8, name="own"))
    events = migrate(place.server, None)
    until(events, lambda event: isinstance(event, Progress) and event.done == 500)
    place.client.delete_collection("conversations_8")
    place.fill("conversations_8", some(2, 8, name="own"))
    reason = "conversations_8 was deleted during the migration: run it again"
    assert last(events) == Failed("conversations", "conversations_8", reason)
    assert place.migrate()[0] == Migrated("conversations", "conversations_8", MigrationAction.MERGE, 1200, copied=1200)


def test_a_collection_that_another_migration_has_merged_is_skipped(place: Place) -> None:
    place.fill("conversations", some(1200, 8))
    place.fill("conversations_8", some(1, 8, name="own"))
    events = migrate(place.server, None)
    until(events, lambda event: isinstance(event, Progress) and event.done == 500)
    place.migrate()
    assert last(events) == Skipped("conversations", GONE)


def test_a_collection_that_another_migration_has_renamed_is_not_merged_into_itself(place: Place) -> None:
    place.fill("conversations", some(5))
    place.fill("zero", some(1))
    events = migrate(place.server, None)
    until(events, lambda event: event.collection == "zero")
    place.migrate()
    assert last(events) == Skipped("conversations", GONE)
    assert_same(place, "conversations_3", some(5))


@pytest.mark.parametrize("migrators", [2, 4])
@pytest.mark.parametrize("is_there", [True, False], ids=["merging", "renaming"])
def test_several_migrations_at_once_have_the_same_result_as_one(
    place: Place, migrators: int, *, is_there: bool
) -> None:
    place.fill("conversations", some(2000, 64))
    place.fill("query_results", some(300, 64))
    if is_there:
        place.fill("conversations_64", some(100, 64, name="own", seed=2))
    gate = threading.Barrier(migrators)

    def one(_number: int) -> list[Any]:
        gate.wait()
        return place.migrate()

    with ThreadPoolExecutor(migrators) as pool:
        outcomes = [outcome for found in pool.map(one, range(migrators)) for outcome in found]
    assert [one for one in outcomes if isinstance(one, Failed)] == []
    assert place.names() == ["conversations_64", "query_results_64"]
    stored = place.stored("conversations_64")
    assert len(stored) == (2100 if is_there else 2000)
    assert differing_ids(some(2000, 64), stored) == []
    assert_same(place, "query_results_64", some(300, 64))


def test_an_unreachable_server_fails_the_whole_migration() -> None:
    gone = ChromaServer(ChromaConfig(url="http://127.0.0.1:9"))
    for events in (migrate(gone, None), plan(gone, None)):
        with pytest.raises(StoreFailed):
            next(iter(events))

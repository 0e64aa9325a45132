"""Backups while records are deleted, after earlier runs, beside other backups, and of collections of old servers."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.file_format import Record
from sekha_llm_bridge.embeddings.backup.partial_file import BackupInProgress, partial_path
from sekha_llm_bridge.embeddings.backup.reading import collection_summaries, read_lines
from sekha_llm_bridge.embeddings.backup.restoring import plan, restore
from sekha_llm_bridge.embeddings.backup.writing import Backup, BackupProgress, CollectionKeepsShrinking, back_up
from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from tests.fakes.chroma import ChromaProcess, chroma_server
from tests.fakes.collections import fill

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNT = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        yield on(url)


@pytest.fixture
def busy(server: ChromaServer) -> Iterator[ServerCollection]:
    """A collection that a test may change."""
    fill(server.find_or_create("aaa", metadata=None, configuration={}), 3)
    yield filled(server, "busy")
    for collection in list(server.collections()):
        server.delete(collection.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup.gz"


def on(url: str) -> ChromaServer:
    return ChromaServer(ChromaConfig(url=url), timeout_s=60)


def filled(server: ChromaServer, name: str) -> ServerCollection:
    collection = server.find_or_create(name, metadata=None, configuration={})
    fill(collection, COUNT)
    return collection


def written(
    server: ChromaServer, path: Path, on_progress: Callable[[BackupProgress], None] = lambda _: None, **more: Any
) -> Backup:
    return back_up(server, path, **{"names": (), "now": lambda: NOW, "on_progress": on_progress, **more})


def at_step(wanted: int, act: Callable[[], None]) -> Callable[[BackupProgress], None]:
    """Returns a progress callback that calls `act` once, after that many pages of the collection `busy`."""
    seen = 0

    def on_progress(step: BackupProgress) -> None:
        nonlocal seen
        seen += step.collection == "busy"
        if step.collection == "busy" and seen == wanted:
            act()

    return on_progress


def stop() -> None:
    raise KeyboardInterrupt


def interrupted(server: ChromaServer, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        written(server, path, at_step(2, stop))


def ids(path: Path) -> list[str]:
    found = []
    for one in read_lines(path):
        part = one.position.open_collection
        if isinstance(one.line, Record) and part is not None and part.start.name == "busy":
            found.append(one.line.id)
    return found


def test_records_after_deleted_ones_are_in_the_file(server: ChromaServer, busy: ServerCollection, path: Path) -> None:
    gone = busy.ids(offset=0, limit=20)
    written(server, path, at_step(1, lambda: busy.delete(gone)))
    assert ids(path) == busy.ids(offset=0, limit=COUNT)
    assert [one.end.records for one in collection_summaries(path)] == [3, COUNT - 20]


def test_records_deleted_before_a_backup_continues_are_noticed(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    interrupted(server, path)
    busy.delete(busy.ids(offset=5, limit=20))
    assert written(server, path).was_resumed
    assert ids(path) == busy.ids(offset=0, limit=COUNT)


def test_the_last_record_read_may_be_the_one_deleted(server: ChromaServer, busy: ServerCollection, path: Path) -> None:
    written(server, path, at_step(1, lambda: busy.delete(busy.ids(offset=31, limit=1))))
    assert ids(path) == busy.ids(offset=0, limit=COUNT)


def test_a_collection_that_keeps_shrinking_fails_the_backup_with_its_name(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    def on_progress(step: BackupProgress) -> None:
        if step.collection == "busy":
            busy.delete(busy.ids(offset=0, limit=1))

    with pytest.raises(CollectionKeepsShrinking, match="busy: something deletes records all the time"):
        written(server, path, on_progress)
    assert not path.exists()
    assert busy.count() == COUNT - 4


def test_a_record_deleted_and_added_again_is_in_the_file_once(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    def move() -> None:
        one = busy.get(busy.ids(offset=3, limit=1))
        busy.delete(one.ids)
        busy.add(one)

    written(server, path, at_step(1, move))
    assert len(set(ids(path))) == len(ids(path)) == COUNT


def test_a_resumed_backup_has_the_start_time_of_the_first_run(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    interrupted(server, path)
    done = written(server, path, now=lambda: NOW + timedelta(minutes=5))
    assert (done.was_resumed, done.started_at) == (True, "2026-01-02T03:04:05+00:00")


@pytest.mark.parametrize(
    ("minutes", "more", "goes_on"), [(59, {}, True), (61, {}, False), (1, {"restart": True}, False)]
)
def test_a_partial_file_older_than_an_hour_or_not_wanted_is_overwritten(
    server: ChromaServer, busy: ServerCollection, path: Path, minutes: int, more: dict[str, Any], goes_on: object
) -> None:
    interrupted(server, path)
    os.utime(partial_path(path), (NOW.timestamp(), NOW.timestamp()))
    later = NOW + timedelta(minutes=minutes)
    done = written(server, path, now=lambda: later, **more)
    assert (done.was_resumed, done.started_at) == (goes_on, (NOW if goes_on else later).isoformat())
    assert ids(path) == busy.ids(offset=0, limit=COUNT)


def test_a_second_backup_to_the_same_file_is_refused_and_the_first_is_complete(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    def second() -> None:
        with pytest.raises(BackupInProgress, match="another backup is writing"):
            written(server, path)

    written(server, path, at_step(2, second))
    assert ids(path) == busy.ids(offset=0, limit=COUNT)


def test_only_the_owner_may_read_the_file_even_if_it_existed_before(
    server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    partial_path(path).touch(0o666)
    partial_path(path).chmod(0o666)
    written(server, path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_distance_measure_of_an_old_collection_is_backed_up(
    tmp_path: Path, server: ChromaServer, busy: ServerCollection, path: Path
) -> None:
    """Chroma 0.5 wrote the distance measure only to the metadata; the configuration says `l2`."""
    old = ChromaProcess(tmp_path / "old")
    old.start()
    try:
        fill(on(old.url).find_or_create("old", metadata={"hnsw:space": "cosine", "made_by": "v1"}, configuration={}), 5)
        old.end()
        as_old(tmp_path / "old" / "chroma.sqlite3")
        old.start()
        found = on(old.url).find("old")
        assert found is not None
        assert (found.configuration["hnsw"]["space"], found.distance) == ("l2", "cosine")
        written(on(old.url), path)
    finally:
        old.end()
    assert collection_summaries(path)[0].start.configuration["hnsw"]["space"] == "cosine"
    (done,) = restore(server, path, plan(server, path, names=()), on_progress=lambda _: None)
    there = server.find("old")
    assert there is not None
    assert done.is_verified
    assert (there.configuration["hnsw"]["space"], there.distance, there.metadata["made_by"]) == (
        "cosine",
        "cosine",
        "v1",
    )


def as_old(database: Path) -> None:
    """Changes the stored configurations to `l2`."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT id, config_json_str, schema_str FROM collections").fetchall()
        index = {"hnsw": {"space": "l2"}}
        connection.executemany(
            "UPDATE collections SET config_json_str = ?, schema_str = NULL WHERE id = ?",
            [(json.dumps(index), row[0]) for row in rows],
        )
    connection.close()

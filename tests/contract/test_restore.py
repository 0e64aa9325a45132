"""Restores into a real Chroma server."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.file_format import (
    CollectionStart,
    End,
    Line,
    PartialCollection,
    Record,
    Start,
    encode_line,
    gzip_member,
    to_columns,
)
from sekha_llm_bridge.embeddings.backup.reading import DamagedBackup
from sekha_llm_bridge.embeddings.backup.restoring import (
    RestoreProgress,
    RestoreResult,
    count_replacements,
    plan,
    restore,
)
from sekha_llm_bridge.embeddings.backup.writing import UnknownCollections, back_up
from sekha_llm_bridge.embeddings.chroma_collection import Records, differing_ids
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from tests.fakes.chroma import chroma_server
from tests.fakes.collections import DIMENSION, collection_contents, fill, record_contents, vectors

CUSTOM = {"space": "ip", "ef_construction": 123, "max_neighbors": 20, "ef_search": 77, "resize_factor": 1.5}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "cosine": {"hnsw": {"space": "cosine"}},
    "custom": {"hnsw": {**CUSTOM, "sync_threshold": 500}},
    "empty": {},
    "l2.L2": {},
}
METADATA = {"cosine": {"embedding_space": "mini", "dimension": 64}, "custom": {"ü": "é", "n": 1.0}}
COUNTS = {"cosine": 1200, "custom": 40, "empty": 0, "l2.L2": 2000}
EXACT = ("custom", "empty", "l2.L2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    with chroma_server(tmp_path_factory.mktemp("source")) as url:
        server = on(url)
        for name, count in COUNTS.items():
            fill(server.find_or_create(name, metadata=METADATA.get(name), configuration=CONFIGURATIONS[name]), count)
        yield server


@pytest.fixture(scope="module")
def file(source: ChromaServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of everything in `source`."""
    path = tmp_path_factory.mktemp("backup") / "all.gz"
    back_up(source, path, names=(), now=lambda: datetime.now(UTC), on_progress=lambda _: None)
    return path


@pytest.fixture(scope="module")
def _target_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("target")) as url:
        yield url


@pytest.fixture
def url(_target_url: str) -> str:
    """The URL of a server without collections."""
    server = on(_target_url)
    for collection in list(server.collections()):
        server.delete(collection.name)
    return _target_url


@pytest.fixture
def target(url: str) -> ChromaServer:
    return on(url)


def on(url: str) -> ChromaServer:
    return ChromaServer(ChromaConfig(url=url), timeout_s=60)


def restored(server: ChromaServer, path: Path, *names: str) -> dict[str, RestoreResult]:
    plans = plan(server, path, names=names)
    return {one.planned.name: one for one in restore(server, path, plans, on_progress=lambda _: None)}


def assert_identical(target: ChromaServer, source: ChromaServer) -> None:
    assert sorted(one.name for one in target.collections()) == sorted(COUNTS)
    for name in EXACT:
        assert collection_contents(target, name) == collection_contents(source, name)
    (metadata, configuration, records), (*settings, wanted) = (
        collection_contents(target, "cosine"),
        collection_contents(source, "cosine"),
    )
    assert [metadata, configuration] == settings
    assert record_contents(records) == record_contents(wanted)
    assert differing_ids(to_columns(wanted), to_columns(records), is_rounded=True) == []


def test_a_restore_to_an_empty_server_makes_it_equal_to_the_source(
    target: ChromaServer, source: ChromaServer, file: Path
) -> None:
    results = restored(target, file)
    assert_identical(target, source)
    assert {name: one.written for name, one in results.items()} == COUNTS
    assert all(one.is_verified for one in results.values())
    assert [name for name, one in results.items() if one.rounded] == ["cosine"]


def test_a_second_restore_writes_nothing(target: ChromaServer, source: ChromaServer, file: Path) -> None:
    restored(target, file)
    again = restored(target, file)
    assert {one.written for one in again.values()} == {0}
    assert all(one.is_verified for one in again.values())
    assert_identical(target, source)


def test_a_restore_to_the_source_writes_nothing(source: ChromaServer, file: Path) -> None:
    before = [collection_contents(source, name) for name in COUNTS]
    results = restored(source, file)
    assert {(one.written, one.rounded) for one in results.values()} == {(0, 0)}
    assert [collection_contents(source, name) for name in COUNTS] == before


def test_only_the_collections_named_are_restored(target: ChromaServer, file: Path) -> None:
    restored(target, file, "custom", "empty")
    assert sorted(one.name for one in target.collections()) == ["custom", "empty"]


def test_a_name_that_the_file_lacks_is_an_error_before_anything_is_written(target: ChromaServer, file: Path) -> None:
    with pytest.raises(UnknownCollections, match=r"no collection nope; the file has cosine, custom, empty, l2\.L2"):
        plan(target, file, names=("custom", "nope"))


def test_records_that_only_the_server_has_are_kept(target: ChromaServer, file: Path) -> None:
    here = target.find_or_create("l2.L2", metadata={"own": 1}, configuration={})
    fill(here, 30, first=10_000)
    result = restored(target, file, "l2.L2")["l2.L2"]
    assert result.is_verified
    assert (result.planned.existing_records, result.written, result.on_server) == (30, 2000, 2030)
    assert here.count() == 2030


def test_changed_records_are_restored(target: ChromaServer, source: ChromaServer, file: Path) -> None:
    restored(target, file, "l2.L2")
    here = target.find("l2.L2")
    assert here is not None
    ids = here.ids(offset=600, limit=20)
    changed = Records(ids, vectors(99, 20, DIMENSION), ["other"] * 20, [{"later": True, "n": 5}] * 20)
    kept = [i for i, text in enumerate(here.get(ids).documents) if text is not None]
    here.upsert(changed.select(kept))
    result = restored(target, file, "l2.L2")["l2.L2"]
    assert result.is_verified
    assert result.written == len(kept)
    assert collection_contents(target, "l2.L2")[2] == collection_contents(source, "l2.L2")[2]


def test_the_number_of_replaced_records_is_counted_before_and_reported_after(target: ChromaServer, file: Path) -> None:
    here = target.find_or_create("l2.L2", metadata=None, configuration={})
    fill(here, 10)
    ids = here.ids(offset=1, limit=2)
    here.upsert(Records(ids, vectors(99, 2, DIMENSION), ["newer"] * 2, [{"n": 1}] * 2))
    plans = plan(target, file, names=("l2.L2", "custom"))
    assert count_replacements(target, file, plans) == {"custom": 0, "l2.L2": 2}
    assert here.get(ids).documents == ["newer"] * 2
    result = restored(target, file, "l2.L2")["l2.L2"]
    assert (result.is_verified, result.written, result.replaced) == (True, 1992, 2)


@pytest.mark.parametrize("between", [0, 600])
def test_of_records_with_one_id_the_last_in_the_file_is_restored(
    target: ChromaServer, tmp_path: Path, between: int
) -> None:
    path = tmp_path / "repeats"
    others = [record(1.0, 2.0, id=str(number)) for number in range(between)]
    path.write_bytes(backup_of([record(1.0, 2.0), *others, record(3.0, 4.0, document="later")]))
    for written in (between + 1, 0):
        result = restored(target, path)["repeated"]
        assert (result.is_verified, result.written, result.on_server) == (True, written, between + 1)
    assert collection_contents(target, "repeated")[2][0 if not between else -1] == record(3.0, 4.0, document="later")


def backup_of(records: list[Record]) -> bytes:
    """Returns a file of one collection with these records, of two dimensions."""
    part = PartialCollection(CollectionStart("repeated", "id", {}, {}, 2, len(records)))
    for row in records:
        part.add(encode_line(row).rstrip(b"\n"))
    head, foot = Start("2026-01-02T03:04:05+00:00", ("repeated",)), End(1, len(records))
    lines: list[Line] = [head, part.start, *records, part.end(), foot]
    return gzip_member(map(encode_line, lines))


def test_index_settings_in_the_files_metadata_are_not_added_to_an_existing_collection(
    target: ChromaServer, tmp_path: Path, source: ChromaServer
) -> None:
    path = tmp_path / "old"
    back_up_of_one(source, path)
    target.find_or_create("measured", metadata={"own": 1}, configuration={})
    restored(target, path)
    here = target.find("measured")
    assert here is not None
    assert (here.metadata, here.distance) == ({"own": 1, "made_by": "v1"}, "l2")


def back_up_of_one(source: ChromaServer, path: Path) -> None:
    source.find_or_create("measured", metadata={"hnsw:space": "cosine", "made_by": "v1"}, configuration={})
    try:
        back_up(source, path, names=("measured",), now=lambda: datetime.now(UTC), on_progress=lambda _: None)
    finally:
        source.delete("measured")


def test_a_record_that_cannot_be_restored_is_reported(target: ChromaServer, file: Path) -> None:
    here = target.find_or_create("custom", metadata=None, configuration={})
    here.upsert(Records(["id 0 é"], vectors(1, 1, DIMENSION), ["Chroma cannot remove a document"], [None]))
    result = restored(target, file, "custom")["custom"]
    assert (result.is_verified, result.differing) == (False, 1)


def test_metadata_of_an_existing_collection_are_kept_and_completed(target: ChromaServer, file: Path) -> None:
    target.find_or_create("custom", metadata={"ü": "own", "more": True}, configuration={})
    restored(target, file, "custom")
    assert collection_contents(target, "custom")[0] == {"ü": "own", "more": True, "n": 1.0}


@pytest.mark.parametrize(
    ("metadata", "dimension", "reason"),
    [
        ({"embedding_space": "other"}, 64, "the server's vectors are of the space other, the file's of mini"),
        (None, 64, "the file's vectors are of the space mini, and the space of the 3 on the server is unknown"),
        ({"embedding_space": "mini"}, 32, "the server's vectors have 32 dimensions, the file's 64"),
    ],
)
def test_vectors_of_another_space_or_dimension_are_refused_and_the_rest_is_restored(
    target: ChromaServer, file: Path, metadata: dict[str, Any] | None, dimension: int, reason: str
) -> None:
    fill(target.find_or_create("cosine", metadata=metadata, configuration={}), 3, dimension=dimension)
    before = collection_contents(target, "cosine")
    results = restored(target, file)
    assert results["cosine"].refusal == reason
    assert not results["cosine"].is_verified
    assert collection_contents(target, "cosine") == before
    assert all(one.is_verified for name, one in results.items() if name != "cosine")


def test_nothing_is_written_from_a_file_that_is_damaged_at_its_end(
    target: ChromaServer, file: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DamagedBackup):
        plan(target, cut, names=())
    assert list(target.collections()) == []


def test_planning_writes_nothing(target: ChromaServer, file: Path) -> None:
    assert [(one.name, one.existing_records) for one in plan(target, file, names=())] == [
        (name, None) for name in COUNTS
    ]
    assert list(target.collections()) == []


def test_each_progress_event_has_the_number_of_records(target: ChromaServer, file: Path) -> None:
    steps: list[RestoreProgress] = []
    restore(target, file, plan(target, file, names=("l2.L2",)), on_progress=steps.append)
    assert [(step.phase, step.records) for step in steps] == [
        (phase, records) for phase in ("writing", "comparing") for records in range(250, 2001, 250)
    ]
    assert {step.total for step in steps} == {2000}


KILLED = """
import os, signal, sys
from pathlib import Path
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.restoring import plan, restore
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer

left = int(sys.argv[3])

def on_progress(step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

server, path = ChromaServer(ChromaConfig(url=sys.argv[1])), Path(sys.argv[2])
restore(server, path, plan(server, path, names=()), on_progress=on_progress)
"""


@pytest.mark.parametrize("after", [1, 13])
def test_a_restore_killed_after_any_page_and_run_again_is_complete(
    url: str, source: ChromaServer, file: Path, after: int
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, url, file, str(after)], check=False)
    assert done.returncode == -signal.SIGKILL
    results = restored(on(url), file)
    assert all(one.is_verified for one in results.values())
    assert sum(one.written for one in results.values()) < sum(COUNTS.values())
    assert_identical(on(url), source)


def record(*numbers: float, **fields: Any) -> Record:
    return replace(Record("a", "text", {"n": 1}, None, numpy.array(numbers, dtype="<f4").tobytes()), **fields)


def is_same(one: Record, other: Record, *, is_rounded: bool) -> bool:
    return differing_ids(to_columns([one]), to_columns([other]), is_rounded=is_rounded) == []


def test_a_rounded_vector_is_distinguished_from_a_different_one() -> None:
    one = record(4.0, 5.0, 6.0)
    assert not is_same(one, record(4.0, 5.0, 6.0000005), is_rounded=False)
    assert is_same(one, record(4.0, 5.0, 6.0000005), is_rounded=True)
    assert not is_same(one, record(4.0, 5.0, 6.00001), is_rounded=True)
    assert not is_same(one, record(4.0, 5.0), is_rounded=True)
    assert is_same(record(0.0, 0.0), record(0.0, 0.0), is_rounded=True)


def test_metadata_of_another_type_are_different() -> None:
    assert not is_same(record(1.0), record(1.0, metadata={"n": 1.0}), is_rounded=False)
    assert not is_same(record(1.0), record(1.0, metadata={"n": True}), is_rounded=False)
    assert not is_same(record(1.0), record(1.0, metadata=None), is_rounded=False)

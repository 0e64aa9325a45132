"""Backups of a real Chroma server."""

import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.partial_file import partial_path
from sekha_llm_bridge.embeddings.backup.reading import CollectionSummary, DamagedBackup, collection_summaries
from sekha_llm_bridge.embeddings.backup.writing import (
    BackedUpCollection,
    BackupProgress,
    ProgressCallback,
    UnknownCollections,
    back_up,
)
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from tests.fakes.chroma import chroma_server
from tests.fakes.collections import fill

NAMES = ("alpha", "beta", "empty", "gamma")
RECORDS = {"alpha": 700, "beta": 2000, "empty": 0, "gamma": 40}
GARBAGE = random.Random(1).randbytes(5000)  # noqa: S311 — the same in every run
WRITTEN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        server = on(address)
        for name, count in RECORDS.items():
            fill(server.find_or_create(name, metadata={"is": name}, configuration={}), count)
        yield address


@pytest.fixture(scope="module")
def finished(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of everything."""
    path = tmp_path_factory.mktemp("backup") / "finished"
    written(url, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup.gz"


def on(url: str) -> ChromaServer:
    return ChromaServer(ChromaConfig(url=url), timeout_s=60)


def written(
    url: str, path: Path, *names: str, on_progress: ProgressCallback = lambda _: None
) -> list[BackedUpCollection]:
    return back_up(on(url), path, names=names, now=lambda: WRITTEN_AT, on_progress=on_progress).collections


def sums(path: Path) -> dict[str, tuple[int, str]]:
    return {one.end.name: (one.end.records, one.end.checksum) for one in collection_summaries(path)}


def test_a_backup_holds_every_collection_with_all_its_records(finished: Path) -> None:
    found = collection_summaries(finished)
    assert {one.start.name: one.end.records for one in found} == RECORDS
    assert [one.start.metadata for one in found] == [{"is": name} for name in NAMES]
    assert [one.start.dimension for one in found] == [64, 64, None, 64]


def test_the_file_is_gzip_with_a_json_object_in_each_line_and_names_no_server(finished: Path, url: str) -> None:
    text = gzip.decompress(finished.read_bytes()).decode()
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    assert lines[0] == {
        "type": "start",
        "format": "sekha-bridge-backup",
        "version": 1,
        "written_at": "2026-01-02T03:04:05+00:00",
        "collections": list(NAMES),
    }
    assert [line["type"] for line in lines].count("record") == sum(RECORDS.values())
    assert lines[-1] == {"type": "end", "collections": 4, "records": sum(RECORDS.values())}
    assert "127.0.0.1" not in text


def test_only_the_collections_named_are_backed_up(url: str, path: Path) -> None:
    assert [one.name for one in written(url, path, "gamma", "alpha")] == ["alpha", "gamma"]
    assert list(sums(path)) == ["alpha", "gamma"]


def test_a_name_that_does_not_exist_is_an_error_before_anything_is_written(url: str, path: Path) -> None:
    with pytest.raises(UnknownCollections, match="no collection nope; the server has alpha, beta, empty, gamma"):
        written(url, path, "alpha", "nope")
    assert list(path.parent.iterdir()) == []


def test_a_finished_backup_leaves_no_other_file(finished: Path) -> None:
    assert list(finished.parent.iterdir()) == [finished]


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.2, 0.5, 0.8, 0.97, 0.9999, 1.0])
def test_a_backup_continues_wherever_its_partial_file_was_cut(
    url: str, path: Path, finished: Path, share: float
) -> None:
    whole = finished.read_bytes()
    partial_path(path).write_bytes(whole[: int(share * len(whole))])
    written(url, path)
    assert sums(path) == sums(finished)


def test_garbage_at_the_end_of_the_partial_file_is_cut_off(url: str, path: Path, finished: Path) -> None:
    whole = finished.read_bytes()
    partial_path(path).write_bytes(whole[: len(whole) // 2] + GARBAGE)
    written(url, path)
    assert sums(path) == sums(finished)


def test_completed_collections_are_not_read_again(url: str, path: Path, finished: Path) -> None:
    whole = finished.read_bytes()
    partial_path(path).write_bytes(whole[: int(0.9 * len(whole))])
    steps: list[BackupProgress] = []
    written(url, path, on_progress=steps.append)
    read = [step for step in steps if step.phase == "reading"]
    assert "alpha" not in {step.collection for step in read}
    assert min(step.records for step in read if step.collection == "beta") > 1000


def test_the_partial_file_of_a_backup_of_other_collections_is_not_continued(
    url: str, path: Path, finished: Path
) -> None:
    shutil.copy(finished, partial_path(path))
    written(url, path, "gamma")
    assert list(sums(path)) == ["gamma"]


@pytest.mark.parametrize("content", [b"", b"no gzip at all", gzip.compress(b'{"type":"end"}\n'), gzip.compress(b"\n")])
def test_a_partial_file_that_is_no_backup_is_overwritten(url: str, path: Path, content: bytes) -> None:
    partial_path(path).write_bytes(content)
    written(url, path, "gamma")
    assert sums(path)["gamma"][0] == RECORDS["gamma"]


def test_a_collection_that_was_replaced_is_read_again(url: str, path: Path) -> None:
    server = on(url)
    fill(server.find_or_create("replaced", metadata=None, configuration={}), 900)
    try:
        written(url, path, "gamma", "replaced")
        whole = path.read_bytes()
        partial_path(path).write_bytes(whole[: int(0.9 * len(whole))])
        server.delete("replaced")
        fill(server.find_or_create("replaced", metadata=None, configuration={}), 300, first=5000)
        written(url, path, "gamma", "replaced")
        assert {one.end.name: one.end.records for one in collection_summaries(path)} == {"gamma": 40, "replaced": 300}
    finally:
        server.delete("replaced")


def test_records_written_during_the_backup_are_in_it_or_reported(url: str, path: Path) -> None:
    busy = on(url).find_or_create("busy", metadata=None, configuration={})
    fill(busy, 100)

    def write_more(step: BackupProgress) -> None:
        first = {"reading": 100, "checking": 110}[step.phase]
        fill(busy, 10, first=first)

    try:
        (done,) = written(url, path, "busy", on_progress=write_more)
    finally:
        on(url).delete("busy")
    assert (done.records, done.on_server, done.is_complete) == (110, 120, False)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.writing import back_up
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer

left = int(sys.argv[3])

def on_progress(step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

back_up(ChromaServer(ChromaConfig(url=sys.argv[1])), Path(sys.argv[2]), names=(), now=lambda: datetime.now(UTC), on_progress=on_progress)
"""


@pytest.mark.parametrize("after", [1, 3, 12, 20])
def test_a_backup_killed_after_any_page_and_run_again_is_complete(
    url: str, path: Path, finished: Path, after: int
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, url, path, str(after)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    written(url, path)
    assert sums(path) == sums(finished)


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DamagedBackup) as caught:
        collection_summaries(path)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.999])
def test_a_cut_file_is_refused(finished: Path, path: Path, share: float) -> None:
    whole = finished.read_bytes()
    assert "cut" in refused(path, whole[: int(share * len(whole))])


def test_a_file_cut_between_two_lines_is_refused(finished: Path, path: Path) -> None:
    lines = lines_of(finished)
    assert f"cut after line {len(lines) - 1}" in refused(path, gzip.compress(b"".join(lines[:-1])))


def test_a_flipped_byte_is_found_or_has_no_effect(finished: Path, path: Path) -> None:
    whole = finished.read_bytes()
    places = random.Random(2).sample(range(len(whole)), 40)  # noqa: S311 — the same in every run
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            found: list[CollectionSummary] | None = collection_summaries(path)
        except DamagedBackup:
            found = None
        assert found in (None, collection_summaries(finished)), place


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"version":1', b'"version":2', "line 1 has the format version 2; only 1 is supported"),
        (b'"format":"sekha-bridge-backup"', b'"format":"x"', "line 1 is not the first line of a backup"),
        (b'"records":700', b'"records":701', "says that alpha has 701 records, but it has 700"),
        (b'"collections":4', b'"collections":5', "says 5 collections with 2740 records; the file has 4 with 2740"),
        (b'"metadata":{"big"', b'"metadata":{"Big"', "has another checksum than the records of alpha"),
        (b'"type":"record"', b'"type":"what"', "line 3 is not a line of a backup"),
        (b'"dimension":64', b'"dimension":63', "line 3 has a vector of 64 numbers, not 63"),
        (b'"vector":"', b'"vector":"!', "line 3 is not a line of a backup"),
        (b'"alpha"', b'"omega"', "line 2 starts the collection alpha, which is not the next one"),
    ],
)
def test_a_changed_file_is_refused_with_the_line_number(
    finished: Path, path: Path, old: bytes, new: bytes, said: str
) -> None:
    text = b"".join(lines_of(finished))
    assert old in text
    assert said in refused(path, gzip.compress(text.replace(old, new, 1)))


def test_a_file_that_is_not_gzip_or_not_a_backup_is_refused(path: Path) -> None:
    assert "not gzip" in refused(path, b"plain text")
    assert "not gzip" in refused(path, b"")
    assert "line 1 is not a line of a backup" in refused(path, gzip.compress(b"secret\n"))
    assert "longer than any record" in refused(path, gzip.compress(b" " * (1 << 28)))


def test_a_file_of_a_single_gzip_member_can_be_read(finished: Path, path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(finished.read_bytes())))
    assert collection_summaries(path) == collection_summaries(finished)

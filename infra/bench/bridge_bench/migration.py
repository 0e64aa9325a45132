"""Measures the time of a collection migration on a real server, and checks that killing it loses nothing.

Two collections are renamed in one run, a small and a large one. Then the command merges a large collection into another
one. It is killed at random times, and the last run completes. Then every record is compared with what was written.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy

from bridge_bench.chroma_process import chroma_process
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import Records, ServerCollection, differing_ids
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.moving import Migrated, migrate

_PAGE = 500
_MAX_SECONDS_TO_KILL = 9.0  # after the first page
_SEED = 7
_RENAMES = 40


@dataclass(frozen=True, slots=True)
class MigrationSize:
    """The numbers of records; `existing` are in the collection that is merged into, whose distance is `measure`."""

    few: int = 200
    many: int = 20_000
    dimension: int = 768
    existing: int = 1_000
    kills: int = 10
    measure: str = "cosine"


@dataclass(frozen=True, slots=True)
class Merge:
    """The runs of the merging command: its progress at each kill, and the figures of the last run."""

    killed_at: Sequence[str]
    last_run_s: float
    copied_in_last: int
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The number of records in the target, and how many of the written ones are lost, altered or duplicated.

    `rounded` counts the vectors with float32 rounding errors. Chroma normalises every vector if the distance is cosine.
    """

    records: int
    lost: int
    altered: int
    duplicated: int
    rounded: int


def main(arguments: Sequence[str]) -> None:
    """The time to rename and merge collections, and a check that killing the migration loses nothing."""
    defaults = MigrationSize()
    parser = argparse.ArgumentParser(prog="infra/bench/run migration", description=__doc__)
    parser.add_argument(
        "--records", type=int, default=defaults.many, help="records of the large collection (%(default)s)"
    )
    parser.add_argument("--dimension", type=int, default=defaults.dimension, help="numbers in a vector (%(default)s)")
    parser.add_argument("--kills", type=int, default=defaults.kills, help="times to kill the merge (%(default)s)")
    parser.add_argument(
        "--measure",
        choices=("cosine", "l2"),
        default=defaults.measure,
        help="distance of the target collection (%(default)s)",
    )
    options = parser.parse_args(arguments)
    size = MigrationSize(
        many=options.records, dimension=options.dimension, kills=options.kills, measure=options.measure
    )
    with tempfile.TemporaryDirectory() as folder, chroma_process(Path(folder)) as url:
        server = ChromaServer(ChromaConfig(url=url), timeout_s=60)
        took_s = measure_migration(server, size)
        call_s = measure_rename_calls(server, size)
        merge = merge_with_kills(server, url, size)
        result = verify(server, size)
    print(_table(size, took_s, call_s, merge, result))
    if (result.records, result.lost, result.altered, result.duplicated) != (size.many + size.existing, 0, 0, 0):
        raise SystemExit("\nRecords were lost, altered or duplicated")


def measure_migration(server: ChromaServer, size: MigrationSize) -> dict[str, float]:
    """Returns the seconds that each collection took in one run, with all requests to the server."""
    _fill(server, "few", size.few, size.dimension)
    _fill(server, "many", size.many, size.dimension)
    took_s, since_s = {}, time.monotonic()
    for event in migrate(server, None):
        if isinstance(event, Migrated):
            took_s[event.collection] = time.monotonic() - since_s
            since_s = time.monotonic()
    return took_s


def measure_rename_calls(server: ChromaServer, size: MigrationSize) -> dict[str, float]:
    """Returns the median seconds of the rename call for each collection, alternately; then deletes both."""
    collections = {name: server.find(f"{name}_{size.dimension}") for name in ("few", "many")}
    took_s: dict[str, list[float]] = {name: [] for name in collections}
    for turn in range(_RENAMES):
        for name, collection in collections.items():
            if collection is None:
                raise SystemExit(f"{name} has not been renamed")
            began_s = time.perf_counter()
            collection.rename(f"{name}_in_turn_{turn}")
            took_s[name].append(time.perf_counter() - began_s)
    for name in collections:
        server.delete(f"{name}_in_turn_{_RENAMES - 1}")
    return {name: statistics.median(times) for name, times in took_s.items()}


def merge_with_kills(server: ChromaServer, url: str, size: MigrationSize) -> Merge:
    """Starts the merging command and kills it `size.kills` times, then runs it to completion."""
    _fill(server, "conversations", size.many, size.dimension)
    _fill(
        server,
        f"conversations_{size.dimension}",
        size.existing,
        size.dimension,
        prefix="existing",
        configuration={"hnsw": {"space": size.measure}},
    )
    times = random.Random(_SEED)  # noqa: S311 — random times, not a secret
    killed_at = [_run_and_kill(url, times.uniform(0, _MAX_SECONDS_TO_KILL)) for _ in range(size.kills)]
    began_s = time.monotonic()
    done = subprocess.run([*_command(url), "--json"], capture_output=True, text=True, check=False)
    took_s = time.monotonic() - began_s
    if done.returncode:
        raise SystemExit(f"the last run ended with {done.returncode}: {done.stdout}{done.stderr}")
    copied = sum(
        moved["copied"] for moved in json.loads(done.stdout)["migrated"]
    )  # 0 if an earlier run was already complete
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Merge(killed_at, took_s, copied, peak_mb)


def verify(server: ChromaServer, size: MigrationSize) -> Verification:
    """Compares every record of the target, page by page, with what was written."""
    (target,) = list(server.collections())
    lost = altered = rounded = 0
    for records in _written_records(size):
        found = target.get(records.ids)
        missing, differing = len(records) - len(found), len(differing_ids(records, found, is_rounded=True))
        lost, altered = lost + missing, altered + differing - missing
        rounded += len(differing_ids(records, found)) - differing
    count = target.count()
    return Verification(count, lost, altered, count - len(_ids(target)), rounded)


def _written_records(size: MigrationSize) -> Iterator[Records]:
    yield from _records(size.many, size.dimension, prefix="r")
    yield from _records(size.existing, size.dimension, prefix="existing")


def _ids(collection: ServerCollection) -> set[str]:
    found: set[str] = set()
    for offset in range(0, collection.count(), _PAGE):
        found.update(collection.ids(offset=offset, limit=_PAGE))
    return found


def _command(url: str) -> list[str]:
    return [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-collections", "--chroma-url", url]


def _run_and_kill(url: str, kill_after_s: float) -> str:
    """Runs the command, kills it `kill_after_s` after its first page, and returns the progress that it had printed."""
    with subprocess.Popen(_command(url), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            raise SystemExit("the command has no output")
        process.stdout.readline()
        time.sleep(kill_after_s)
        process.kill()
        lines = process.stdout.read().splitlines()
    return lines[-1].rpartition(": ")[2] if lines else "the first page"


def _fill(
    server: ChromaServer,
    name: str,
    number: int,
    dimension: int,
    *,
    prefix: str = "r",
    configuration: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    collection = server.find_or_create(name, metadata=None, configuration=configuration)
    for records in _records(number, dimension, prefix=prefix):
        collection.add(records)


def _records(number: int, dimension: int, *, prefix: str) -> Iterator[Records]:
    """Yields pages of records, the same in every call."""
    numbers = numpy.random.default_rng(len(prefix))
    for start in range(0, number, _PAGE):
        positions = range(start, min(start + _PAGE, number))
        yield Records(
            [f"{prefix}-{position}" for position in positions],
            numbers.standard_normal((len(positions), dimension), dtype=numpy.float32),
            [
                f"{prefix}: the text of the conversation {position}, which is as long as a sentence"
                for position in positions
            ],
            [{"number": position, "share": position / 7, "speaker": "somebody"} for position in positions],
        )


def _table(
    size: MigrationSize, took_s: dict[str, float], call_s: dict[str, float], merge: Merge, result: Verification
) -> str:
    rows = [
        (f"renaming {size.few:,} records", f"{took_s['few'] * 1000:.0f} ms"),
        (f"renaming {size.many:,} records", f"{took_s['many'] * 1000:.0f} ms"),
        (
            f"  the rename call alone, median of {_RENAMES} each",
            f"{call_s['few'] * 1000:.1f} and {call_s['many'] * 1000:.1f} ms",
        ),
        (f"merging {size.many:,} into {size.existing:,}: killed", f"{len(merge.killed_at)} times"),
        *((f"  progress at kill {number}", progress) for number, progress in enumerate(merge.killed_at, 1)),
        ("  duration of the last run, with its start", f"{merge.last_run_s:.1f} s"),
        ("  records copied by the last run", f"{merge.copied_in_last:,}"),
        ("  peak memory of a run", f"{merge.peak_mb:.0f} MB"),
        ("records afterwards", f"{result.records:,}"),
        ("lost / altered / duplicated", f"{result.lost} / {result.altered} / {result.duplicated}"),
        ("rounded by Chroma itself in the last bits", f"{result.rounded:,}"),
    ]
    title = f"vectors of {size.dimension} dimensions, every one compared"
    return "\n".join([title, "", *(f"{what:<48}{found:>26}" for what, found in rows)])

"""What the migration of collections takes, and what it loses when it is killed again and again, on a real server.

Two collections are renamed in one run, one of few records and one of many. As many are then merged by the command,
which is killed at random moments and at last left to end; then every record is compared with what was written.
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
_LONGEST_LIFE_S = 9.0  # from the first page on, of those that are killed
_SEED = 7
_RENAMES = 40


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to be moved."""

    few: int = 200
    many: int = 20_000
    dimension: int = 768
    own: int = 1_000
    kills: int = 10
    measure: str = "cosine"


@dataclass(frozen=True, slots=True)
class Merge:
    """The runs of the command: where each kill found it, and how long the last run took."""

    killed_at: Sequence[str]
    last_run_s: float
    copied_in_last: int
    peak_mb: float


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What the target holds: of the records that were written, how many are missing, are not the same, or are there
    twice; and how many are there. `rounded` are those whose vectors have lost something in the rounding of float32,
    which is what Chroma does where it measures by the cosine, whoever writes.
    """

    records: int
    lost: int
    altered: int
    doubled: int
    rounded: int


def main(arguments: Sequence[str]) -> None:
    """How long collections take to be renamed and merged, and that killing it loses nothing."""
    usual = Load()
    parser = argparse.ArgumentParser(prog="infra/bench/run migration", description=__doc__)
    parser.add_argument("--records", type=int, default=usual.many, help="of the large collection (%(default)s)")
    parser.add_argument("--dimension", type=int, default=usual.dimension, help="of the vectors (%(default)s)")
    parser.add_argument("--kills", type=int, default=usual.kills, help="of the merging command (%(default)s)")
    parser.add_argument(
        "--measure", choices=("cosine", "l2"), default=usual.measure, help="of what is merged into (%(default)s)"
    )
    options = parser.parse_args(arguments)
    load = Load(many=options.records, dimension=options.dimension, kills=options.kills, measure=options.measure)
    with tempfile.TemporaryDirectory() as folder, chroma_process(Path(folder)) as url:
        server = ChromaServer(ChromaConfig(url=url), timeout_s=60)
        took_s = renamed(server, load)
        call_s = renames(server, load)
        merge = merged(server, url, load)
        verdict = verified(server, load)
    print(_table(load, took_s, call_s, merge, verdict))
    if (verdict.records, verdict.lost, verdict.altered, verdict.doubled) != (load.many + load.own, 0, 0, 0):
        raise SystemExit("\nThis must not be: something was lost, altered or doubled")


def renamed(server: ChromaServer, load: Load) -> dict[str, float]:
    """How many seconds each collection took in one run, all that is asked about it counted."""
    _fill(server, "few", load.few, load.dimension)
    _fill(server, "many", load.many, load.dimension)
    took_s, since_s = {}, time.monotonic()
    for event in migrate(server, None):
        if isinstance(event, Migrated):
            took_s[event.collection] = time.monotonic() - since_s
            since_s = time.monotonic()
    return took_s


def renames(server: ChromaServer, load: Load) -> dict[str, float]:
    """How many seconds the call takes that renames each of the two, by turns; then both are deleted."""
    collections = {name: server.find(f"{name}_{load.dimension}") for name in ("few", "many")}
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


def merged(server: ChromaServer, url: str, load: Load) -> Merge:
    """Kills the command so many times, then lets it end."""
    _fill(server, "conversations", load.many, load.dimension)
    _fill(
        server,
        f"conversations_{load.dimension}",
        load.own,
        load.dimension,
        prefix="own",
        configuration={"hnsw": {"space": load.measure}},
    )
    moments = random.Random(_SEED)  # noqa: S311 — moments, not a secret
    killed_at = [_killed(url, moments.uniform(0, _LONGEST_LIFE_S)) for _ in range(load.kills)]
    began_s = time.monotonic()
    done = subprocess.run([*_command(url), "--json"], capture_output=True, text=True, check=False)
    took_s = time.monotonic() - began_s
    if done.returncode:
        raise SystemExit(f"the last run ended with {done.returncode}: {done.stdout}{done.stderr}")
    copied = sum(moved["copied"] for moved in json.loads(done.stdout)["migrated"])  # nothing, if a kill came too late
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Merge(killed_at, took_s, copied, peak_mb)


def verified(server: ChromaServer, load: Load) -> CallOutcome:
    """Compares every record of the target, in pages, with what was written."""
    (target,) = list(server.collections())
    lost = altered = rounded = 0
    for records in _written(load):
        found = target.get(records.ids)
        lost += len(records) - len(found)
        missing, unlike = len(records) - len(found), len(differing_ids(records, found, is_rounded=True))
        lost, altered = lost + missing, altered + unlike - missing
        rounded += len(differing_ids(records, found)) - unlike
    count = target.count()
    return CallOutcome(count, lost, altered, count - len(_ids(target)), rounded)


def _written(load: Load) -> Iterator[Records]:
    yield from _records(load.many, load.dimension, prefix="r")
    yield from _records(load.own, load.dimension, prefix="own")


def _ids(collection: ServerCollection) -> set[str]:
    found: set[str] = set()
    for offset in range(0, collection.count(), _PAGE):
        found.update(collection.ids(offset=offset, limit=_PAGE))
    return found


def _command(url: str) -> list[str]:
    return [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-collections", "--chroma-url", url]


def _killed(url: str, life_s: float) -> str:
    """Kills the command so long after its first page; how far it had come, in its own words."""
    with subprocess.Popen(_command(url), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            raise SystemExit("the command has no output")
        process.stdout.readline()
        time.sleep(life_s)
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
    """Pages of records, the same ones each time."""
    made = numpy.random.default_rng(len(prefix))
    for start in range(0, number, _PAGE):
        places = range(start, min(start + _PAGE, number))
        yield Records(
            [f"{prefix}-{place}" for place in places],
            made.standard_normal((len(places), dimension), dtype=numpy.float32),
            [f"{prefix}: the text of the conversation {place}, which is as long as a sentence" for place in places],
            [{"number": place, "share": place / 7, "speaker": "somebody"} for place in places],
        )


def _table(load: Load, took_s: dict[str, float], call_s: dict[str, float], merge: Merge, verdict: CallOutcome) -> str:
    rows = [
        (f"renaming {load.few:,} records", f"{took_s['few'] * 1000:.0f} ms"),
        (f"renaming {load.many:,} records", f"{took_s['many'] * 1000:.0f} ms"),
        (
            f"  the call alone, median of {_RENAMES} in turns",
            f"{call_s['few'] * 1000:.1f} and {call_s['many'] * 1000:.1f} ms",
        ),
        (f"merging {load.many:,} into {load.own:,}: killed", f"{len(merge.killed_at)} times"),
        *((f"  kill {number} found it at", place) for number, place in enumerate(merge.killed_at, 1)),
        ("  the last run took, with its start", f"{merge.last_run_s:.1f} s"),
        ("  and copied", f"{merge.copied_in_last:,}"),
        ("  the most memory that a run had", f"{merge.peak_mb:.0f} MB"),
        ("records afterwards", f"{verdict.records:,}"),
        ("lost / altered / doubled", f"{verdict.lost} / {verdict.altered} / {verdict.doubled}"),
        ("rounded by Chroma itself in the last bits", f"{verdict.rounded:,}"),
    ]
    title = f"vectors of {load.dimension} dimensions, every one compared"
    return "\n".join([title, "", *(f"{what:<48}{found:>26}" for what, found in rows)])

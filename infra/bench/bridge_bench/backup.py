"""Measures the time and memory of `sekha-bridge backup` and `restore` for 1,000, 10,000 and 50,000 records.

Each command runs in its own process, on a real Chroma server, with vectors of 384 numbers and texts of 200 characters.
Peak memory is the operating system's figure for that process; an empty collection is the baseline. Peak memory should
not grow with the number of records.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from bridge_bench.chroma_process import chroma_process
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import Records
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.spaces import NEW_COLLECTION_CONFIGURATION

_SIZES = (0, 1_000, 10_000, 50_000)
_DIMENSION = 384
_TEXT = "A sentence of the length of this one. " * 6
_BATCH_SIZE = 500
_MAXRSS_UNITS_PER_MB = 1_000_000 if sys.platform == "darwin" else 1_000  # bytes there, kilobytes elsewhere
# On Linux, a child's peak memory includes the parent's at the fork: the parent must be smaller than any command.
_SMALL_PARENT = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The time and peak memory of one run of a command."""

    seconds: float
    peak_mb: float


def main(arguments: Sequence[str]) -> None:
    """The time and memory of a backup and of its restore, for up to 50,000 records."""
    parser = argparse.ArgumentParser(
        prog="infra/bench/run backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="numbers of records (%(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with chroma_process(folder / "source") as source, chroma_process(folder / "target") as target:
            print(f"{'':8}{'records':>10}{'file MB':>10}{'seconds':>10}{'records/s':>11}{'peak MB':>10}", flush=True)
            for size in options.sizes:
                _fill(source, size)
                _measure(size, source=source, target=target, file=folder / f"{size}.gz")


def _measure(size: int, *, source: str, target: str, file: Path) -> None:
    for command, url in (("backup", source), ("restore", target)):
        measured = _run(command, file, url, _collection(size))
        pace = f"{size / measured.seconds:,.0f}" if size else ""
        print(
            f"{command:8}{size:10,}{file.stat().st_size / 1e6:10.1f}{measured.seconds:10.1f}{pace:>11}"
            f"{measured.peak_mb:10.0f}",
            flush=True,
        )


def _run(command: str, file: Path, url: str, collection: str) -> Measured:
    """Runs the command in a new process. Raises `RuntimeError` if it fails."""
    line = [sys.executable, "-m", "sekha_llm_bridge.cli", command, str(file), "--chroma-url", url]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_PARENT, *line, "--collection", collection, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with status {done.returncode}: {done.stderr}")
    return Measured(time.perf_counter() - started, int(done.stdout) / _MAXRSS_UNITS_PER_MB)


def _fill(url: str, size: int) -> None:
    server = ChromaServer(ChromaConfig(url=url), timeout_s=60)
    collection = server.find_or_create(_collection(size), metadata=None, configuration=NEW_COLLECTION_CONFIGURATION)
    numbers = numpy.random.default_rng(size)
    for first in range(0, size, _BATCH_SIZE):
        ids = [f"{number:032x}" for number in range(first, min(first + _BATCH_SIZE, size))]
        vectors = numbers.standard_normal((len(ids), _DIMENSION)).astype(numpy.float32)
        collection.upsert(Records(ids, vectors, [_TEXT[:200]] * len(ids), [{"n": 1, "of": "a bench"}] * len(ids)))


def _collection(size: int) -> str:
    return f"bench_{size}"

"""Measures how long the verification of a key takes whose record is in memory, and whether the time tells anything.

Wrong keys of two kinds are tried in random order, 10,000 of each, every one another text. Their times are compared by
Welch's t test without the slowest tenth, as dudect does (https://eprint.iacr.org/2016/1123): |t| above 4.5 means that
they differ. How much of a secret is right must not show. That a handle is unknown may: a handle is no secret.
"""

import argparse
import asyncio
import math
import random
import statistics
import string
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from bridge_bench.cores import pin, two_cores
from bridge_bench.measuring import Samples, measure_interleaved
from bridge_bench.tables import warm_table
from sekha_llm_bridge.access.keys.key_text import KeyText, checksum, new_key
from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.access.keys.verifier import KeyVerifier

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_T_LIMIT = 4.5
_ALPHABET = string.ascii_letters + string.digits
_FIRST_WRONG, _LAST_WRONG, _ALL_WRONG = "the first character wrong", "the last character wrong", "another secret"
_PAIRS = [(_FIRST_WRONG, _LAST_WRONG), (_FIRST_WRONG, _ALL_WRONG)]


class _StoppedClock:
    """A `Clock` that stands still, so that no record becomes too old."""

    def monotonic_s(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return _NOW

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Store:
    """A `KeyStore` with one key."""

    def __init__(self, record: KeyRecord) -> None:
        self._record = record

    async def read(self, key_id: str) -> KeyRecord | None:
        return self._record if key_id == self._record.key_id else None


def main(arguments: Sequence[str]) -> None:
    """The time to verify an API key, and whether it tells how much of a wrong key is right."""
    parser = argparse.ArgumentParser(
        prog="infra/bench/run keys", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10_000, help="tries of each kind in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats (%(default)s)")
    options = parser.parse_args(arguments)
    pin(two_cores()[0])
    key = new_key()
    verifier = KeyVerifier(_Store(KeyRecord(key.key_id, key.digest, "", _NOW)), _StoppedClock())
    print(_times_table(verifier, key, options.rounds, options.repeats), end="\n\n", flush=True)
    wrong = {
        _FIRST_WRONG: lambda: _with_other_character(key, 0),
        _LAST_WRONG: lambda: _with_other_character(key, -1),
        _ALL_WRONG: lambda: new_key(key.key_id).text,
    }
    for one, other in _PAIRS:
        values = [_compared(verifier, (wrong[one], wrong[other]), options.rounds) for _ in range(options.repeats)]
        verdict = "no difference" if statistics.median(map(abs, values)) < _T_LIMIT else "a DIFFERENCE"
        print(f"{one} / {other}: {verdict}, t = {', '.join(f'{value:+.1f}' for value in values)}", flush=True)


def _times_table(verifier: KeyVerifier, key: KeyText, rounds: int, repeats: int) -> str:
    texts = {
        "the right key": key.text,
        _ALL_WRONG: new_key(key.key_id).text,
        "an unknown handle": new_key().text,
        "a wrong checksum": key.text[:-1] + ("0" if key.text[-1] != "0" else "1"),
    }
    for text in texts.values():
        asyncio.run(verifier.verify(_headers(text)))  # from now on, all that is needed is in memory
    calls: dict[str, Callable[[], object]] = {
        name: partial(_verify, verifier, _headers(text)) for name, text in texts.items()
    }
    series: dict[str, list[Samples]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, samples in measure_interleaved(calls, rounds).items():
            series[name].append(samples)
    return warm_table(series)


def _compared(verifier: KeyVerifier, kinds: Sequence[Callable[[], str]], rounds: int) -> float:
    """Returns Welch's t of the times of two kinds of keys."""
    numbers = [number for number in range(len(kinds)) for _ in range(rounds)]
    random.shuffle(numbers)  # before the texts are made, so that neither kind lies together in memory
    tries = [(number, _headers(kinds[number]())) for number in numbers]
    times: tuple[list[int], list[int]] = ([], [])
    for number, headers in tries:
        began_ns = time.perf_counter_ns()
        _verify(verifier, headers)
        times[number].append(time.perf_counter_ns() - began_ns)
    return _welch_t(*times)


def _verify(verifier: KeyVerifier, headers: dict[str, str]) -> None:
    """Runs the verification without an event loop, which it does not need as long as it reads nothing."""
    try:
        verifier.verify(headers).send(None)
    except StopIteration:
        return
    raise RuntimeError("the verification has read the table")


def _headers(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def _with_other_character(key: KeyText, place: int) -> str:
    """Returns the key with another character at this place of its secret, and the checksum of that."""
    prefix, name, own_id, secret, _ = key.text.split("-")
    characters = list(secret)
    characters[place] = random.choice(_ALPHABET.replace(characters[place], ""))  # noqa: S311 — no secret
    body = "-".join([prefix, name, own_id, "".join(characters), ""])
    return body + checksum(body)


def _welch_t(one: Sequence[int], other: Sequence[int]) -> float:
    """Returns Welch's t of the two series, each without its slowest tenth."""
    first, second = (sorted(times)[: max(2, len(times) * 9 // 10)] for times in (one, other))
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread or 1)

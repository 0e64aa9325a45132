"""Measures how long the classification of an error answer takes, for bodies of 1 kB to 1 MB that are hard to search.

The baseline decodes the same body as UTF-8. The time should not grow beyond 64 kB, and stay under 50 ms.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from bridge_bench.cores import pin, two_cores
from sekha_llm_bridge.providers.failures import error_from_answer
from sekha_llm_bridge.providers.secret_mask import SecretMask

_SIZES = (1_000, 64_000, 1_000_000)
_PARTS = {
    "an ordinary sentence": "The model does not support tools; context window, (see 'docs'). ",
    "opening brackets": "[",
    "opening JSON objects": '{"error":',
    "opening parentheses": "(",
    "apostrophes": "'",
    "quotation marks": '"',
    "tags": "<a",
    "words of every pattern": "exceeds the input max context prompt extra fields roles only ",
    "long words": "a1",
    "spaces": " ",
}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_MASK = SecretMask([f"sk-secret-{number}" for number in range(50)])


def main(arguments: Sequence[str]) -> None:
    """The time that the classification of an error answer takes, and of masking its message."""
    parser = argparse.ArgumentParser(
        prog="infra/bench/run errors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="the lowest of so many times counts (%(default)s)")
    repeats = parser.parse_args(arguments).repeats
    pin(two_cores()[0])
    print(f"{'ms, the lowest of ' + str(repeats):32}{'bytes':>10}{'baseline':>12}{'classified':>12}{'masked':>10}")
    for name, part in _PARTS.items():
        for size in _SIZES:
            body = (part * (size // len(part) + 1))[:size].encode()
            times = (
                _lowest_ms(call, repeats) for call in (body.decode, partial(_classify, body), partial(_mask, body))
            )
            print(f"{name:32}{size:>10,}" + "".join(f"{ms:>11.3f} " for ms in times))


def _lowest_ms(call: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        call()
        took.append(time.perf_counter() - started_s)
    return min(took) * 1000


def _classify(body: bytes) -> object:
    return error_from_answer(400, body, header=lambda _: None, request={"messages": []}, now=_NOW)


def _mask(body: bytes) -> str:
    return _MASK(body[:4096].decode())

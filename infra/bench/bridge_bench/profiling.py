"""Where a call's time goes, by the standard library's profiler: by package, then by function.

The profiler makes every Python call dearer, so the shares tell where to look and nothing about how long it takes.
"""

import cProfile
import io
import pstats
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bridge_bench.measuring import Call

SORTS = ("tottime", "cumtime")
_ROWS = 45
_OURS = re.compile(r"/sekha_llm_bridge/(\w+)")
_INSTALLED = re.compile(r"/site-packages/(\w+)")
_STANDARD = re.compile(r"/python3\.\d+/(\w+)")

Function = tuple[str, int, str]


def profile(call: Call, calls: int, sort: str) -> str:
    """The profile of so many calls, as text; `sort` is one of `SORTS`."""
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(calls):
        call()
    profiler.disable()
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    text.write(_by_package(stats))
    stats.sort_stats(sort).print_stats(_ROWS)
    return re.sub(r"/\S*/(?:site-packages|python3\.\d+|bridge)/", "", text.getvalue())


def _by_package(stats: pstats.Stats) -> str:
    timings: Mapping[Function, tuple[Any, ...]] = stats.stats  # type: ignore[attr-defined]  # it is there, and typeshed leaves it out
    spent_s: Counter[str] = Counter()
    for function, (_, _, own_s, _, callers) in timings.items():
        if function[0] == "~" and callers:  # a built-in function: its time belongs to whoever called it
            for caller, (_, _, caller_s, _) in callers.items():
                spent_s[_package(caller)] += caller_s
        else:
            spent_s[_package(function)] += own_s
    rows = [f"{seconds / spent_s.total():6.1%}  {name}" for name, seconds in spent_s.most_common() if seconds]
    return "\n".join(["share of the time, built-in functions counted to their callers:", *rows, "", ""])


def _package(function: Function) -> str:
    """The bridge's own package below `sekha_llm_bridge`, an installed package, or a module of the standard library."""
    for pattern, prefix in ((_OURS, "bridge: "), (_INSTALLED, ""), (_STANDARD, "python: ")):
        if found := pattern.search(function[0]):
            return prefix + found[1]
    return "other"

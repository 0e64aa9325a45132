"""Profiles a call with the standard library's profiler: by package, then by function.

The profiler slows down every Python call. The shares are approximate, and the times are not comparable with others.
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
_BRIDGE = re.compile(r"/sekha_llm_bridge/(\w+)")
_INSTALLED = re.compile(r"/site-packages/(\w+)")
_STANDARD = re.compile(r"/python3\.\d+/(\w+)")

Function = tuple[str, int, str]


def profile(call: Call, calls: int, sort: str) -> str:
    """Returns the profile of `calls` calls as text. `sort` is one of `SORTS`."""
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
    timings: Mapping[Function, tuple[Any, ...]] = stats.stats  # type: ignore[attr-defined]  # missing in typeshed
    spent_s: Counter[str] = Counter()
    for function, (_, _, own_s, _, callers) in timings.items():
        if function[0] == "~" and callers:  # a built-in function: its time counts for its callers
            for caller, (_, _, caller_s, _) in callers.items():
                spent_s[_package(caller)] += caller_s
        else:
            spent_s[_package(function)] += own_s
    rows = [f"{seconds / spent_s.total():6.1%}  {name}" for name, seconds in spent_s.most_common() if seconds]
    return "\n".join(["share of the time; a built-in function's time counts for its callers:", *rows, "", ""])


def _package(function: Function) -> str:
    """Returns a package below `sekha_llm_bridge`, an installed package, or a module of the standard library."""
    for pattern, prefix in ((_BRIDGE, "bridge: "), (_INSTALLED, ""), (_STANDARD, "python: ")):
        if found := pattern.search(function[0]):
            return prefix + found[1]
    return "other"

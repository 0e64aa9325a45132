"""Times several calls alternately, so that other load on the machine affects all of them equally."""

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Call = Callable[[], object]


class Samples(NamedTuple):
    """Wall times and CPU times of this process for many calls, in order, in nanoseconds."""

    wall: Sequence[int]
    cpu: Sequence[int]

    def minus(self, baseline: "Samples") -> "Samples":
        """Returns how much longer each call took than the baseline's call of the same round."""
        return Samples(_differences(self.wall, baseline.wall), _differences(self.cpu, baseline.cpu))


def measure_interleaved(calls: Mapping[str, Call], rounds: int) -> dict[str, Samples]:
    """Makes every call once per round, and returns their times. Each round starts with the next call in the list."""
    walls = {name: array("q", bytes(8 * rounds)) for name in calls}
    cpus = {name: array("q", bytes(8 * rounds)) for name in calls}
    names = list(calls)
    for position in range(rounds):
        first = position % len(names)
        for name in names[first:] + names[:first]:
            walls[name][position], cpus[name][position] = _timed(calls[name])
    return {name: Samples(walls[name], cpus[name]) for name in names}


def _timed(call: Call) -> tuple[int, int]:
    wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    call()
    return time.perf_counter_ns() - wall_ns, time.process_time_ns() - cpu_ns


def _differences(samples: Sequence[int], baseline: Sequence[int]) -> list[int]:
    return [ns - baseline_ns for ns, baseline_ns in zip(samples, baseline, strict=True)]

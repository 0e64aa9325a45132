"""Calls timed in turns, so that whatever disturbs the machine disturbs all of them alike."""

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Call = Callable[[], object]


class Samples(NamedTuple):
    """What each of many calls took, in order, in nanoseconds: by the clock, and of this process alone."""

    wall: Sequence[int]
    cpu: Sequence[int]

    def beyond(self, floor: "Samples") -> "Samples":
        """How much more each call took than the floor's call of the same round."""
        return Samples(_differences(self.wall, floor.wall), _differences(self.cpu, floor.cpu))


def take_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, Samples]:
    """Makes every call once a round, each round beginning with another; returns what each took."""
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


def _differences(samples: Sequence[int], floor: Sequence[int]) -> list[int]:
    return [ns - floor_ns for ns, floor_ns in zip(samples, floor, strict=True)]

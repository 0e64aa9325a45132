"""Which processor core measures and which one plays the provider, where the system lets a process choose."""

import os


def pin(core: int | None) -> None:
    """Keeps this process on `core`; None leaves it wherever it is."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def two_cores() -> tuple[int | None, int | None]:
    """(measuring, provider): two cores of this machine, or twice None where a process has no choice."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)

"""Pins the measuring process and the provider to different processor cores, if the system supports it."""

import os


def pin(core: int | None) -> None:
    """Pins this process to `core`. Does nothing if it is None."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def two_cores() -> tuple[int | None, int | None]:
    """Returns the measuring core and the provider's core; (None, None) without a second core or without pinning."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)

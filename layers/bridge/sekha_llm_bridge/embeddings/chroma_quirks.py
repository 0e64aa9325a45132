"""Whether a record is the same after it has been through Chroma, and how one is written over another.

Chroma 1.5 does not read decimals quite exactly, so a number in metadata may come back with another last bit; and where
it measures by the cosine it keeps vectors as direction and length, and gives back what these come to in float32.
"""

from collections.abc import Mapping
from math import isclose
from typing import Any

_LAST_BITS = 1e-15  # of a number, relative to it
_ROUNDING = 4e-7  # of a vector's length: twice what rounding to float32 three times comes to


def is_equal_value(one: object, other: object) -> bool:
    """Whether two documents or metadata, or parts of these, are the same: types included, a number's last bits not."""
    if type(one) is not type(other):
        return False
    match one, other:
        case float(), float():
            return isclose(one, other, rel_tol=_LAST_BITS)
        case list(), list():
            return len(one) == len(other) and all(map(is_equal_value, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(is_equal_value(one[key], other[key]) for key in one)
    return one == other


def is_equal_vector(one: Any, other: Any, *, rounds: bool) -> bool:
    """Whether two float32 arrays are equal bit for bit, or, of a collection that `rounds`, but for that."""
    import numpy

    if one.shape != other.shape:
        return False
    if one.tobytes() == other.tobytes():
        return True
    wanted, found = one.astype(numpy.float64), other.astype(numpy.float64)
    return rounds and bool(numpy.abs(wanted - found).max(initial=0.0) <= _ROUNDING * numpy.linalg.norm(wanted))


def metadata_replacing(metadata: Mapping[str, Any] | None, held: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metadata as they must be written over those that are `held`: Chroma keeps keys that are not named, and takes
    away those that are null.
    """
    return {**dict.fromkeys(held or ()), **(metadata or {})}

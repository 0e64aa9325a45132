"""Splits texts that are too long for a context window. Nothing is lost: the parts together are the texts."""

from collections.abc import Sequence
from itertools import accumulate

_MIN_CHARACTERS = 400  # a smaller part is not worth a call
_BOUNDARIES = ("\n\n", "\n", ". ", " ")


def halves(texts: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Returns two parts of about the same length, split between two texts, or inside a single one; None where they
    would be too small.
    """
    total = sum(map(len, texts))
    if total < _MIN_CHARACTERS:
        return None
    if len(texts) == 1:
        at = _boundary_near_middle(texts[0])
        return [texts[0][:at]], [texts[0][at:]]
    ends = list(accumulate(map(len, texts)))[:-1]
    at = min(range(len(ends)), key=lambda index: abs(ends[index] - total / 2)) + 1
    return list(texts[:at]), list(texts[at:])


def _boundary_near_middle(text: str) -> int:
    """Returns where to split: after the paragraph, line, sentence or word that ends nearest to the middle, within its
    middle half.
    """
    first, middle, last = len(text) // 4, len(text) // 2, len(text) * 3 // 4
    for boundary in _BOUNDARIES:
        before, after = text.rfind(boundary, first, middle), text.find(boundary, middle, last)
        found = [at + len(boundary) for at in (before, after) if at != -1]
        if found:
            return min(found, key=lambda at: abs(at - middle))
    return middle

"""Fields of a request that the bridge does not know: a typo in one of its own is refused, all others are passed on."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS, BOUNDED_FIELDS
from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import UnknownFields
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.providers import is_gateway_field
from sekha_llm_bridge.routing import Candidate

_MAX_SHOWN_CHARACTERS = 60
_MAX_SHOWN_NAMES = 10
_SHORT_NAME = 6  # a name of so few letters has too many neighbours that mean something else: mask and task


def check_unknown_fields(
    body: Mapping[str, Any], known: Collection[str], *, own: Collection[str], settings: Settings
) -> list[str]:
    """Returns the `unknown_names` of `body`.

    Raises `InvalidRequest` as `check_misspelt_fields` does; and for any unknown name where `routing.unknown_fields` is
    `refuse`, unless a provider's `allow_fields` has it.
    """
    unknown = check_misspelt_fields(body, known, own=own)
    if unknown and settings.routing.unknown_fields is UnknownFields.REFUSE:
        allowed = {path for provider in settings.providers for path in provider.allow_fields}
        if refused := [name for name in unknown if name not in allowed]:
            remedy = "leave them out, or add them to a provider's `allow_fields`"
            raise InvalidRequest(f"unknown to the bridge: {_joined(refused)}; {remedy}", param=_shown(refused[0]))
    return unknown


def check_misspelt_fields(body: Mapping[str, Any], known: Collection[str], *, own: Collection[str]) -> list[str]:
    """Returns the `unknown_names` of `body`.

    Raises `InvalidRequest` for one that is nearly one of `own`, the bridge's own fields, because a limit must not be
    lost to a typo.
    """
    unknown = unknown_names(body, known)
    for name in unknown:
        if name not in BOUNDED_FIELDS and (meant := nearest_own_name(name, own)) is not None:
            raise InvalidRequest(f"{_shown(name)}: did you mean {meant}?", param=_shown(name))
    return unknown


def unknown_names(body: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Returns the sorted names of the fields that are neither `known`, nor known to be billed, nor for a gateway."""
    others = body.keys() - known
    if not others:
        return []
    return sorted(name for name in others if name not in BILLABLE_FIELDS and not is_gateway_field(name))


def notes_on_unknown_fields(names: Collection[str], candidate: Candidate, *, is_original: bool = False) -> list[str]:
    """Returns the note on unknown fields of a request to a provider; none where its `allow_fields` has them all. Under
    a cost limit, one that was sent as it came has none of them (`is_original`).
    """
    names = [name for name in names if name not in candidate.entry.provider.allow_fields]
    if not names:
        return []
    is_limited = candidate.price_ceiling is not None and not candidate.entry.is_free
    if is_limited and is_original:
        return [f"left out under the cost limit, unknown to the bridge: {_joined(names)}; see `allow_fields`"]
    bound = "; the cost limit does not cover what they may cost" if is_limited else ""
    return [f"passed on, unknown to the bridge: {_joined(names)}{bound}"]


def nearest_own_name(name: str, own: Collection[str]) -> str | None:
    """Returns the own field that a name differs from by a typo, by its spelling (`maxCost`) or by more words
    (`max_cost_usd`); None where it is none of these.
    """
    letters = _letters(name)
    return next((one for one in sorted(own) if name != one and _is_near(letters, _letters(one))), None)


def _is_near(letters: str, own: str) -> bool:
    if letters == own or (len(own) > _SHORT_NAME and letters.startswith(own)):
        return True
    if len(own) > _SHORT_NAME:
        return edit_distance(letters, own) <= 2
    return len(letters) != len(own) and edit_distance(letters, own) == 1


def edit_distance(one: str, other: str) -> int:
    """Returns how many letters must be inserted, removed, replaced or swapped with their neighbour to get `other`; at
    least 3 where the lengths differ by more than 2.
    """
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    previous = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, wanted in enumerate(other, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], before[j - 2] + 1)
        before, previous = previous, row
    return previous[-1]


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _joined(names: Iterable[str]) -> str:
    shown = [_shown(name) for name in names]
    more = len(shown) - _MAX_SHOWN_NAMES
    return ", ".join(shown[:_MAX_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _shown(name: str) -> str:
    """Returns a caller's own name of a field, without what could break a line, and not endless."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_MAX_SHOWN_CHARACTERS])

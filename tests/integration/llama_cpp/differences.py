"""Finds where two answers of the same API differ."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tests.integration.llama_cpp.cases import Json
from tests.integration.llama_cpp.sides import Answer

ABSENT = "absent"
_IDS = frozenset({"id", "item_id", "call_id"})
_TIMES = frozenset({"created_at", "completed_at"})
_ADDED = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "response.output_text.delta": "delta",
    "response.function_call_arguments.delta": "delta",
}


class Difference(NamedTuple):
    """Something that differs. `where` is a path of fields, which begins with the type of an event of a stream, and in
    which the positions in lists are left out; `own` is llama.cpp's value there, or `ABSENT`. An event that only one side
    sends is a difference at its type.
    """

    where: str
    own: Any
    bridge: Any


def differences(own: Answer, bridge: Answer) -> Iterator[Difference]:
    """Yields what differs between two whole answers, and between their streams."""
    for one, other, where in (
        (own.status, bridge.status, "status"),
        (own.stream_status, bridge.stream_status, "stream"),
    ):
        if one != other:
            yield Difference(where, one, other)
    if own.status == bridge.status:
        yield from _in_values(own.body, bridge.body, "")
    if own.stream_status == bridge.stream_status:
        yield from _in_streams(joined(own.events), joined(bridge.events))


def joined(events: Sequence[Json]) -> list[Json]:
    """The events, in which deltas of the same kind that follow each other are one."""
    found: list[Json] = []
    for event in events:
        name, before = added_to(event), found[-1] if found else {}
        if name is None or added_to(before) != name or event["type"] != before["type"]:
            found.append(_copy(event))
        else:
            _holder(before)[name] += _holder(event)[name]
    return found


def pieces(events: Sequence[Json]) -> list[str]:
    """What the deltas add, one by one."""
    return [_holder(event)[name] for event in events if (name := added_to(event)) is not None]


def added_to(event: Json) -> str | None:
    """The name of the field with what a delta adds; None for an event that adds nothing."""
    return _ADDED.get(_holder(event).get("type", "")) if event else None


def _holder(event: Json) -> Json:
    """The object in which a delta has what it adds: Anthropic's events have an object for it."""
    delta = event.get("delta")
    return delta if isinstance(delta, dict) else event


def _copy(event: Json) -> Json:
    delta = event.get("delta")
    return {**event, "delta": dict(delta)} if isinstance(delta, dict) else dict(event)


def _in_streams(own: Sequence[Json], bridge: Sequence[Json]) -> Iterator[Difference]:
    own_types, types = [event["type"] for event in own], [event["type"] for event in bridge]
    for _, start, end, other_start, other_end in SequenceMatcher(None, own_types, types, autojunk=False).get_opcodes():
        ours, theirs = bridge[other_start:other_end], own[start:end]
        if len(ours) == len(theirs):
            for one, other in zip(theirs, ours, strict=True):
                yield from _in_values(one, other, f"{one['type']}.")
        else:
            yield from (Difference(event["type"], "sent", ABSENT) for event in theirs)
            yield from (Difference(event["type"], ABSENT, "sent") for event in ours)


def _in_values(own: Any, bridge: Any, where: str) -> Iterator[Difference]:
    if isinstance(own, dict) and isinstance(bridge, dict):
        for name in own.keys() | bridge.keys():
            if name not in bridge or name not in own:
                yield Difference(where + name, own.get(name, ABSENT), bridge.get(name, ABSENT))
            else:
                yield from _in_field(name, own[name], bridge[name], where + name)
    elif isinstance(own, list) and isinstance(bridge, list) and len(own) == len(bridge):
        for one, other in zip(own, bridge, strict=True):
            yield from _in_values(one, other, where)
    elif own != bridge:
        yield Difference(where.removesuffix("."), own, bridge)


def _in_field(name: str, own: Any, bridge: Any, where: str) -> Iterator[Difference]:
    """Ids and times are never the same: their types are compared."""
    if name not in _IDS | _TIMES:
        yield from _in_values(own, bridge, f"{where}.")
    elif type(own) is not type(bridge):
        yield Difference(where, own, bridge)

"""The ids of tool calls, for providers that require unique ids of few letters."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

from sekha_llm_bridge.conversation import Json

ID_FIELDS = {"tool_use": "id", "tool_result": "tool_use_id"}
"""Where Anthropic's blocks of calls and of results have the id of the call."""

_ANTHROPIC_ID = r"[a-zA-Z0-9_-]+"


class CallIds:
    """Maps the ids of one conversation's calls and of their results, which may have come from any vendor.

    Calls without an id, and calls with the id of an earlier one (some vendors count from 0 in every answer), get ids of
    their own. A result belongs to the first call of its id that has none yet. `valid` returns a valid id for any text,
    always the same one.
    """

    def __init__(self, valid: Callable[[str], str]) -> None:
        self._valid = valid
        self._n_calls: dict[str, int] = {}  # by the ids as they were sent; an empty text stands for none
        self._n_results: dict[str, int] = {}

    def of_call(self, call_id: str | None) -> str:
        """Returns the id of the next call."""
        return self._numbered(call_id or "", _next(self._n_calls, call_id or ""))

    def of_result(self, call_id: str | None) -> str:
        """Returns the id of the call of the next result."""
        sent = call_id or ""
        number = _next(self._n_results, sent)
        return self._numbered(sent, min(number, self._n_calls.get(sent, 1)))

    def _numbered(self, sent: str, number: int) -> str:
        if not sent:
            return self._valid(f"call_without_id_{number}")
        return self._valid(sent if number == 1 else f"{sent} (call {number} of this id)")


def _next(counts: dict[str, int], key: str) -> int:
    counts[key] = counts.get(key, 0) + 1
    return counts[key]


def without_repeated(blocks: Iterable[Json]) -> Iterator[Json]:
    """Yields Anthropic's blocks of one message without the calls and results that it has twice, as some agents do."""
    seen: dict[tuple[str, object], Json] = {}
    for block in blocks:
        if (name := ID_FIELDS.get(block["type"])) is not None:
            key = (block["type"], block.get(name))
            if seen.setdefault(key, block) is not block and seen[key] == block:
                continue
        yield block


def anthropic_call_id(call_id: str) -> str:
    """Returns an id in the letters that Anthropic takes: `^[a-zA-Z0-9_-]+$`."""
    if re.fullmatch(_ANTHROPIC_ID, call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"

"""Puts the deltas of an answer into blocks, one after the other.

Anthropic's clients expect that a block has ended before the next one begins. Other vendors mix: some send the arguments
of several calls in turns. So only the first block that has not ended is sent on as it arrives; what belongs to later
ones waits.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import orjson

Event = dict[str, Any]


class _Waiting:
    """A block that has not ended. `key` says which deltas belong to it. `arguments` are those of a call, so far."""

    def __init__(self, key: object, start: Event) -> None:
        self.key = key
        self.start: Event | None = start
        self.deltas: list[Event] = []
        self.is_over = False
        self.arguments: list[str] | None = None

    @property
    def may_end(self) -> bool:
        """Whether nothing more can come once another block has begun: a call ends with its JSON object."""
        return self.is_over or self.arguments is None or _is_object("".join(self.arguments))


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


class BlockQueue:
    """The blocks of one answer. `start`, `add` and `end` take what arrives; `events` yields what can be sent now."""

    def __init__(self) -> None:
        self._blocks: deque[_Waiting] = deque()
        self._n_ended = 0

    @property
    def last_key(self) -> object:
        """The key of the latest block where it has not ended; else None."""
        return self._blocks[-1].key if self._blocks and not self._blocks[-1].is_over else None

    def start(self, key: object, block: Event, *, is_call: bool = False) -> None:
        """Begins a block, after those before it."""
        self._blocks.append(_Waiting(key, block))
        if is_call:
            self._blocks[-1].arguments = []

    def name(self, key: object, name: str) -> None:
        """Names a call that has begun without a name."""
        for block in self._blocks:
            if block.key == key and block.start is not None:
                block.start["name"] = name

    def add(self, key: object, delta: Event) -> None:
        """Adds a delta to the block with this key. What comes for a call after the end of its JSON is left out."""
        for block in reversed(self._blocks):
            if block.key == key:
                block.deltas.append(delta)
                if block.arguments is not None:
                    block.arguments.append(delta["partial_json"])
                return

    def end(self, key: object) -> None:
        """Ends a block: nothing more comes for it."""
        for block in self._blocks:
            if block.key == key:
                block.is_over = True

    def events(self, *, is_end: bool = False) -> Iterator[Event]:
        """Yields the events that can be sent now. `is_end`: the answer is complete, so all of them can."""
        while self._blocks:
            block = self._blocks[0]
            if block.start is not None:
                if block.start.get("name") == "" and not is_end:  # some vendors send a call's name after its id
                    return
                yield {"type": "content_block_start", "index": self._n_ended, "content_block": block.start}
                block.start = None
            for delta in block.deltas:
                yield {"type": "content_block_delta", "index": self._n_ended, "delta": delta}
            block.deltas.clear()
            if not (is_end or block.is_over or (len(self._blocks) > 1 and block.may_end)):
                return
            yield {"type": "content_block_stop", "index": self._n_ended}
            self._blocks.popleft()
            self._n_ended += 1

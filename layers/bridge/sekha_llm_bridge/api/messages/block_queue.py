"""Puts the deltas of an answer into blocks, one after the other.

Anthropic's clients expect that a block has ended before the next one begins. Other vendors mix: some send the arguments
of several calls in turns. So only the first block that has not ended is sent on as it arrives; what belongs to later
ones waits.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from sekha_llm_bridge.api.messages.response import UNNAMED

Event = dict[str, Any]


class _Waiting:
    """A block that has not ended. `arguments` are those of a call."""

    def __init__(self, start: Event) -> None:
        self.start: Event | None = start
        self.deltas: list[Event] = []
        self.is_over = False
        self.arguments: _Arguments | None = None

    @property
    def may_end(self) -> bool:
        """Whether nothing more can come once another block has begun: a call ends with its JSON object."""
        return self.is_over or self.arguments is None or self.arguments.is_object


class _Arguments:
    """The arguments of a call, as they come in pieces: each is looked at once, however many there are."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._n_read = 0
        self._depth = 0
        self._is_in_text = self._is_escaped = False
        self._is_object: bool | None = None  # known at the end of the first object

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    @property
    def is_object(self) -> bool:
        """Whether they are a whole JSON object."""
        while self._is_object is None and self._n_read < len(self._pieces):
            if any(map(self._ends_object, self._pieces[self._n_read])):
                self._is_object = _is_object("".join(self._pieces))
            self._n_read += 1
        return self._is_object is True

    def _ends_object(self, character: str) -> bool:
        if self._is_in_text:
            self._is_in_text = self._is_escaped or character != '"'
            self._is_escaped = character == "\\" and not self._is_escaped
            return False
        self._is_in_text = character == '"'
        self._depth += (character == "{") - (character == "}")
        return character == "}" and self._depth == 0


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


class BlockQueue:
    """The blocks of one answer. `start`, `add` and `end` take what arrives; `events` yields what can be sent now."""

    def __init__(self) -> None:
        self._blocks: dict[object, _Waiting] = {}  # by the key that says which deltas belong to it, in their order
        self._n_ended = 0

    @property
    def last_key(self) -> object:
        """The key of the latest block where it has not ended; else None."""
        last = next(reversed(self._blocks), None)
        return None if last is None or self._blocks[last].is_over else last

    def start(self, key: object, block: Event, *, is_call: bool = False) -> None:
        """Begins a block, after those before it. No other block has had its key."""
        self._blocks[key] = _Waiting(block)
        if is_call:
            self._blocks[key].arguments = _Arguments()

    def name(self, key: object, name: str) -> None:
        """Names a call that has begun without a name."""
        if (block := self._blocks.get(key)) is not None and block.start is not None:
            block.start["name"] = name

    def add(self, key: object, delta: Event) -> None:
        """Adds a delta to the block with this key. What comes for a call after the end of its JSON is left out."""
        if (block := self._blocks.get(key)) is not None:
            block.deltas.append(delta)
            if block.arguments is not None:
                block.arguments.add(delta["partial_json"])

    def end(self, key: object) -> None:
        """Ends a block: nothing more comes for it."""
        if (block := self._blocks.get(key)) is not None:
            block.is_over = True

    def events(self, *, is_end: bool = False) -> Iterator[Event]:
        """Yields the events that can be sent now. `is_end`: the answer is complete, so all of them can."""
        while self._blocks:
            key, block = next(iter(self._blocks.items()))
            if block.start is not None:
                if block.start.get("name") == "":  # some vendors send a call's name after its id
                    if not is_end:
                        return
                    block.start["name"] = UNNAMED
                yield {"type": "content_block_start", "index": self._n_ended, "content_block": block.start}
                block.start = None
            for delta in block.deltas:
                yield {"type": "content_block_delta", "index": self._n_ended, "delta": delta}
            block.deltas.clear()
            if not (is_end or block.is_over or (len(self._blocks) > 1 and block.may_end)):
                return
            yield {"type": "content_block_stop", "index": self._n_ended}
            del self._blocks[key]
            self._n_ended += 1

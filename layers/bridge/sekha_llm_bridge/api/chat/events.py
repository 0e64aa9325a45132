"""From the chunks of an answer to the events that a caller gets."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.sse import DONE, event
from sekha_llm_bridge.providers import ChatChunk, has_content

_FRAME = ("id", "object", "created", "model")


class ChunkEvents:
    """The events of an answer's chunks. What they say goes out at once; the finish reasons come together in the chunk
    that ends the answer, which waits until all is settled. So none is seen before the end, whoever sends them early.

    What a vendor tells in a chunk without choices goes with the next that has some: many clients look at the first
    choice of whatever comes.
    """

    def __init__(self, *, with_usage: bool) -> None:
        self._more = {"usage": None} if with_usage else {}
        self._with_usage = with_usage
        self._aside: dict[str, Any] = {}
        self._frame: dict[str, Any] = {}
        self._ends: dict[int, dict[str, Any]] = {}

    def of(self, chunk: ChatChunk) -> bytes:
        """The event that can go out by now, or nothing."""
        body, choices = chunk.body, [said for choice in chunk.body["choices"] if (said := self._said(choice))]
        self._frame = {name: value for name, value in body.items() if name in _FRAME}
        if not choices:
            self._aside |= {name: value for name, value in body.items() if name not in {*_FRAME, "choices"}}
            return b""
        aside, self._aside = self._aside, {}
        return event({**aside, **body, "choices": choices, **self._more})

    def end(self, usage: Mapping[str, Any], receipt: Mapping[str, object]) -> bytes:
        """The rest of a whole answer."""
        ends = [self._ends[index] for index in sorted(self._ends)]
        last = {**self._aside, **self._frame, "choices": ends, **self._more}
        if not self._with_usage:
            return event({**last, "bridge": receipt}) + DONE
        return event(last) + event({**self._frame, "choices": [], "usage": usage, "bridge": receipt}) + DONE

    def _said(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """What is to be told of a choice now: nothing of one that only ends. Its delta waits with the end."""
        waiting = self._ends.get(choice["index"])
        if waiting is not None and waiting["delta"]:
            choice = {**choice, "delta": {**waiting["delta"], **choice["delta"]}}
            self._ends[choice["index"]] = {**waiting, "delta": {}}
        if choice["finish_reason"] is None:
            return choice
        if not has_content(choice["delta"]):
            self._ends[choice["index"]] = choice
            return None
        told_with_it = {"logprobs": None} if "logprobs" in choice else {}
        self._ends[choice["index"]] = {**choice, "delta": {}, **told_with_it}
        return {**choice, "finish_reason": None}

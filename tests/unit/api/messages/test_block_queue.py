"""The blocks of a streamed answer, one after the other, whatever the order in which their deltas come."""

from collections.abc import Iterator
from typing import Any

import pytest

from sekha_llm_bridge.api.messages.block_queue import BlockQueue


class Piece(str):
    """A piece of arguments that counts how often its characters are read."""

    n_reads = 0

    def __iter__(self) -> Iterator[str]:
        self.n_reads += 1
        return super().__iter__()


def delta(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def two_calls() -> BlockQueue:
    queue = BlockQueue()
    for key in (0, 1):
        queue.start(key, {"type": "tool_use", "name": "f"}, is_call=True)
    return queue


def types(queue: BlockQueue) -> list[str]:
    return [event["type"].removeprefix("content_block_") for event in queue.events()]


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"a": ', "1", "}"],
        ["{}"],
        [' {"a": {"b": [{}]}', " }"],
        ['{"a": "}', '"}'],
        ['{"a": "\\', '"}', '"}'],
        ['{"a": "\\\\', '"}'],
    ],
)
def test_a_call_ends_with_its_object_when_another_block_has_begun(pieces: list[str]) -> None:
    queue = two_calls()
    assert types(queue) == ["start"]
    for piece in pieces[:-1]:
        queue.add(0, delta(piece))
        assert types(queue) == ["delta"]
    queue.add(0, delta(pieces[-1]))
    assert types(queue) == ["delta", "stop", "start"]


@pytest.mark.parametrize("text", ["", "[{}]", "{a}", "}{", "null", '"{}"'])
def test_a_call_without_a_whole_object_waits_for_the_end_of_the_answer(text: str) -> None:
    queue = two_calls()
    queue.add(0, delta(text))
    assert "stop" not in types(queue)
    assert [event["type"] for event in queue.events(is_end=True)].count("content_block_stop") == 2


def test_each_piece_of_the_arguments_is_read_once_however_many_there_are() -> None:
    queue = two_calls()
    pieces = [Piece('{"a": "'), *(Piece("x") for _ in range(100)), Piece('"}')]
    for piece in pieces:
        queue.add(0, delta(piece))
        list(queue.events())
    assert {piece.n_reads for piece in pieces} == {1}

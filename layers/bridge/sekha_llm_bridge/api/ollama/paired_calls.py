"""Gives each call a result, and each result a call. Other formats require both; Ollama takes them alone, as clients
leave them that shorten a long conversation or are interrupted, and gets them so.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from sekha_llm_bridge.conversation import ADDED, Message, Role, Text, ToolCall

_NO_RESULT = Text("(There is no result of this call.)")
_UNNAMED = "tool"


def with_paired_calls(messages: Sequence[Message]) -> Iterator[Message]:
    """Yields the messages; calls without a result get one that says so, after the results of their message, and results
    without a call get one before them, without arguments.
    """
    called = {call_id for message in messages for call_id in _call_ids(message)}
    answered = {message.call_id for message in messages if message.role is Role.TOOL}
    missing: list[Message] = []
    for are_results, group in groupby(messages, lambda message: message.role is Role.TOOL):
        if are_results:
            results = list(group)
            yield from (result for result in results if result.call_id in called)
            yield from missing
            yield from _with_calls([result for result in results if result.call_id not in called])
            missing = []
            continue
        for message in group:
            yield from missing
            yield message
            missing = [_no_result(call_id) for call_id in _call_ids(message) if call_id not in answered]
    yield from missing


def _call_ids(message: Message) -> Iterable[str | None]:
    return (block.call_id for block in message.blocks if type(block) is ToolCall)


def _no_result(call_id: str | None) -> Message:
    return Message(Role.TOOL, (_NO_RESULT,), call_id=call_id, extra=ADDED)


def _with_calls(results: Sequence[Message]) -> Iterator[Message]:
    if results:
        calls = (ToolCall(one.call_id, str(one.extra.get("tool_name") or _UNNAMED), "{}") for one in results)
        yield Message(Role.ASSISTANT, tuple(calls), extra=ADDED)
        yield from results

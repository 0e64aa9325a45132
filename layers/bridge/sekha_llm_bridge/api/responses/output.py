"""Builds the output items of an answer, and the events that announce them, in OpenAI's order.

A whole answer is built as a stream whose events nobody reads, so that both have the same items. A message, and a part
of the reasoning, ends when anything else begins. So does a call whose arguments are whole, because clients such as agno
read one call at a time; another one stays open, because some providers send fragments of several calls in turns.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sekha_llm_bridge.api.responses.annotations import annotations_of
from sekha_llm_bridge.api.responses.items import CallItem, Event, Item, MessageItem, Phase, ReasoningItem, Status
from sekha_llm_bridge.api.responses.logprobs import token_logprobs
from sekha_llm_bridge.api.responses.tools import Tools
from sekha_llm_bridge.conversation import (
    Choice,
    ChoiceDelta,
    FinishReason,
    Json,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
)

_INCOMPLETE_REASONS = {
    FinishReason.LENGTH.value: "max_output_tokens",
    FinishReason.CONTENT_FILTER.value: "content_filter",
}


class OutputRules(NamedTuple):
    """How the answer to one request is written. `wants_summary`: reasoning is a summary, else it is content;
    `wants_encrypted`: every reasoning item has an `encrypted_content`; `is_sequential`: only the first call of a tool
    is in the answer, which OpenAI promises where the request forbids parallel calls, and many servers ignore.
    """

    tools: Tools = Tools()
    wants_summary: bool = False
    wants_encrypted: bool = False
    is_sequential: bool = False


def incomplete_reason(finish_reason: str | None) -> str | None:
    """Returns why an answer is not complete; None for one that is."""
    return _INCOMPLETE_REASONS.get(finish_reason or "")


def output_items(choice: Choice, rules: OutputRules) -> list[Json]:
    """Returns the output items of a whole answer."""
    output = Output(rules)
    for delta in _deltas(choice):
        output.add(delta)
    output.finish(choice.finish_reason)
    return output.items


def _deltas(choice: Choice) -> Iterator[ChoiceDelta]:
    """Yields the blocks of a whole answer in their order, each as a delta."""
    logprobs, n_calls = choice.logprobs, 0
    for block in choice.blocks:
        match block:
            case Reasoning():
                yield ChoiceDelta(reasoning=(block,))
            case Text(text, _, citations):
                yield ChoiceDelta(text=text, citations=citations, logprobs=logprobs)
                logprobs = None
            case Refusal(text):
                yield ChoiceDelta(refusal=text)
            case ToolCall():
                call = ToolCallDelta(n_calls, block.arguments, block.call_id, block.kind, block.name)
                yield ChoiceDelta(tool_calls=(call,))
                n_calls += 1
    yield ChoiceDelta(extra_delta=choice.extra_message)


class Output:
    """The output of one answer, as it grows."""

    def __init__(self, rules: OutputRules) -> None:
        self._rules = rules
        self._items: list[Item] = []
        self._open: MessageItem | ReasoningItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._unnamed: dict[int, list[ToolCallDelta]] = {}  # calls whose names are yet to come
        self._events: list[Event] = []

    @property
    def items(self) -> list[Json]:
        """The items so far."""
        return [item.body() for item in self._items]

    def add(self, delta: ChoiceDelta) -> list[Event]:
        """Returns the events for what a delta adds."""
        for thought in delta.reasoning:
            if thought.text or thought.signature or thought.encrypted:
                self._reasoning(thought).add(thought)
        if delta.text:
            self._message().add_text(delta.text, token_logprobs(delta.logprobs))
        if delta.refusal:
            self._message().add_refusal(delta.refusal)
        if found := annotations_of(delta):
            self._message().add_annotations(found)
        for call in delta.tool_calls:
            self._call(call)
        return self._taken()

    def finish(self, finish_reason: str | None) -> list[Event]:
        """Returns the events that end what is still open. An answer without any item gets an empty message."""
        for pieces in list(self._unnamed.values()):
            self._begin_call(pieces)
        if not self._items:
            self._message().add_text("", [])
        last, is_incomplete = self._items[-1], incomplete_reason(finish_reason) is not None
        if isinstance(last, MessageItem) and not is_incomplete and not self._calls:
            last.phase = Phase.FINAL_ANSWER
        for item in self._items:
            is_cut = item is last and is_incomplete
            item.close(Status.INCOMPLETE if is_cut else Status.COMPLETED)
        return self._taken()

    def _message(self) -> MessageItem:
        if isinstance(self._open, MessageItem):
            return self._open
        self._close_open()
        item = self._open = MessageItem(len(self._items), self._events)
        self._items.append(item)
        return item

    def _reasoning(self, piece: Reasoning) -> ReasoningItem:
        if isinstance(self._open, ReasoningItem) and self._open.continues_with(piece):
            return self._open
        self._close_open()
        rules = self._rules
        item = self._open = ReasoningItem(
            len(self._items), self._events, is_summary=rules.wants_summary, is_packed=rules.wants_encrypted
        )
        self._items.append(item)
        return item

    def _call(self, delta: ToolCallDelta) -> None:
        """Adds a piece of a call. It begins with its name, which some vendors send after its id."""
        if (call := self._calls.get(delta.position)) is not None:
            call.add(delta.arguments)
            return
        if self._rules.is_sequential and (self._calls or self._unnamed.keys() - {delta.position}):
            return
        pieces = self._unnamed.setdefault(delta.position, [])
        pieces.append(delta)
        if delta.name:
            self._begin_call(pieces)

    def _begin_call(self, pieces: Sequence[ToolCallDelta]) -> None:
        first, last = pieces[0], pieces[-1]
        if isinstance(self._open, MessageItem):
            self._open.phase = Phase.COMMENTARY
        self._close_open()
        tool = self._rules.tools.called(last.name or "")
        call = self._calls[first.position] = CallItem(len(self._items), self._events, tool, first.call_id)
        self._items.append(call)
        call.add("".join(piece.arguments for piece in pieces))
        del self._unnamed[first.position]

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close(Status.COMPLETED)
            self._open = None
        for call in self._calls.values():
            if call.is_whole:
                call.close(Status.COMPLETED)

    def _taken(self) -> list[Event]:
        events, self._events[:] = list(self._events), []
        return events

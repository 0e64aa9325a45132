"""Normalises streamed answers in OpenAI's format, chunk by chunk, and decides when an answer is complete."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sekha_llm_bridge.conversation import NO_FIELDS, AnswerChunk, AnswerState, Json
from sekha_llm_bridge.providers.base import malformed_answer, malformed_answer_guard
from sekha_llm_bridge.providers.event_stream import DONE, parse_event
from sekha_llm_bridge.providers.failures import error_within_success
from sekha_llm_bridge.providers.openai.answer_blocks import delta_of
from sekha_llm_bridge.providers.openai.message_normaliser import MessageNormaliser, message_of
from sekha_llm_bridge.providers.openai.response import regular_choices, reject_error_finish
from sekha_llm_bridge.providers.single_choice import new_answer_id
from sekha_llm_bridge.providers.token_counts import is_count, read_chat_usage, regular_chat_usage

_EVENT_FIELDS = frozenset({"id", "object", "created", "model", "choices", "usage", "bridge"})
_ANSWER_FIELDS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio")


class ChunkReader:
    """Normalises the chunks of one answer: one id for all, one role per choice, distinct indexes for choices and tool
    calls.

    `n_choices` is the number of choices that the request asks for. `unix_time_s` returns the current time, for vendors
    that send no `created`. `state` follows the finish reasons: only they show that an answer is complete. The end of
    the connection and `[DONE]` also follow answers that were cut off. `has_received_done`: `[DONE]` has arrived.
    `is_hour_cache`: see `read_usage`.
    """

    def __init__(self, n_choices: int, unix_time_s: Callable[[], int], *, is_hour_cache: bool = False) -> None:
        self.state = AnswerState.OPEN
        self.has_received_done = False
        self._n_choices = n_choices
        self._unix_time_s = unix_time_s
        self._is_hour_cache = is_hour_cache
        self._has_continued = False  # some choice went on after its finish reason
        self._answer_id: str | None = None
        self._created = 0
        self._choices: dict[int, _ChoiceState] = {}

    def read_events(self, events: Iterable[bytes], *, request: Json, is_whole: bool = False) -> Iterator[AnswerChunk]:
        """Yields the chunk of each event up to `[DONE]`. `request` is the request that was sent. `is_whole`: the only
        event is a complete answer.

        Raises `ProviderError` for an error event, or MALFORMED_ANSWER.
        """
        for data in events:
            if data.strip() == DONE:
                self.has_received_done = True
                return
            with malformed_answer_guard(None):
                event = parse_event(data)
                if error := event.get("error") or (event if event.get("object") == "error" else None):
                    raise error_within_success({"error": error, "usage": event.get("usage")}, request=request)
                if _has_no_delta(event) if is_whole else not self._choices and _is_whole_answer(event):
                    with malformed_answer_guard(read_chat_usage(event.get("usage"))):
                        chunk = self.read_unstreamed(event)
                else:
                    chunk = self.read(event)
            yield chunk

    def require_complete(self) -> None:
        """Raises `ProviderError` (MALFORMED_ANSWER) where the stream has ended before the answer was complete.

        After `[DONE]`, it is enough that every choice that began has had a finish reason: some vendors send fewer
        choices than requested, and some send more text after a finish reason.
        """
        has_every_finish = bool(self._choices) and all(choice.had_finish_reason for choice in self._choices.values())
        if self.state is AnswerState.OPEN and not (self.has_received_done and has_every_finish):
            raise malformed_answer("the provider's answer ended without a finish_reason: it was cut off")

    def read(self, event: dict[str, Any]) -> AnswerChunk:
        """Returns the normalised chunk of an event.

        Raises `ProviderError` (MALFORMED_ANSWER), and what Python raises for JSON values of unexpected types.
        """
        choices = self.regular_choices(event)
        if self._answer_id is None:
            sent_id, created = event.get("id"), event.get("created")
            self._answer_id = sent_id if isinstance(sent_id, str) and sent_id else new_answer_id()
            self._created = created if is_count(created) and created else self._unix_time_s()
        provider_usage = regular_chat_usage(event.get("usage"))
        deltas = tuple(map(delta_of, choices))
        return AnswerChunk(
            self._answer_id,
            self._created,
            deltas,
            any(delta.finish_reason is not None or delta.has_content for delta in deltas),
            self.state,
            read_chat_usage(provider_usage, is_hour_cache=self._is_hour_cache),
            provider_usage,
            NO_FIELDS
            if event.keys() <= _EVENT_FIELDS
            else {name: value for name, value in event.items() if name not in _EVENT_FIELDS},
        )

    def regular_choices(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the choices of an event, with a regular delta each."""
        choices = [self._choice(position, choice) for position, choice in enumerate(event.get("choices") or ())]
        self._record_finish_reasons(choices)
        return choices

    def read_unstreamed(self, answer: dict[str, Any]) -> AnswerChunk:
        """Returns the only chunk of a complete answer: some servers send one although a stream was requested."""
        choices = [{"delta": _indexed(choice.pop("message")), **choice} for choice in regular_choices(answer)]
        for choice in choices:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        self._n_choices = len(choices)  # no other choice can follow
        return self.read({**answer, "choices": choices})

    def _choice(self, position: int, choice: dict[str, Any]) -> dict[str, Any]:
        finish = choice.get("finish_reason")
        reject_error_finish(choice)
        index = choice["index"] if is_count(choice.get("index")) else position
        state = self._choices.setdefault(index, _ChoiceState())
        kept = choice if "delta" in choice else {name: choice[name] for name in choice.keys() - {"message", "text"}}
        return {
            **kept,
            "index": index,
            "delta": state.normalise(choice),
            "finish_reason": finish if isinstance(finish, str) and finish else None,
        }

    def _record_finish_reasons(self, choices: list[dict[str, Any]]) -> None:
        """Updates `state`. Called after the whole chunk was normalised: the finish reason in a malformed chunk would
        never reach the client.
        """
        for choice in choices:
            state = self._choices[choice["index"]]
            has_finish_reason = choice["finish_reason"] is not None
            has_continued = state.is_finished and _has_answer_content(choice["delta"])
            self._has_continued |= has_continued
            state.is_finished = has_finish_reason or (state.is_finished and not has_continued)
            state.had_finish_reason |= has_finish_reason
        all_finished = bool(self._choices) and all(state.is_finished for state in self._choices.values())
        if not all_finished or len(self._choices) < self._n_choices:
            self.state = AnswerState.OPEN
        else:
            self.state = AnswerState.MAY_CONTINUE if self._has_continued else AnswerState.FINISHED


class _ChoiceState:
    """What has arrived of one choice.

    `had_finish_reason`: some chunk had one. `is_finished`: some chunk had one, and no content has followed.
    """

    def __init__(self) -> None:
        self.is_finished = False
        self.had_finish_reason = False
        self.message = MessageNormaliser()
        self._text = ""  # of servers that repeat the whole message in every chunk

    def normalise(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Returns the regular delta of a chunk's choice."""
        delta = choice.get("delta")
        if delta is None and isinstance(message := message_of(choice, "message"), dict):
            delta = self._not_repeated(message)
        normalised = self.message.normalise_delta(delta or {})
        if choice.get("finish_reason") and (rest := self.message.finish()):
            normalised["tool_calls"] = [*normalised.get("tool_calls", ()), *rest]
        return normalised

    def _not_repeated(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns a message that stands in place of a delta, without the text that earlier chunks had."""
        text = message.get("content")
        if not isinstance(text, str):
            return message
        if self._text and text.startswith(self._text):
            message = {**message, "content": text[len(self._text) :]}
            self._text = text
        else:
            self._text += text
        return message


def join_chunks(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the complete answer of a server that streams although no stream was requested. Its choices have a finish
    reason only where the stream had one.

    Raises `ProviderError` (MALFORMED_ANSWER) for an answer that was cut off.
    """
    reader = ChunkReader(1, lambda: 0)
    choices: dict[int, dict[str, Any]] = {}
    for choice in (choice for event in events for choice in reader.regular_choices(event)):
        joined = choices.setdefault(choice["index"], {"index": choice["index"], "message": {}, "finish_reason": None})
        joined["finish_reason"] = choice["finish_reason"] or joined["finish_reason"]
        _add_delta(joined["message"], choice["delta"])
    if not choices or reader.state is AnswerState.OPEN:
        raise malformed_answer("the provider's answer ended without a finish_reason: it was cut off")
    usages = [event["usage"] for event in events if read_chat_usage(event.get("usage")) is not None]
    usage = {"usage": usages[-1]} if usages else {}
    return {**events[0], "choices": [choices[index] for index in sorted(choices)], **usage}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Adds a regular delta to a message as OpenAI's client does: texts are joined, fragments of calls by index."""
    for name, value in delta.items():
        if name == "tool_calls":
            calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
            for fragment in value:
                if fragment["index"] == len(calls):
                    calls.append(fragment)
                elif "function" in fragment:
                    calls[fragment["index"]]["function"]["arguments"] += fragment["function"]["arguments"]
        elif isinstance(value, str) and isinstance(message.get(name), str) and name != "role":
            message[name] += value
        elif value is not None or name not in message:
            message[name] = value


def _indexed(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a complete message as a delta: its calls have indexes."""
    if calls := message.get("tool_calls"):
        return {**message, "tool_calls": [{**call, "index": index} for index, call in enumerate(calls)]}
    return message


def _has_no_delta(event: dict[str, Any]) -> bool:
    """Returns whether an event may be a complete answer: chunks have deltas."""
    choices = event.get("choices")
    has_delta = isinstance(choices, list) and any(isinstance(one, dict) and "delta" in one for one in choices)
    return event.get("object") != "chat.completion.chunk" and not has_delta


def _is_whole_answer(event: dict[str, Any]) -> bool:
    """Returns whether the first event of a stream is a complete answer: each choice has a message and its finish
    reason. Some servers send one although a stream was requested.
    """
    choices = event.get("choices")
    if not _has_no_delta(event) or not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(one, dict) and "message" in one and one.get("finish_reason") for one in choices)


def _has_answer_content(delta: dict[str, Any]) -> bool:
    """Returns whether a delta continues the answer itself. A final line break and metadata do not."""
    return any(
        value.strip() if isinstance(value, str) else value for name in _ANSWER_FIELDS if (value := delta.get(name))
    )

"""Translates the input of a request to messages.

What one turn of the assistant consists of (reasoning, messages, calls, each an item of its own) becomes one message,
and each output of a call the message of its result: most providers accept calls in no other form. OpenAI pairs calls
and outputs by `call_id`, wherever they are; here each output follows on its call.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from mimetypes import guess_type
from typing import NamedTuple

from sekha_llm_bridge.api.conversations.images import is_web_url, media_of_url
from sekha_llm_bridge.api.conversations.packed_reasoning import is_packed, unpacked
from sekha_llm_bridge.api.responses.other_items import is_left_out
from sekha_llm_bridge.api.responses.request import ContentPart, InputItem
from sekha_llm_bridge.api.responses.tools import (
    INVALID_ARGUMENTS,
    ToolKind,
    arguments_of_input,
    arguments_of_search,
    as_object,
    found_text,
    function_name,
)
from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    Document,
    Image,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.providers.empty_objects import arguments_with_object

_ROLES = {role.value: role for role in Role}
_PDF = "application/pdf"
_TEXT_TYPES = r"text/.+|application/(?:.+\+)?(?:json|xml|yaml|toml|javascript|typescript|sql|x-sh|x-yaml)"
_INTERRUPTED = Text("(The call was interrupted: it has no output.)")
_INVALID = f'{{"{INVALID_ARGUMENTS}":'
_DETAILS = {"original": "high"}  # chat completions have no higher one


class Input(NamedTuple):
    """The messages of a request, and the notes on what was left out or added."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...] = ()


def input_of(instructions: str | None, sent: str | Sequence[InputItem]) -> Input:
    """Returns the messages of a request: the instructions first. Raises `InvalidRequest` for an output without call."""
    before = () if not instructions else (Message(Role.SYSTEM, (Text(instructions),)),)
    if isinstance(sent, str):
        return Input((*before, Message(Role.USER, (Text(sent),))))
    left_out = sorted({item.kind for item in sent if is_left_out(item.kind, item.execution)})
    messages, interrupted = _paired([*_messages(sent)])
    notes = [f"left out of the input, because other servers run these: {', '.join(left_out):.200}"] if left_out else []
    notes += [f"the arguments of a call were no JSON object: {call_id:.80}" for call_id in _invalid_calls(messages)]
    notes += [f"a call without an output was sent as an interrupted one: {call_id:.80}" for call_id in interrupted]
    return Input((*before, *messages), tuple(notes))


def _invalid_calls(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolCall) and block.arguments.startswith(_INVALID):
                yield block.call_id or ""


def _paired(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Returns the messages with each result after the message of its call, and the ids of calls without a result. Such
    a call gets one that says so where the conversation goes on: an interrupted turn must not end it.
    """
    results = _results(messages)
    last = max((i for i, message in enumerate(messages) if message.role is not Role.TOOL), default=-1)
    paired, interrupted = [], []
    for i, message in enumerate(messages):
        if message.role is Role.TOOL:
            continue
        paired.append(message)
        for call_id in dict.fromkeys(block.call_id or "" for block in message.blocks if isinstance(block, ToolCall)):
            if found := results.get((i, call_id)):
                paired.append(_result(call_id, [block for result in found for block in result.blocks]))
            elif i != last:
                interrupted.append(call_id)
                paired.append(_result(call_id, [_INTERRUPTED]))
    return paired, interrupted


def _results(messages: Sequence[Message]) -> dict[tuple[int, str], list[Message]]:
    """Returns the results by the place of the message with their call, which is the latest one of their id, and the id.
    Raises `InvalidRequest` for a result without a call.
    """
    places: dict[str, int] = {}
    results: dict[tuple[int, str], list[Message]] = {}
    for i, message in enumerate(messages):
        if message.role is not Role.TOOL:
            places |= {block.call_id or "": i for block in message.blocks if isinstance(block, ToolCall)}
            continue
        call_id = message.call_id or ""
        if call_id not in places:
            raise InvalidRequest(f"input: there is no call for the output of call_id {call_id:.80}", param="input")
        results.setdefault((places[call_id], call_id), []).append(message)
    return results


def _messages(items: Iterable[InputItem]) -> Iterator[Message]:
    turn: list[Block] = []
    for item in items:
        if item.kind == "additional_tools" or is_left_out(item.kind, item.execution):
            continue
        blocks = _assistant_blocks(item)
        if blocks is None:
            yield from _whole(turn)
            turn = []
            yield _other_message(item)
            continue
        if item.kind == "message" and (n_earlier := _n_before_a_new_message(turn)):
            yield from _whole(turn[:n_earlier])
            turn = turn[n_earlier:]
        turn += blocks
    yield from _whole(turn)


def _n_before_a_new_message(turn: Sequence[Block]) -> int:
    """Returns how many blocks of the turn belong to an earlier message: all up to its last text, unless it has calls,
    whose results must follow on them.
    """
    if any(isinstance(block, ToolCall) for block in turn):
        return 0
    texts = [i for i, block in enumerate(turn) if isinstance(block, Text | Refusal)]
    return texts[-1] + 1 if texts else 0


def _whole(turn: Sequence[Block]) -> Iterator[Message]:
    if not turn:
        return
    blocks = tuple(turn)
    if all(isinstance(block, Reasoning) for block in blocks):  # an answer that was stopped while the model reasoned
        blocks = (*blocks, Text(""))
    yield Message(Role.ASSISTANT, blocks, is_text=_is_text(blocks))


def _is_text(blocks: Sequence[Block]) -> bool:
    """Returns whether the content consists of texts, or is none at all because there are only calls. Many servers take
    lists of parts from the user only.
    """
    content = [block for block in blocks if not isinstance(block, Reasoning | ToolCall)]
    return all(isinstance(block, Text) for block in content) or [type(block) for block in content] == [Refusal]


def _assistant_blocks(item: InputItem) -> list[Block] | None:
    """Returns the blocks of an item that is part of a turn of the assistant; None for any other item."""
    match item.kind:
        case "reasoning":
            return [*_reasoning(item)]
        case "function_call":
            name = function_name(item.name or "", item.namespace)
            return [ToolCall(item.call_id, name, as_object(arguments_with_object(str(item.arguments or "{}"))))]
        case "tool_search_call":
            return [ToolCall(item.call_id, ToolKind.SEARCH.value, arguments_of_search(item.arguments))]
        case "custom_tool_call":
            name = function_name(item.name or "", item.namespace)
            return [ToolCall(item.call_id, name, arguments_of_input(item.input or ""))]
        case "message" if item.role == "assistant":
            return _content(item.content)
        case _:
            return None


def _other_message(item: InputItem) -> Message:
    if item.kind != "message":
        return _result(item.call_id or "", _content(found_text(item.tools) if item.tools is not None else item.output))
    blocks = tuple(_content(item.content)) or (Text(""),)
    role = _ROLES[item.role or ""]
    return Message(role, blocks, is_text=_is_text(blocks) and (role is not Role.USER or len(blocks) == 1))


def _result(call_id: str, blocks: Sequence[Block]) -> Message:
    blocks = tuple(blocks) or (Text(""),)
    return Message(Role.TOOL, blocks, call_id=call_id, is_text=_is_text(blocks))


def _reasoning(item: InputItem) -> tuple[Reasoning, ...]:
    """Returns the reasoning of an item: as the provider sent it, where the item still has that. What another server has
    encrypted is left out: it can be read with that server's keys alone, and a provider refuses a request for it.
    """
    own = item.encrypted_content if item.encrypted_content and is_packed(item.encrypted_content) else None
    if own is not None and (thoughts := unpacked(own)):
        return thoughts
    parts = item.content if isinstance(item.content, list) and item.content else item.summary
    text = "\n\n".join(part.text or "" for part in parts or ())
    return (Reasoning(text),) if text else ()


def _content(sent: str | Sequence[ContentPart] | None) -> list[Block]:
    if isinstance(sent, str):
        return [Text(sent)]
    return [_part(part) for part in sent or ()]


def _part(sent: ContentPart) -> Block:
    match sent.type:
        case "refusal":
            return Refusal(sent.refusal or "")
        case "input_image":
            return Image(media_of_url(sent.image_url or ""), _DETAILS.get(sent.detail or "", sent.detail))
        case "input_file":
            return Document(_file(sent), sent.filename)
        case "input_audio":
            audio = sent.input_audio or {}
            return Audio(audio["data"], audio["format"])
        case _:
            return Text(sent.text or "")


def _file(sent: ContentPart) -> Media:
    """Returns the content of a file. One that is a text by its type is a text for every provider."""
    if (data := sent.file_data) is None:
        return Media(url=sent.file_url) if sent.file_url is not None else Media(file_id=sent.file_id)
    has_scheme = data[:5].lower() == "data:" or is_web_url(data)
    guessed = guess_type(sent.filename or "")[0] or _PDF
    media = media_of_url(data) if has_scheme else Media(media_type=guessed, data=data)
    if media.data is None or re.fullmatch(_TEXT_TYPES, media.media_type or "") is None:
        return media
    try:
        return Media(media_type=media.media_type, text=b64decode(media.data).decode())
    except ValueError:  # no base64, or no UTF-8
        return media

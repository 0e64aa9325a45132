"""Translates the input of a request to messages.

What one turn of the assistant consists of (reasoning, messages, calls, each an item of its own) becomes one message,
and each output of a call the message of its result: most providers accept calls in no other form.
"""

from collections.abc import Iterable, Iterator, Sequence

from sekha_llm_bridge.api.conversations.images import is_web_url, media_of_url
from sekha_llm_bridge.api.conversations.packed_reasoning import is_packed, unpacked
from sekha_llm_bridge.api.responses.request import ContentPart, InputItem
from sekha_llm_bridge.api.responses.tools import (
    ToolKind,
    arguments_of_input,
    arguments_of_search,
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
    ReasoningKind,
    Refusal,
    Role,
    Text,
    ToolCall,
)

_ROLES = {role.value: role for role in Role}
_PDF = "application/pdf"


def messages_of(instructions: str | None, sent: str | Sequence[InputItem]) -> tuple[Message, ...]:
    """Returns the messages of a request: the instructions first."""
    before = () if instructions is None else (Message(Role.SYSTEM, (Text(instructions),)),)
    if isinstance(sent, str):
        return (*before, Message(Role.USER, (Text(sent),)))
    return (*before, *_messages(sent))


def _messages(items: Iterable[InputItem]) -> Iterator[Message]:
    turn: list[Block] = []
    for item in items:
        if item.kind == "additional_tools":
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
    """Returns whether the content is one text, or none at all because there are only calls. Many servers take no lists
    of parts where a text will do.
    """
    content = [block for block in blocks if not isinstance(block, Reasoning | ToolCall)]
    return [type(block) for block in content] in ([Text], [Refusal]) or (not content and bool(blocks))


def _assistant_blocks(item: InputItem) -> list[Block] | None:
    """Returns the blocks of an item that is part of a turn of the assistant; None for any other item."""
    match item.kind:
        case "reasoning":
            return [*_reasoning(item)]
        case "function_call":
            name = function_name(item.name or "", item.namespace)
            return [ToolCall(item.call_id, name, str(item.arguments or "{}"))]
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
    is_output = item.kind != "message"
    content = found_text(item.tools or ()) if item.kind == "tool_search_output" else item.output
    blocks = tuple(_content(content if is_output else item.content))
    role = Role.TOOL if is_output else _ROLES[item.role or ""]
    return Message(role, blocks, call_id=item.call_id if is_output else None, is_text=_is_text(blocks))


def _reasoning(item: InputItem) -> tuple[Reasoning, ...]:
    """Returns the reasoning of an item: as the provider sent it, where the item still has that."""
    own = item.encrypted_content if item.encrypted_content and is_packed(item.encrypted_content) else None
    if own is not None and (thoughts := unpacked(own)):
        return thoughts
    parts = item.content if isinstance(item.content, list) and item.content else item.summary
    text = "\n\n".join(part.text or "" for part in parts or ())
    others = item.encrypted_content or None if own is None else None
    kind = ReasoningKind.UNKNOWN if others is None else ReasoningKind.OPENAI
    thought = Reasoning(text, kind, encrypted=others, item_id=item.id)
    return (thought,) if thought.text or thought.encrypted else ()


def _content(sent: str | Sequence[ContentPart] | None) -> list[Block]:
    if isinstance(sent, str):
        return [Text(sent)]
    return [_part(part) for part in sent or ()]


def _part(sent: ContentPart) -> Block:
    match sent.type:
        case "refusal":
            return Refusal(sent.refusal or "")
        case "input_image":
            return Image(media_of_url(sent.image_url or ""), sent.detail)
        case "input_file":
            return Document(_file(sent), sent.filename)
        case "input_audio":
            audio = sent.input_audio or {}
            return Audio(audio["data"], audio["format"])
        case _:
            return Text(sent.text or "")


def _file(sent: ContentPart) -> Media:
    if (data := sent.file_data) is not None:
        has_scheme = data[:5].lower() == "data:" or is_web_url(data)
        return media_of_url(data) if has_scheme else Media(media_type=_PDF, data=data)
    return Media(url=sent.file_url) if sent.file_url is not None else Media(file_id=sent.file_id)

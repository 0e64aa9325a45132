"""Writes the messages and tools of a conversation in OpenAI's format."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    CacheControl,
    Document,
    Function,
    Image,
    Json,
    Media,
    Message,
    OtherBlock,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.providers.tool_results import document_text

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")


def message_body(message: Message) -> dict[str, Any]:
    """Returns a message. Reasoning is written as the caller has sent it; where it came from another format, as
    `reasoning_content`.
    """
    body: dict[str, Any] = {"role": message.role.value}
    if message.name is not None:
        body["name"] = message.name
    if message.call_id is not None:
        body["tool_call_id"] = message.call_id
    if message.is_text and len(message.blocks) == 1 and type(block := message.blocks[0]) is Text and not block.cache:
        body["content"] = block.text
    else:
        body |= _content_fields(message)
    if message.cache is not None:
        body["cache_control"] = cache_body(message.cache)
    return {**body, **message.extra} if message.extra else body


def _content_fields(message: Message) -> dict[str, Any]:
    calls, thoughts = [], []
    parts: list[Block] = []
    fields: dict[str, Any] = {}
    for block in message.blocks:
        match block:
            case ToolCall():
                calls.append(tool_call_body(block))
            case Reasoning():
                thoughts.append(block.text)
            case Refusal() if message.is_text:
                fields["refusal"] = block.text
            case _:
                parts.append(block)
    fields["content"] = _content(parts, is_text=message.is_text)
    if calls:
        fields["tool_calls"] = calls
    if any(thoughts) and not any(name in message.extra for name in REASONING_FIELDS):
        fields["reasoning_content"] = "".join(thoughts)
    return fields


def add_reasoning_details(bodies: Sequence[dict[str, Any]], messages: Sequence[Message]) -> None:
    """Adds `reasoning_details` in OpenRouter's form to the messages whose reasoning has more than a text: a signature,
    or a part that only its provider can read. Messages that were sent with such fields keep them.

    Source: OpenRouter's documentation, "Reasoning Tokens".
    """
    for body, message in zip(bodies, messages, strict=True):
        thoughts = [block for block in message.blocks if type(block) is Reasoning]
        if any(name in message.extra for name in REASONING_FIELDS):
            continue
        if any(thought.signature or thought.encrypted for thought in thoughts):
            body["reasoning_details"] = [{**detail, "index": index} for index, detail in enumerate(_details(thoughts))]


def _details(thoughts: Iterable[Reasoning]) -> Iterator[dict[str, Any]]:
    for thought in thoughts:
        is_summary = thought.kind is ReasoningKind.OPENAI
        head = {"format": thought.kind.value, **({} if thought.item_id is None else {"id": thought.item_id})}
        if is_summary and thought.text:
            yield {**head, "type": "reasoning.summary", "summary": thought.text}
        elif thought.text or thought.signature is not None:
            signature = {} if thought.signature is None else {"signature": thought.signature}
            yield {**head, "type": "reasoning.text", "text": thought.text, **signature}
        if thought.encrypted is not None:
            yield {**head, "type": "reasoning.encrypted", "data": thought.encrypted}


def _content(parts: list[Block], *, is_text: bool) -> str | list[dict[str, Any]] | None:
    if is_text and all(type(part) is Text and part.cache is None for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, Text)) if parts else None
    return [part_body(part) for part in parts]


def part_body(part: Block) -> dict[str, Any]:
    """Returns one part of a message's content."""
    match part:
        case Text(text, cache, _, extra):
            body = {"type": "text", "text": text, **extra}
        case Image(media, detail, cache, extra):
            body = _image_body(media, detail, extra)
        case Document(cache=cache) if part.media.text is not None:  # OpenAI's format has no documents that are texts
            body = {"type": "text", "text": document_text(part)}
        case Document(media, name, _, _, cache, extra):
            body = _document_body(media, name, extra)
        case Audio(data, form, extra):
            audio = {"data": data, "format": form, **extra.get("input_audio", {})}
            return {"type": "input_audio", **extra, "input_audio": audio}
        case Refusal(text):
            return {"type": "refusal", "refusal": text}
        case OtherBlock(_, fields):
            return dict(fields)
        case _:  # calls and reasoning are fields of the message
            raise TypeError(type(part).__name__)
    if cache is not None:
        body["cache_control"] = cache_body(cache)
    return body


def _image_body(media: Media, detail: str | None, extra: Json) -> dict[str, Any]:
    image: dict[str, Any] = {"url": _url(media)}
    if detail is not None:
        image["detail"] = detail
    return {"type": "image_url", **extra, "image_url": {**image, **extra.get("image_url", {})}}


def _document_body(media: Media, name: str | None, extra: Json) -> dict[str, Any]:
    file: dict[str, Any] = {} if name is None else {"filename": name}
    file |= {"file_id": media.file_id} if media.file_id is not None else {"file_data": _url(media)}
    return {"type": "file", **extra, "file": {**file, **extra.get("file", {})}}


def _url(media: Media) -> str:
    return media.url if media.url is not None else f"data:{media.media_type};base64,{media.data}"


def cache_body(cache: CacheControl) -> dict[str, Any]:
    """Returns a `cache_control` object."""
    ttl = {} if cache.ttl is None else {"ttl": cache.ttl}
    return {"type": "ephemeral", **ttl, **cache.extra}


def tool_call_body(call: ToolCall) -> dict[str, Any]:
    """Returns a tool call of a message. One without an id has none, either."""
    body: dict[str, Any] = {"id": call.call_id} if call.call_id is not None else {}
    body |= {"type": call.kind, **call.extra}
    if call.kind == "function":
        others = call.extra.get("function") or {}
        body["function"] = {"name": call.name, "arguments": call.arguments, **others}
    if call.cache is not None:
        body["cache_control"] = cache_body(call.cache)
    return body


def tool_body(tool: Tool) -> dict[str, Any]:
    """Returns a tool of a request."""
    if not isinstance(tool, Function):
        return dict(tool.fields)
    optional = {"description": tool.description, "parameters": tool.parameters, "strict": tool.is_strict}
    function = {"name": tool.name, **{name: value for name, value in optional.items() if value is not None}}
    body = {"type": "function", **tool.extra, "function": {**function, **tool.extra.get("function", {})}}
    if tool.cache is not None:
        body["cache_control"] = cache_body(tool.cache)
    return body


def tool_choice_body(choice: ToolChoice) -> object:
    """Returns the value of `tool_choice`: as it was sent, where that was OpenAI's form."""
    if choice.fields is not None:
        return choice.fields
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def output_format_body(output_format: OutputFormat) -> Json:
    """Returns the value of `response_format`: as it was sent, where that was OpenAI's form."""
    if output_format.fields or output_format.kind is not OutputFormatKind.JSON_SCHEMA:
        return output_format.fields or {"type": output_format.kind.value}
    optional = {"strict": output_format.is_strict, "description": output_format.description}
    shape = {"name": output_format.name or "answer", "schema": output_format.schema}
    return {
        "type": "json_schema",
        "json_schema": {**shape, **{name: value for name, value in optional.items() if value is not None}},
    }

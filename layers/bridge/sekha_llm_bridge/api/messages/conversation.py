"""Translates a request of the Messages API to the internal format. It has been validated by `MessagesRequest`.

The results of calls become messages of their own, before the rest of the user's message: other formats require that
they follow the calls. Consecutive messages of one role are one turn, as for Anthropic, and what is empty is left out:
many servers take neither.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import cast

from sekha_llm_bridge.api.conversations.packed_reasoning import is_packed
from sekha_llm_bridge.api.messages.effort import hinted_effort
from sekha_llm_bridge.api.messages.reasoning_marks import read_reasoning
from sekha_llm_bridge.api.messages.tool_names import short_name
from sekha_llm_bridge.api.messages.tool_schemas import whole_schema
from sekha_llm_bridge.api.parsing import json_text
from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    Block,
    CacheControl,
    Conversation,
    Document,
    Function,
    Image,
    Json,
    Media,
    Message,
    Original,
    OtherBlock,
    OtherTool,
    OutputFormat,
    OutputFormatKind,
    Parameters,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    WireFormat,
)
from sekha_llm_bridge.media.inspect import media_type_of
from sekha_llm_bridge.providers.call_ids import without_repeated
from sekha_llm_bridge.providers.call_inputs import input_object
from sekha_llm_bridge.providers.empty_objects import schema_with_objects

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_CHOICE_MODES = {
    "auto": ToolChoiceMode.AUTO,
    "none": ToolChoiceMode.NONE,
    "any": ToolChoiceMode.REQUIRED,
    "tool": ToolChoiceMode.NAMED,
}
_PARAMETERS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop_sequences": "stop"}
_TRANSLATED = frozenset(
    {
        *("messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format", "cache_control"),
        *("max_tokens", *_PARAMETERS),
    }
)
_SCHEMA_HOLDERS = ("properties", "$defs", "definitions")
_SCHEMA_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")


def conversation_of(fields: Json, headers: Mapping[str, str] = NO_FIELDS) -> Conversation:
    """Returns the conversation of a request without the bridge's own fields, `model` and `stream`. `headers` are those
    that belong to the format.
    """
    choice: Json = fields.get("tool_choice") or NO_FIELDS
    output: Json = fields.get("output_config") or NO_FIELDS
    tools = tuple(map(_tool, fields.get("tools") or ()))
    parameters = {other: value for name, other in _PARAMETERS.items() if (value := fields.get(name)) not in (None, [])}
    thinking: Json | None = fields.get("thinking")
    return Conversation(
        messages=(*_system(fields.get("system")), *_messages(fields["messages"])),
        tools=tools,
        tool_choice=_tool_choice(choice) if choice and tools else None,
        is_parallel=False if choice.get("disable_parallel_tool_use") else None,
        output_format=_output_format(output.get("format") or fields.get("output_format")),
        max_output_tokens=fields.get("max_tokens"),
        parameters=cast("Parameters", parameters),
        thinking=thinking,
        effort_hint=hinted_effort(thinking, output.get("effort")),
        cache=_cache(fields),
        vendor_fields={name: value for name, value in fields.items() if name not in _TRANSLATED},
        wire_format=WireFormat.ANTHROPIC,
        original=Original(WireFormat.ANTHROPIC, _without_foreign_reasoning(fields), headers),
    )


def _system(sent: str | list[Json] | None) -> tuple[Message, ...]:
    if not sent:
        return ()
    if isinstance(sent, str):
        return (Message(Role.SYSTEM, (Text(sent),)),)
    blocks = tuple(map(_block, filter(_is_filled, sent)))
    return (_with_parts(Role.SYSTEM, blocks),) if blocks else ()


def _messages(sent: Iterable[Json]) -> Iterable[Message]:
    kept = [one for one in sent if one["role"] != "assistant" or any(map(_is_filled, _content(one)))]
    if not kept:  # a prompt that every provider refuses
        yield Message(Role.USER, (Text(""),))
    for role, grouped in groupby(kept, key=lambda one: _ROLES[one["role"]]):
        messages = list(grouped)
        for turn in [[one] for one in messages] if role is Role.SYSTEM else [messages]:
            yield from _turn(role, turn)


def _turn(role: Role, sent: list[Json]) -> Iterable[Message]:
    """Yields the results of a turn, each as a message of its own, and the rest of it as one."""
    content = list(without_repeated(block for message in sent for block in _content(message)))
    extra = {name: value for one in sent for name, value in one.items() if name not in {"role", "content"}}
    yield from (_result(block) for block in content if block["type"] == "tool_result")
    others = [block for block in content if block["type"] != "tool_result"]
    if others or not content:
        blocks = tuple(map(_block, filter(_is_filled, others))) or (Text(""),)
        yield _with_parts(role, blocks)._replace(extra=extra or NO_FIELDS)


def _content(message: Json) -> list[Json]:
    content = message["content"]
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _is_filled(block: Json) -> bool:
    return block["type"] != "text" or bool(block["text"])


def _with_parts(role: Role, blocks: tuple[Block, ...]) -> Message:
    """Returns a message of blocks. A single text, and the texts of others than the user, may be sent as one text: some
    servers take no parts, and many take them from the user only.
    """
    is_single_text = len(blocks) == 1 and isinstance(blocks[0], Text)
    return Message(role, blocks, is_text=is_single_text or role is not Role.USER)


def _result(sent: Json) -> Message:
    content = sent.get("content")
    blocks = (Text(content or ""),) if not isinstance(content, list) else tuple(map(_block, content)) or (Text(""),)
    known = {"type", "tool_use_id", "content", "is_error", "cache_control"}
    return _with_parts(Role.TOOL, blocks)._replace(
        call_id=sent["tool_use_id"],
        is_error=bool(sent.get("is_error")),
        cache=_cache(sent),
        extra=_others(sent, known),
    )


def _others(sent: Json, known: Iterable[str]) -> Json:
    if sent.keys() <= set(known):
        return NO_FIELDS
    return {name: value for name, value in sent.items() if name not in known}


def _cache(sent: Json) -> CacheControl | None:
    value = sent.get("cache_control")
    if not isinstance(value, dict):
        return None
    return CacheControl(value.get("ttl"), _others(value, ("type", "ttl")))


def _block(sent: Json) -> Block:
    kind, cache = sent["type"], _cache(sent)
    match kind:
        case "text":
            citations = sent.get("citations")
            extra = _others(sent, ("type", "text", "citations", "cache_control"))
            return Text(sent["text"], cache, tuple(citations) if isinstance(citations, list) else (), extra)
        case "image":
            return Image(_media(sent["source"]), None, cache, _others(sent, ("type", "source", "cache_control")))
        case "document":
            return _document(sent, cache)
        case "tool_use":
            arguments = json_text(input_object(sent["input"]))
            extra = _others(sent, ("type", "id", "name", "input", "cache_control"))
            return ToolCall(sent["id"], short_name(sent["name"]), arguments, cache=cache, extra=extra)
        case "tool_reference":  # others are sent all tools, also those that Anthropic would load later
            return Text(f"The tool {short_name(str(sent.get('tool_name')))} is available.", cache)
        case "thinking" | "redacted_thinking":
            return read_reasoning(dict(sent))
        case _:
            return OtherBlock(kind, sent)


def _media(source: Json) -> Media:
    match source["type"]:
        case "url":
            return Media(url=source["url"])
        case "file":
            return Media(file_id=source["file_id"])
        case _:
            data = source["data"]
            return Media(media_type=media_type_of(data) or source["media_type"], data=data)


def _document(sent: Json, cache: CacheControl | None) -> Block:
    source = sent["source"]
    match source["type"]:
        case "text":
            media = Media(media_type="text/plain", text=source["data"])
        case "base64":
            media = Media(media_type=source["media_type"], data=source["data"])
        case "content":
            if (text := _text_of(source["content"])) is None:
                return OtherBlock("document", sent)
            media = Media(media_type="text/plain", text=text)
            cache = _longest_cache([cache, *_caches_within(source["content"])])
        case _:
            media = _media(source)
    citations = sent.get("citations")
    return Document(
        media,
        sent.get("title"),
        sent.get("context"),
        citations.get("enabled") if isinstance(citations, dict) else None,
        cache,
        _others(sent, ("type", "source", "title", "context", "citations", "cache_control")),
    )


def _caches_within(content: str | list[Json]) -> Iterable[CacheControl | None]:
    return map(_cache, content) if isinstance(content, list) else ()


def _longest_cache(marks: Iterable[CacheControl | None]) -> CacheControl | None:
    """Returns the mark that may cost most; None where there is none."""
    return max(filter(None, marks), key=lambda mark: mark.ttl not in (None, "5m"), default=None)


def _text_of(content: str | list[Json]) -> str | None:
    """Returns the text of a document in blocks; None where it has others than texts."""
    if isinstance(content, str):
        return content
    texts = [block.get("text") for block in content if block.get("type") == "text"]
    return "\n".join(map(str, texts)) if len(texts) == len(content) else None


def _tool(sent: Json) -> Tool:
    if sent.get("type") not in {None, "custom"}:
        return OtherTool(sent["type"], sent)
    known = ("type", "name", "description", "input_schema", "strict", "cache_control")
    schema = schema_with_objects(sent["input_schema"])
    return Function(
        short_name(sent["name"]),
        sent.get("description"),
        whole_schema(schema),
        True if sent.get("strict") and _is_closed(schema) else None,
        _cache(sent),
        _others(sent, known),
    )


def _tool_choice(sent: Json) -> ToolChoice:
    name = sent.get("name")
    return ToolChoice(_CHOICE_MODES[sent["type"]], None if name is None else short_name(name))


def _output_format(sent: Json | None) -> OutputFormat | None:
    if sent is None:
        return None
    schema = sent["schema"]
    return OutputFormat(OutputFormatKind.JSON_SCHEMA, schema=schema, is_strict=_is_closed(schema) or None)


def _is_closed(schema: object) -> bool:
    """Returns whether every object of a schema has no other than its own properties, and all of them: Anthropic holds a
    model to any schema, OpenAI strictly only to such a one.
    """
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    is_object = isinstance(properties, dict) or schema.get("type") == "object"
    required = schema.get("required")
    names = set(properties) if isinstance(properties, dict) else set()
    if is_object and (schema.get("additionalProperties") is not False or set(_texts(required)) != names):
        return False
    inner = [part for name in _SCHEMA_HOLDERS if isinstance(held := schema.get(name), dict) for part in held.values()]
    inner += [part for name in _SCHEMA_LISTS if isinstance(held := schema.get(name), list) for part in held]
    return all(map(_is_closed, [*inner, schema.get("items")]))


def _texts(value: object) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else ()


def _without_foreign_reasoning(fields: Json) -> Json:
    """Returns the request without the reasoning of other vendors' models, which Anthropic would reject."""
    if not any(_is_foreign(block) for message in fields["messages"] for block in _blocks(message)):
        return fields
    messages: list[Json] = []
    for message in fields["messages"]:
        kept = [block for block in _blocks(message) if not _is_foreign(block)]
        if isinstance(message["content"], str) or len(kept) == len(message["content"]):
            messages.append(message)
        elif kept:
            messages.append({**message, "content": kept})
    return {**fields, "messages": messages}


def _blocks(message: Json) -> list[Json]:
    content = message["content"]
    return content if isinstance(content, list) else []


def _is_foreign(block: Json) -> bool:
    return (block["type"] == "thinking" and is_packed(block.get("signature"))) or (
        block["type"] == "redacted_thinking" and is_packed(block.get("data"))
    )

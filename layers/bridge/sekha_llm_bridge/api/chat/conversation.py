"""Translates a chat request in OpenAI's format to the internal one. The request has been validated by `ChatRequest`.

Reasoning in earlier answers is read in every form that gateways give out (`reasoning_details` of OpenRouter,
`thinking_blocks` of LiteLLM, `reasoning_content`, `reasoning`), and also kept as it was sent, for providers of OpenAI's
format.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from sekha_llm_bridge.api.conversations.images import media_of_url
from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    Audio,
    Block,
    CacheControl,
    Conversation,
    Document,
    Function,
    Image,
    Json,
    Media,
    Message,
    OtherBlock,
    OtherTool,
    OutputFormat,
    OutputFormatKind,
    Parameters,
    Reasoning,
    ReasoningKind,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.providers.empty_objects import arguments_with_object, schema_with_objects

_PARAMETERS = frozenset(Parameters.__annotations__)
_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_ROLES = {role.value: role for role in Role}
_REASONING_KINDS = {kind.value: kind for kind in ReasoningKind}
_CHOICE_MODES = {"auto": ToolChoiceMode.AUTO, "none": ToolChoiceMode.NONE, "required": ToolChoiceMode.REQUIRED}
_FORMAT_KINDS = {kind.value: kind for kind in OutputFormatKind}


def conversation_of(fields: Json) -> Conversation:
    """Returns the conversation of a request without the bridge's own fields."""
    rest = dict(fields)
    messages = tuple(_message(message) for message in rest.pop("messages"))
    parameters = {name: rest.pop(name) for name in rest.keys() & _PARAMETERS}
    caps = [cap for name in _OUTPUT_LIMITS if (cap := rest.pop(name, None)) is not None]
    return Conversation(
        messages=messages,
        tools=tuple(_tool(tool) for tool in rest.pop("tools", None) or ()),
        tool_choice=_tool_choice(rest.pop("tool_choice", None)),
        is_parallel=_pop_typed(rest, "parallel_tool_calls", bool),
        output_format=_output_format(rest.pop("response_format", None)),
        max_output_tokens=min(caps, default=None),
        n_choices=rest.pop("n", None) or 1,
        parameters=cast("Parameters", parameters),
        thinking=_pop_typed(rest, "thinking", dict),
        cache=_pop_cache(rest),
        vendor_fields=rest,
    )


def _pop_typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    """Removes and returns a field of that type; a field of another type stays, for providers of OpenAI's format."""
    return fields.pop(name) if isinstance(fields.get(name), kind) else None


def _pop_cache(fields: dict[str, Any]) -> CacheControl | None:
    value = fields.get("cache_control")
    if not isinstance(value, dict) or value.get("type", "ephemeral") != "ephemeral":
        return None
    extra = _others(fields.pop("cache_control"), "type", "ttl")
    return CacheControl(value.get("ttl"), extra or NO_FIELDS)


def _others(fields: Json, *names: str) -> dict[str, Any]:
    """Returns the fields without those of these names, which stay where they are null: a typed field has no null."""
    return {name: value for name, value in fields.items() if name not in names or value is None}


def _message(sent: Json) -> Message:
    content = sent.get("content")
    is_text = not isinstance(content, list)
    blocks: tuple[Block, ...] = () if content is None else (Text(content),)
    if isinstance(content, list):
        blocks = tuple(_part(part) for part in content)
    if sent.keys() <= {"role", "content"}:
        return Message(_ROLES[sent["role"]], blocks, is_text=is_text)
    extra = {name: value for name, value in sent.items() if name not in _MESSAGE_FIELDS}
    cache = _pop_cache(extra)
    refusal = extra.pop("refusal") if is_text and isinstance(extra.get("refusal"), str) else None
    return Message(
        role=_ROLES[sent["role"]],
        blocks=(
            *_reasoning(extra),
            *blocks,
            *(() if refusal is None else (Refusal(refusal),)),
            *(_tool_call(call) for call in sent.get("tool_calls") or ()),
        ),
        name=sent.get("name"),
        call_id=sent.get("tool_call_id"),
        is_text=is_text,
        cache=cache,
        extra=extra or NO_FIELDS,
    )


def _part(sent: Json) -> Block:
    kind = sent["type"]
    rest = {name: value for name, value in sent.items() if name not in {"type", kind}}
    value = sent.get(kind)
    cache = _pop_cache(rest)
    extra = rest or NO_FIELDS
    match kind:
        case "text" if isinstance(value, str):
            return Text(value, cache, extra=extra)
        case "image_url" if isinstance(value, dict):
            inner = _others(value, "url", "detail")
            extra = {**rest, "image_url": inner} if inner else extra
            return Image(media_of_url(value["url"]), value.get("detail"), cache, extra)
        case "file" if isinstance(value, dict):
            return _document(value, cache, rest) or OtherBlock(kind, sent)
        case "input_audio" if cache is None and isinstance(value, dict) and _is_audio(value):
            inner = _others(value, "data", "format")
            return Audio(value["data"], value["format"], {**rest, "input_audio": inner} if inner else extra)
        case "refusal" if isinstance(value, str) and sent.keys() <= {"type", "refusal"}:
            return Refusal(value)
        case _:
            return OtherBlock(kind, sent)


def _is_audio(sent: dict[str, Any]) -> bool:
    return isinstance(sent.get("data"), str) and isinstance(sent.get("format"), str)


def _document(sent: dict[str, Any], cache: CacheControl | None, rest: Json) -> Document | None:
    """Returns a document of OpenAI's `file` object; None where it has no content in a form that is known."""
    data, file_id = sent.get("file_data"), sent.get("file_id")
    inner = _others(sent, "file_id" if data is None else "file_data", "filename")
    extra = {**rest, "file": inner} if inner else rest or NO_FIELDS
    if isinstance(file_id, str) and data is None:
        return Document(Media(file_id=file_id), sent.get("filename"), cache=cache, extra=extra)
    if not isinstance(data, str) or (data[:5].lower() == "data:" and ";base64," not in data[:200].lower()):
        return None
    has_scheme = data[:5].lower() == "data:" or data[:8].lower().startswith(("http://", "https://"))
    media = media_of_url(data) if has_scheme else Media(media_type="application/pdf", data=data)
    return Document(media, sent.get("filename"), cache=cache, extra=extra)


def _reasoning(extra: Json) -> Iterator[Reasoning]:
    """Yields the reasoning of an earlier answer: from the field that says most about it."""
    details, blocks = extra.get("reasoning_details"), extra.get("thinking_blocks")
    if isinstance(details, list) and details:
        yield from _joined(_reasoning_detail(one) for one in details if isinstance(one, dict))
    elif isinstance(blocks, list) and blocks:
        yield from (_thinking_block(one) for one in blocks if isinstance(one, dict))
    else:
        texts = (extra.get(name) for name in ("reasoning_content", "reasoning"))
        if text := next((text for text in texts if isinstance(text, str) and text), None):
            yield Reasoning(text)


def _joined(thoughts: Iterable[Reasoning]) -> Iterator[Reasoning]:
    """Yields whole parts of reasoning: a client that has collected a stream sends them back in pieces."""
    pending: Reasoning | None = None
    for thought in thoughts:
        if pending is None:
            pending = thought
        elif pending.signature or pending.encrypted or thought.encrypted or thought.kind is not pending.kind:
            yield pending
            pending = thought
        else:
            pending = pending._replace(text=pending.text + thought.text, signature=thought.signature)
    if pending is not None:
        yield pending


def _reasoning_detail(sent: dict[str, Any]) -> Reasoning:
    """Source: OpenRouter's documentation, "Reasoning Tokens"."""
    return Reasoning(
        text=_text(sent.get("text") or sent.get("summary")) or "",
        kind=_REASONING_KINDS.get(str(sent.get("format")), ReasoningKind.UNKNOWN),
        signature=_text(sent.get("signature")),
        encrypted=_text(sent.get("data")),
        item_id=_text(sent.get("id")),
    )


def _thinking_block(sent: dict[str, Any]) -> Reasoning:
    """Source: LiteLLM's documentation, "Thinking / Reasoning Content"; the blocks are Anthropic's."""
    return Reasoning(
        _text(sent.get("thinking")) or "",
        ReasoningKind.ANTHROPIC,
        signature=_text(sent.get("signature")),
        encrypted=_text(sent.get("data")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _tool_call(sent: Json) -> ToolCall:
    kind = sent.get("type") or "function"
    function = sent.get("function")
    rest = {name: value for name, value in sent.items() if name not in {"id", "type"}}
    if kind != "function" or not isinstance(function, dict):
        other = sent.get(kind)
        named = other if isinstance(other, dict) else {}
        return ToolCall(sent.get("id"), str(named.get("name") or ""), str(named.get("input") or ""), kind, extra=rest)
    del rest["function"]
    cache = _pop_cache(rest)
    inner = {name: value for name, value in function.items() if name not in {"name", "arguments"}}
    extra = {**rest, "function": inner} if inner else rest or NO_FIELDS
    arguments = arguments_with_object(function.get("arguments", "{}"))
    return ToolCall(sent.get("id"), function["name"], arguments, kind, cache, extra)


def _tool(sent: Json) -> Tool:
    function = sent.get("function")
    if sent["type"] != "function" or not isinstance(function, dict):
        return OtherTool(sent["type"], sent)
    rest = {name: value for name, value in sent.items() if name not in {"type", "function"}}
    cache = _pop_cache(rest)
    known = ("name", "description", "parameters", "strict")
    inner = _others(function, *known)
    return Function(
        name=function["name"],
        description=function.get("description"),
        parameters=schema_with_objects(function.get("parameters")),
        is_strict=function.get("strict"),
        cache=cache,
        extra={**rest, "function": inner} if inner else rest or NO_FIELDS,
    )


def _tool_choice(sent: object) -> ToolChoice | None:
    if sent is None:
        return None
    if isinstance(sent, str):
        return ToolChoice(_CHOICE_MODES.get(sent, ToolChoiceMode.OTHER), fields=sent)
    function = sent.get("function") if isinstance(sent, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return ToolChoice(ToolChoiceMode.NAMED if name else ToolChoiceMode.OTHER, name, sent)


def _output_format(sent: Json | None) -> OutputFormat | None:
    if sent is None:
        return None
    shape = sent.get("json_schema") or {}
    return OutputFormat(
        kind=_FORMAT_KINDS.get(sent["type"], OutputFormatKind.OTHER),
        name=shape.get("name"),
        schema=shape.get("schema"),
        is_strict=shape.get("strict"),
        description=shape.get("description"),
        fields=sent,
    )

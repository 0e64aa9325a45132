"""Translates requests to Ollama's format. Source: Ollama's API documentation."""

from typing import Any, NotRequired, TypedDict

import orjson

from sekha_llm_bridge.conversation import (
    ADDED,
    Block,
    Conversation,
    Document,
    Function,
    Image,
    Json,
    Message,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoiceMode,
    WireFormat,
)
from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers.adaptation import Adaptation, by_rejection
from sekha_llm_bridge.providers.base import EmbeddingCall
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.ollama.thinking import think_of_effort
from sekha_llm_bridge.providers.tool_results import document_text, with_failure_in_words

_MIN_CONTEXT_TOKENS = 4096
_ADDED_TOKENS = 2  # an embedding model adds one token before a text and one after it
_OPTION_FIELDS = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
_OWN_OPTIONS = (
    *("num_keep", "typical_p", "tfs_z", "repeat_last_n", "repeat_penalty", "penalize_newline"),
    *("mirostat", "mirostat_tau", "mirostat_eta"),
    *("num_batch", "num_gpu", "main_gpu", "use_mmap", "use_mlock", "num_thread", "numa", "low_vram", "f16_kv"),
    *("logits_all", "vocab_only", "draft_num_predict", "top_k"),
)
"""The options that only Ollama has, in its present and its earlier versions, and `top_k` where it is 0 or less."""

_OPTION = "options."
OWN_FIELDS = frozenset(
    {"top_k", "min_p", "think", "keep_alive", f"{_OPTION}num_ctx", *(_OPTION + name for name in _OWN_OPTIONS)}
)
"""The fields that `chat_payload` translates besides OpenAI's, which are in the field table."""


class FunctionCall(TypedDict):
    """The name and the arguments of a function that an assistant message called."""

    name: str
    arguments: Any


class SentCall(TypedDict):
    """One tool call of an assistant message."""

    function: FunctionCall


class SentMessage(TypedDict):
    """One message. `images` are base64 without a prefix; `tool_name` is set in messages of role `tool`."""

    role: str
    content: str
    images: NotRequired[list[str]]
    tool_calls: NotRequired[list[SentCall]]
    thinking: NotRequired[str]
    tool_name: NotRequired[str]


class ChatPayload(TypedDict):
    """The body of `POST /api/chat`.

    `truncate` and `shift` are false, so that Ollama rejects a prompt that is too long instead of cutting it. `format`
    is "json" or a JSON schema.
    """

    model: str
    messages: list[SentMessage]
    stream: bool
    truncate: bool
    shift: bool
    options: dict[str, Any]
    tools: NotRequired[list[Json]]
    format: NotRequired[Any]
    think: NotRequired[Any]
    keep_alive: NotRequired[Any]
    logprobs: NotRequired[bool]
    top_logprobs: NotRequired[int]


def chat_payload(call: ChatCall, *, stream: bool) -> ChatPayload:
    """Returns the body of a chat request. Raises `ProviderError` (REQUEST_REJECTED) for untranslatable tool calls."""
    conversation = call.conversation
    payload = ChatPayload(
        model=call.model_id,
        messages=_messages(conversation),
        stream=stream,
        truncate=False,
        shift=False,
        options=_options(call),
    )
    is_forbidden = conversation.tool_choice is not None and conversation.tool_choice.mode is ToolChoiceMode.NONE
    if conversation.tools and not is_forbidden:
        payload["tools"] = [_tool(tool) for tool in conversation.tools]
    if (wanted := conversation.output_format) is not None and (sent_format := _format(wanted)) is not None:
        payload["format"] = sent_format
    think = conversation.field("think")
    if think is None:
        effort = conversation.field("reasoning_effort") or conversation.effort_hint
        think = think_of_effort(call.model_id, effort)
    if think is not None:
        payload["think"] = think
    if (top := conversation.parameters.get("top_logprobs")) is not None:
        payload["top_logprobs"] = top
    if conversation.parameters.get("logprobs"):
        payload["logprobs"] = True
    if "keep_alive" in conversation.vendor_fields:
        payload["keep_alive"] = conversation.vendor_fields["keep_alive"]
    return payload


def _options(call: ChatCall) -> dict[str, Any]:
    parameters = call.conversation.parameters
    options: dict[str, Any] = {name: value for name in _OPTION_FIELDS if (value := parameters.get(name)) is not None}
    if (stop := parameters.get("stop")) is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if (limit := call.output_limit) is not None:
        options["num_predict"] = limit
    own = own_options(call.conversation.vendor_fields, call.conversation.wire_format)
    num_ctx = context_window_for(call.likely_context_tokens or call.context_tokens, call.context_window)
    return {**options, **own, "num_ctx": max(num_ctx, requested_context(own, call.context_window))}


def larger_context(call: ChatCall) -> Adaptation:
    """Returns the form of a request whose prompt has more tokens than were likely: with the context that it needs at
    most.
    """
    needed = context_window_for(call.context_tokens, call.context_window)

    def change(payload: ChatPayload, _failure: Failure) -> ChatPayload | None:
        options = payload["options"]
        return {**payload, "options": {**options, "num_ctx": needed}} if options["num_ctx"] < needed else None

    return by_rejection("", change, kinds=frozenset({FailureKind.CONTEXT_LENGTH_EXCEEDED}))


def own_options(vendor_fields: Json, wire_format: WireFormat) -> dict[str, Any]:
    """Returns the options that only Ollama has, and its `num_ctx`, of a request in Ollama's format."""
    if wire_format is not WireFormat.OLLAMA:
        return {}
    names = ("num_ctx", *_OWN_OPTIONS)
    return {name: vendor_fields[_OPTION + name] for name in names if _OPTION + name in vendor_fields}


def requested_context(options: Json, context_window: int | None) -> int:
    """Returns the `num_ctx` that a caller requests, at most the model's window. It may be larger than the prompt needs,
    so that Ollama does not reload the model; a smaller one would cut the prompt, so it is not sent.
    """
    requested: int = options.get("num_ctx", 0)
    return requested if context_window is None else min(requested, context_window)


def context_window_for(context_tokens: int, context_window: int | None = None) -> int:
    """Returns the `num_ctx` to request: 4096, doubled until it holds `context_tokens`, at most the model's window.

    Ollama reloads a model for another `num_ctx`; by doubling it, a growing conversation seldom causes that.
    """
    size = _MIN_CONTEXT_TOKENS
    while size < context_tokens:
        size *= 2
    return size if context_window is None else min(size, context_window)


def _format(wanted: OutputFormat) -> Any:
    match wanted.kind:
        case OutputFormatKind.JSON_OBJECT:
            return wanted.fields.get("schema", "json")
        case OutputFormatKind.JSON_SCHEMA:
            return "json" if wanted.schema is None else wanted.schema
        case _:
            return None


def _messages(conversation: Conversation) -> list[SentMessage]:
    """Returns the messages. Ollama's messages of role `tool` refer to the name of the function, not to the call."""
    sent: list[SentMessage] = []
    tool_names: dict[str | None, str] = {}
    is_ollamas = conversation.wire_format is WireFormat.OLLAMA
    for message in conversation.messages:
        if message.extra is ADDED:
            continue
        tool_names |= {block.call_id: block.name for block in message.blocks if type(block) is ToolCall}
        sent_name = message.extra.get("tool_name") if is_ollamas else None
        sent.append(_message(message, tool_names.get(message.call_id) or sent_name or ""))
    return sent


def _message(message: Message, tool_name: str) -> SentMessage:
    role = "system" if message.role is Role.DEVELOPER else message.role.value
    texts = [text for block in with_failure_in_words(message).blocks if (text := _text(block)) is not None]
    sent = SentMessage(role=role, content="\n".join(texts))
    if images := [block.media.data or "" for block in message.blocks if type(block) is Image]:
        sent["images"] = images
    thoughts = [block for block in message.blocks if type(block) is Reasoning and block.kind is ReasoningKind.UNKNOWN]
    if thinking := "".join(block.text for block in thoughts):  # not that of another vendor's models
        sent["thinking"] = thinking
    if calls := [_tool_call(block) for block in message.blocks if type(block) is ToolCall]:
        sent["tool_calls"] = calls
    if message.role is Role.TOOL:
        sent["tool_name"] = tool_name
    return sent


def _text(block: Block) -> str | None:
    match block:
        case Text(text) | Refusal(text):
            return text
        case Document() if block.media.text is not None:
            return document_text(block)
        case _:
            return None


def _tool_call(call: ToolCall) -> SentCall:
    if call.kind != "function":
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "Ollama takes calls of functions only in `tool_calls`", param="messages"
        )
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError as exc:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "the arguments of a tool call in `messages` are not JSON", param="messages"
        ) from exc
    return SentCall(function=FunctionCall(name=call.name, arguments=arguments))


def _tool(tool: Tool) -> Json:
    """Returns a tool in OpenAI's form, which is Ollama's, too."""
    if not isinstance(tool, Function):
        return tool.fields
    optional = {"description": tool.description, "parameters": tool.parameters}
    named = {name: value for name, value in optional.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **named}}


def embedding_payload(call: EmbeddingCall) -> dict[str, Any]:
    """Returns the body of `POST /api/embed`. With `truncate` false, Ollama rejects a text that is too long.

    `num_ctx` is requested because the default of many embedding models is lower than their window. It holds the longest
    text, whose tokens are at most its bytes, and is at most the model's window.
    """
    longest = max((len(text.encode()) for text in call.texts), default=0)
    num_ctx = context_window_for(longest + _ADDED_TOKENS)
    own = own_options(call.vendor_fields, call.wire_format)
    num_ctx = max(num_ctx, requested_context(own, call.context_window))
    payload: dict[str, Any] = {
        "model": call.model_id,
        "input": list(call.texts),
        "truncate": False,
        "options": {**own, "num_ctx": num_ctx if call.context_window is None else min(num_ctx, call.context_window)},
    }
    if call.wire_format is WireFormat.OLLAMA and "keep_alive" in call.vendor_fields:
        payload["keep_alive"] = call.vendor_fields["keep_alive"]
    if call.dimensions is not None:
        payload["dimensions"] = call.dimensions
    return payload

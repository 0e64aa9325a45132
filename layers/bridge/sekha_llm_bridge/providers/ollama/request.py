"""Translates OpenAI's requests into Ollama's. Source: Ollama's API documentation."""

from typing import Any, NotRequired, TypedDict

import orjson

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import ChatCall, EmbeddingCall, Json
from sekha_llm_bridge.providers.ollama.thinking import think_of_effort

_MIN_CONTEXT_TOKENS = 4096
_ADDED_TOKENS = 2  # an embedding model adds one token before a text and one after it
_OPTION_FIELDS = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
TRANSLATED_FIELDS = frozenset(
    {
        *("messages", "tools", "tool_choice", "response_format", "stop", "max_tokens", "max_completion_tokens"),
        *("think", "reasoning_effort", "keep_alive", *_OPTION_FIELDS),
    }
)
"""The fields of a chat request that `chat_payload` translates: OpenAI's, and Ollama's own."""


class FunctionCall(TypedDict):
    """The name and the arguments of a function that an assistant message called."""

    name: str
    arguments: Any


class ToolCall(TypedDict):
    """One tool call of an assistant message."""

    function: FunctionCall


class Message(TypedDict):
    """One message. `images` are base64 without a prefix; `tool_name` is set in messages of role `tool`."""

    role: str
    content: str
    images: NotRequired[list[str]]
    tool_calls: NotRequired[list[ToolCall]]
    tool_name: NotRequired[str]


class ChatPayload(TypedDict):
    """The body of `POST /api/chat`.

    `truncate` and `shift` are false, so that Ollama rejects a prompt that is too long instead of cutting it. `format`
    is "json" or a JSON schema.
    """

    model: str
    messages: list[Message]
    stream: bool
    truncate: bool
    shift: bool
    options: dict[str, Any]
    tools: NotRequired[list[Json]]
    format: NotRequired[Any]
    think: NotRequired[Any]
    keep_alive: NotRequired[Any]


def chat_payload(call: ChatCall, *, stream: bool) -> ChatPayload:
    """Returns the body of a chat request. Raises `ProviderError` (REQUEST_REJECTED) for untranslatable tool calls."""
    request = call.request
    payload = ChatPayload(
        model=call.model_id,
        messages=_messages(request["messages"]),
        stream=stream,
        truncate=False,
        shift=False,
        options=_options(call),
    )
    if request.get("tools") and request.get("tool_choice") != "none":
        payload["tools"] = request["tools"]
    if (response_format := _format(request.get("response_format") or {})) is not None:
        payload["format"] = response_format
    think = request.get("think")
    if think is None:
        think = think_of_effort(call.model_id, request.get("reasoning_effort"))
    if think is not None:
        payload["think"] = think
    if "keep_alive" in request:
        payload["keep_alive"] = request["keep_alive"]
    return payload


def _options(call: ChatCall) -> dict[str, Any]:
    request = call.request
    options = {name: request[name] for name in _OPTION_FIELDS if request.get(name) is not None}
    if (stop := request.get("stop")) is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    caps = [request.get("max_completion_tokens"), request.get("max_tokens"), call.output_cap]
    if known_caps := [cap for cap in caps if cap is not None]:
        options["num_predict"] = min(known_caps)
    options["num_ctx"] = context_window_for(call.context_tokens)
    return options


def context_window_for(context_tokens: int) -> int:
    """Returns the `num_ctx` to request: 4096, doubled until it holds `context_tokens`.

    Ollama reloads a model for another `num_ctx`; by doubling it, a growing conversation seldom causes that.
    """
    size = _MIN_CONTEXT_TOKENS
    while size < context_tokens:
        size *= 2
    return size


def _format(response_format: Json) -> Any:
    match response_format.get("type"):
        case "json_object":
            return response_format.get("schema", "json")
        case "json_schema":
            return response_format["json_schema"].get("schema", "json")
        case _:
            return None


def _messages(messages: list[Json]) -> list[Message]:
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    tool_names = {call["id"]: call["function"]["name"] for call in calls if "id" in call and call.get("function")}
    return [_message(message, tool_names) for message in messages]


def _message(message: Json, tool_names: dict[str, str]) -> Message:
    """Returns one message. `tool_names` has the function's name by the id of its call: Ollama's messages of role `tool`
    refer to the name, OpenAI's to the id.
    """
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    text = "\n".join(part["text"] for part in parts if part.get("type") == "text") if parts else str(content or "")
    translated = Message(role=role, content=text)
    if urls := [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]:
        translated["images"] = [url.partition(",")[2] for url in urls]
    if calls := message.get("tool_calls"):
        translated["tool_calls"] = [_tool_call(call) for call in calls]
    if role == "tool":
        translated["tool_name"] = tool_names.get(message.get("tool_call_id", ""), "")
    return translated


def _tool_call(call: Json) -> ToolCall:
    function = call.get("function")
    if function is None:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "Ollama takes calls of functions only in `tool_calls`", param="messages"
        )
    try:
        arguments = orjson.loads(function.get("arguments") or "{}")
    except orjson.JSONDecodeError as exc:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "the arguments of a tool call in `messages` are not JSON", param="messages"
        ) from exc
    return ToolCall(function=FunctionCall(name=function["name"], arguments=arguments))


def embedding_payload(call: EmbeddingCall, *, context_window: int | None = None) -> dict[str, Any]:
    """Returns the body of `POST /api/embed`. With `truncate` false, Ollama rejects a text that is too long.

    `num_ctx` is requested because the default of many embedding models is lower than their window. It holds the longest
    text, whose tokens are at most its bytes, and is at most the model's `context_window`.
    """
    longest = max((len(text.encode()) for text in call.texts), default=0)
    num_ctx = context_window_for(longest + _ADDED_TOKENS)
    payload: dict[str, Any] = {
        "model": call.model_id,
        "input": list(call.texts),
        "truncate": False,
        "options": {"num_ctx": num_ctx if context_window is None else min(num_ctx, context_window)},
    }
    if call.dimensions is not None:
        payload["dimensions"] = call.dimensions
    return payload

"""Chats: the calls of `chat` and `chat_with_image`, and their reply."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sekha_llm_bridge.client.call import Call, Usd, json_bytes, post, sent_usd, usd_of
from sekha_llm_bridge.client.messages import FilePath, Message, image_message
from sekha_llm_bridge.errors import InvalidRequest

PATH = "/v1/chat/completions"
_OPTIONS_OF_THE_CLIENT = frozenset({"api_key", "base_url", "headers", "http_client", "max_retries", "timeout"})


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of an answer. `is_estimated`: the provider counted none, and the bridge estimated them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    is_estimated: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called. `arguments` is JSON text, as the model wrote it; that of a custom tool is
    any text.
    """

    id: str
    name: str
    arguments: str

    def parsed_arguments(self) -> dict[str, Any]:
        """Returns the arguments as an object. Raises ValueError where the model did not write valid JSON."""
        value = json.loads(self.arguments or "{}")
        if not isinstance(value, dict):
            raise ValueError(f"the arguments of {self.name} are not a JSON object")  # noqa: TRY004 — one error for all
        return value


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The answer to a chat; `str()` of it is the text.

    `text` is that of the first choice, empty where the model only calls tools. `model` is the model that answered,
    `provider_id` the provider that has it. `cost` is in USD, None where it is not known. `bridge` is the receipt:
    attempts, notes, cost bound. `raw` is the whole JSON of the answer.
    """

    text: str
    model: str
    provider_id: str | None
    usage: TokenUsage
    cost: Decimal | None
    finish_reason: str | None
    tool_calls: tuple[ToolCall, ...]
    request_id: str | None
    bridge: Mapping[str, Any]
    raw: Mapping[str, Any]

    def __str__(self) -> str:
        return self.text

    @property
    def message(self) -> Message:
        """The assistant's message, for the messages of the next request."""
        message: Message = self.raw["choices"][0]["message"]
        return message


ChatInput = str | Message | ChatReply | Sequence[Message | ChatReply]
"""A user's text, one message in OpenAI's format, or a list of messages; a `ChatReply` stands for its message."""


def chat(
    message: ChatInput,
    *,
    model: str | None = None,
    preferred_model: str | None = None,
    max_cost: Usd | None = None,
    require_vision: bool = False,
    task: str | None = None,
    allow_fallback: bool | None = None,
    system: str | None = None,
    **openai_fields: Any,
) -> Call[ChatReply]:
    """Asks a model, by default the first in the bridge's order that can answer.

    `model` names the one to use, `preferred_model` the one to try first. `max_cost` is a limit in USD for all attempts
    together. `require_vision` and `task` restrict the models; `allow_fallback=False` tries the first one only. `system`
    is put before the messages. All other fields of OpenAI's chat completions are sent as they are; None leaves a field
    out.
    """
    if wrong := sorted({"stream", "messages"} & openai_fields.keys()):
        remedy = "use `stream(…)`" if wrong == ["stream"] else "pass the messages as the first argument"
        raise InvalidRequest(f"{wrong[0]!r} is no argument of `chat`: {remedy}", param=wrong[0])
    if wrong := sorted(_OPTIONS_OF_THE_CLIENT & openai_fields.keys()):
        raise InvalidRequest(
            f"{wrong[0]!r} is no field of a chat: give it to `LlmBridge` or to `with_options`", param=wrong[0]
        )
    fields = {
        "messages": _messages(message, system),
        "model": model,
        "preferred_model": preferred_model,
        "max_cost": sent_usd(max_cost),
        "require_vision": require_vision or None,
        "task": task,
        "allow_fallback": allow_fallback,
    }
    return post(PATH, {**openai_fields, **fields}, chat_reply)


def chat_with_image(
    message: str,
    image_url: str | Sequence[str] | None = None,
    *,
    image_path: FilePath | Sequence[FilePath] | None = None,
    detail: str | None = None,
    **options: Any,
) -> Call[ChatReply]:
    """Asks a model with vision about one image or several.

    A file is sent as a data URL; its type is that of its bytes. `detail` is OpenAI's: `low`, `high` or `auto`.
    `options` are those of `chat`. Raises `InvalidRequest` for a file that cannot be read or is no image.
    """
    asked = image_message(message, image_url, image_path=image_path, detail=detail)
    return chat(asked, **{"require_vision": True, **options})


def streamed(call: Call[ChatReply]) -> Call[ChatReply]:
    """Returns the same chat as a request for a stream, with the usage at its end unless it says otherwise."""
    fields = json.loads(call.content or b"{}")
    options = {"stream_options": {"include_usage": True}}
    return call._replace(content=json_bytes({**options, **fields, "stream": True}))


def chat_reply(document: Any, request_id: str | None) -> ChatReply:
    """Returns the reply of an answer in OpenAI's format. `bridge` is missing where another server answered."""
    choice = document["choices"][0]
    message, bridge = choice["message"], document.get("bridge") or {}
    return ChatReply(
        text=message.get("content") or "",
        model=document["model"],
        provider_id=bridge.get("provider_id"),
        usage=usage_of(document.get("usage")),
        cost=usd_of(bridge.get("cost")),
        finish_reason=choice.get("finish_reason"),
        tool_calls=tuple(map(_tool_call, message.get("tool_calls") or ())),
        request_id=request_id,
        bridge=bridge,
        raw=document,
    )


def usage_of(usage: Mapping[str, Any] | None) -> TokenUsage:
    """Returns the tokens of an answer; zeros where it does not have them."""
    counts = usage or {}
    prompt, completion = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
    return TokenUsage(
        prompt, completion, counts.get("total_tokens", prompt + completion), bool(counts.get("estimated"))
    )


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or call["custom"]
    return ToolCall(call.get("id") or "", function["name"], function.get("arguments") or function.get("input") or "")


def _messages(message: ChatInput, system: str | None) -> list[Message]:
    first = [] if system is None else [{"role": "system", "content": system}]
    if isinstance(message, str):
        return [*first, {"role": "user", "content": message}]
    several = (message,) if isinstance(message, Mapping | ChatReply) else message
    return [*first, *(one.message if isinstance(one, ChatReply) else one for one in several)]

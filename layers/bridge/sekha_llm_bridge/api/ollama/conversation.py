"""Translates requests in Ollama's format to the internal one. The requests have been validated.

Options that only Ollama has, and unknown ones, become vendor fields `options.NAME`, which the adapter for Ollama sends
on; others leave them out with a note. So do `keep_alive` and `think`, which is an effort of reasoning for the others.
"""

from collections.abc import Iterator
from typing import Any, cast

from sekha_llm_bridge.api.conversations.images import check_image_url
from sekha_llm_bridge.api.ollama.call_ids import CallIds
from sekha_llm_bridge.api.ollama.paired_calls import with_paired_calls
from sekha_llm_bridge.api.ollama.request import (
    ChatMessage,
    ChatRequest,
    GenerateRequest,
    ModelRequest,
    RequestOptions,
    Tool,
)
from sekha_llm_bridge.api.parsing import json_text
from sekha_llm_bridge.conversation import (
    NO_FIELDS,
    Block,
    Conversation,
    Function,
    Image,
    Json,
    Media,
    Message,
    OutputFormat,
    OutputFormatKind,
    Parameters,
    Reasoning,
    Role,
    Text,
    ToolCall,
    WireFormat,
)
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.media.inspect import media_type_of

_PARAMETERS = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty")
_TRANSLATED_OPTIONS = frozenset({*_PARAMETERS, "num_predict"})
_EFFORTS = {None: None, False: "none", True: "medium", "low": "low", "medium": "medium", "high": "high", "max": "high"}
_SENT_ON = ("think", "keep_alive", "truncate", "shift")
_WHITESPACE = str.maketrans("", "", "\r\n\t ")


def chat_conversation(chat: ChatRequest) -> Conversation:
    """Returns the conversation of `POST /api/chat`. Raises `InvalidRequest` for an image that is none."""
    ids = CallIds()
    messages = [_message(f"messages[{i}]", message, ids) for i, message in enumerate(chat.messages or ())]
    return _conversation(chat, tuple(with_paired_calls(messages)))._replace(tools=tuple(map(_tool, chat.tools or ())))


def generate_conversation(generate: GenerateRequest) -> Conversation:
    """Returns the conversation of `POST /api/generate`. Raises `InvalidRequest` for an image that is none."""
    images = tuple(_images("images", generate.images))
    prompt = Message(Role.USER, (*images, Text(generate.prompt or "")), is_text=not images)
    system = (Message(Role.SYSTEM, (Text(generate.system),)),) if generate.system else ()
    return _conversation(generate, (*system, prompt))


def unknown_fields(request: ModelRequest) -> Json:
    """Returns the fields of a request that its model does not have."""
    return request.model_extra or NO_FIELDS


def _conversation(request: ModelRequest, messages: tuple[Message, ...]) -> Conversation:
    options = request.options or RequestOptions()
    limit = options.num_predict
    return Conversation(
        messages,
        output_format=_output_format(request.format),
        max_output_tokens=limit if limit is not None and limit > 0 else None,  # -1 and -2: until the model stops
        parameters=_parameters(request, options),
        effort_hint=_EFFORTS[request.think],
        vendor_fields={**unknown_fields(request), **vendor_fields(request, request.options)} or NO_FIELDS,
        wire_format=WireFormat.OLLAMA,
    )


def _parameters(request: ModelRequest, options: RequestOptions) -> Parameters:
    parameters: dict[str, Any] = {
        name: value for name in _PARAMETERS if (value := getattr(options, name)) not in (None, [])
    }
    if parameters.get("seed", 0) < 0:
        del parameters["seed"]  # a random one
    if parameters.get("top_k", 1) <= 0:
        del parameters["top_k"]  # all tokens, which is what others do without one
    if request.logprobs:
        parameters["logprobs"] = True
        parameters |= {} if request.top_logprobs is None else {"top_logprobs": request.top_logprobs}
    return cast("Parameters", parameters)


def vendor_fields(request: object, options: RequestOptions | None) -> dict[str, Any]:
    """Returns Ollama's own fields and options of a request, as far as they are set."""
    own = {name: value for name in _SENT_ON if (value := getattr(request, name, None)) is not None}
    sent = {} if options is None else options.model_dump(exclude_none=True)
    others = {f"options.{name}": value for name, value in sent.items() if name not in _TRANSLATED_OPTIONS}
    if sent.get("top_k", 1) <= 0:
        others["options.top_k"] = sent["top_k"]
    return {**own, **others}


def _output_format(sent: str | Json | None) -> OutputFormat | None:
    if sent is None:
        return None
    if isinstance(sent, str):
        return OutputFormat(OutputFormatKind.JSON_OBJECT)
    return OutputFormat(OutputFormatKind.JSON_SCHEMA, schema=sent)


def _message(path: str, message: ChatMessage, ids: CallIds) -> Message:
    blocks: list[Block] = [Reasoning(message.thinking)] if message.thinking else []
    images = list(_images(f"{path}.images", message.images))
    blocks += images
    calls = message.tool_calls or ()
    if message.content or not (images or calls):
        blocks.append(Text(message.content or ""))
    call_ids = ids.of_calls(message) if calls else ()
    for call, call_id in zip(calls, call_ids, strict=True):
        blocks.append(ToolCall(call_id, call.function.name, json_text(call.function.arguments or {})))
    role = Role(message.role)
    is_result = role is Role.TOOL
    return Message(
        role,
        tuple(blocks),
        call_id=ids.of_result(message) if is_result else None,
        is_text=not images,
        extra={"tool_name": message.tool_name} if is_result and message.tool_name else NO_FIELDS,
    )


def _tool(sent: Tool) -> Function:
    function = sent.function
    return Function(function.name, function.description, function.parameters)


def _images(path: str, sent: list[str] | None) -> Iterator[Image]:
    for position, text in enumerate(sent or ()):
        try:
            yield Image(_media(text))
        except ValueError as exc:
            where = f"{path}[{position}]"
            raise InvalidRequest(f"{where}: {exc}", param=where) from None


def _media(text: str) -> Media:
    """Returns an image that was sent as base64. Some clients put `data:image/png;base64,` before it."""
    data = (text.partition(",")[2] if text[:5].lower() == "data:" else text).translate(_WHITESPACE)
    if (media_type := media_type_of(data)) is None:
        raise ValueError("must be an image in base64")
    check_image_url(f"data:{media_type};base64,{data}")
    return Media(media_type, data)

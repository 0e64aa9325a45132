"""Finds the features of a chat request that not every provider supports, or whose cost has no bound."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from sekha_llm_bridge.api.chat.images import is_web_url
from sekha_llm_bridge.api.chat.request import ChatMessage, ChatRequest, ContentPart, Tool, ToolCall
from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS
from sekha_llm_bridge.providers import RequestedFeature, RequestFeature

_FEATURES_BY_FIELD = {
    feature.value: RequestedFeature(feature)
    for feature in (
        *(RequestFeature.AUDIO, RequestFeature.FUNCTIONS, RequestFeature.LOGIT_BIAS, RequestFeature.LOGPROBS),
        *(RequestFeature.PREDICTION, RequestFeature.TOP_LOGPROBS, RequestFeature.WEB_SEARCH_OPTIONS),
        *(RequestFeature.MODERATION, RequestFeature.VERBOSITY),
    )
}
"""The features that are requested by a field of the same name."""

_SET_BY_EMPTY_OBJECT = frozenset({"audio", "prediction", "web_search_options"})
_DEFAULTS = {"verbosity": "medium"}
_CONTENT_FEATURES = {
    "input_audio": RequestedFeature(RequestFeature.AUDIO_INPUT),
    "file": RequestedFeature(RequestFeature.DOCUMENTS),
}
_ROLES_OF_TOOLS = frozenset({"tool", "function"})
_MAX_SHOWN_CHARACTERS = 60
_COMMON_PARTS = frozenset({"text", "image_url", "refusal"})

_BOUNDED_TIERS = frozenset({None, "auto", "default", "flex"})
_BOUNDED_TOOLS = frozenset({"function", "custom"})  # the others search or run code, which the provider bills
_BOUNDED_PARTS = frozenset({"text", "image_url", "refusal"})


def requested_features(request: ChatRequest) -> frozenset[RequestedFeature]:
    """Returns the requested features that not every adapter supports, except images by URL."""
    return frozenset(_requested_features(request))


def _requested_features(request: ChatRequest) -> Iterator[RequestedFeature]:
    named = _FEATURES_BY_FIELD.keys() & request.model_fields_set
    yield from (_FEATURES_BY_FIELD[name] for name in named if _is_set(request, name))
    if (request.n or 1) > 1:
        yield RequestedFeature(RequestFeature.SEVERAL_CHOICES)
    other_forms = sorted(_modalities(request) - {"text"})
    yield from (RequestedFeature(RequestFeature.MODALITIES, form) for form in other_forms)
    if request.tools:
        yield from _features_of_tools(request)
    if request.response_format and request.response_format.type not in {"text", "json_object", "json_schema"}:
        yield RequestedFeature(RequestFeature.OTHER_RESPONSE_FORMAT, request.response_format.type)
    yield from _features_of_messages(request.messages)


def _features_of_tools(request: ChatRequest) -> Iterator[RequestedFeature]:
    choice = request.tool_choice
    if isinstance(choice, dict) and not isinstance(choice.get("function"), dict):
        yield RequestedFeature(RequestFeature.OTHER_TOOL_CHOICE, str(choice.get("type"))[:_MAX_SHOWN_CHARACTERS])
    elif isinstance(choice, dict) or choice == "required":
        yield RequestedFeature(RequestFeature.FORCED_TOOL_CHOICE)
    elif choice not in {None, "auto", "none"}:
        yield RequestedFeature(RequestFeature.OTHER_TOOL_CHOICE, str(choice)[:_MAX_SHOWN_CHARACTERS])
    if _field(request, "parallel_tool_calls") is False:
        yield RequestedFeature(RequestFeature.SEQUENTIAL_TOOL_CALLS)
    if any(tool.type != "function" for tool in request.tools or ()):
        yield RequestedFeature(RequestFeature.NON_FUNCTION_TOOLS)


def _features_of_messages(messages: Sequence[ChatMessage]) -> Iterator[RequestedFeature]:
    for part_type in _part_types(messages) - _COMMON_PARTS:
        other = RequestedFeature(RequestFeature.OTHER_CONTENT_PART, part_type)
        yield _CONTENT_FEATURES.get(part_type, other)
    if any(_has_file_id(part) for message in messages for part in message.parts):
        yield RequestedFeature(RequestFeature.UPLOADED_FILES)
    if any((message.model_extra or {}).get("audio") for message in messages):
        yield RequestedFeature(RequestFeature.AUDIO)
    if any(_has_other_call_history(message) for message in messages):
        yield RequestedFeature(RequestFeature.OTHER_CALL_HISTORY)
    if has_several_participants((message.role, message.name) for message in messages):
        yield RequestedFeature(RequestFeature.PARTICIPANT_NAMES)


def _has_file_id(part: ContentPart) -> bool:
    file = (part.model_extra or {}).get("file") if part.type == "file" else None
    return isinstance(file, dict) and bool(file.get("file_id"))


def has_several_participants(names: Iterable[tuple[str, str | None]]) -> bool:
    """Returns whether messages of one role have different names, or only some have one, by pairs of role and name.

    Names of tools are not participants: their results refer to the calls.
    """
    distinct = {pair for pair in names if pair[0] not in _ROLES_OF_TOOLS}
    return len(distinct) > len({role for role, _ in distinct})


def _has_other_call_history(message: ChatMessage) -> bool:
    """Returns whether a message has a call that is not a function call with a JSON object as its arguments."""
    if message.role == "function" or (message.model_extra or {}).get("function_call"):
        return True
    return message.tool_calls is not None and any(
        call.function is None or not _is_json_object(call.function.arguments) for call in message.tool_calls
    )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text or "{}"), dict)
    except orjson.JSONDecodeError:
        return False


def uses_audio(request: ChatRequest) -> bool:
    """Returns whether the request has audio in its messages or requests an answer in audio."""
    return "input_audio" in _part_types(request.messages) or "audio" in _modalities(request)


def features_with_unbounded_cost(request: ChatRequest) -> frozenset[str]:
    """Returns the names of features that are known to cost more than can be bounded before the request; a cost limit
    excludes paid models for them. A field that nobody knows is not among them: the answer has a note on it instead.
    """
    extra = request.model_extra or {}
    found = {name for name in extra.keys() & BILLABLE_FIELDS if _is_set(request, name)}
    if _is_long_cache(extra) or any(map(_has_long_cache, request.tools or ())):
        found.add("cache_control")
    found |= _modalities(request) - {"text"}
    found |= {f"a tool of type {tool.type}" for tool in request.tools or () if tool.type not in _BOUNDED_TOOLS}
    found |= {f"content of type {part_type}" for part_type in _part_types(request.messages) - _BOUNDED_PARTS}
    if any(_is_document_by_url(part) for message in request.messages for part in message.parts):
        found.add("a document by URL")  # its server may answer with a larger one after the provider has counted it
    found.update(_unbounded_in_messages(request.messages))
    if _field(request, "service_tier") not in _BOUNDED_TIERS:
        found.add("service_tier")
    return frozenset(found)


def _unbounded_in_messages(messages: Iterable[ChatMessage]) -> Iterator[str]:
    """Yields "audio" for a reference to an earlier answer in audio, and the name of a mark for a cache whose writes may
    cost more than the price list says: one that lasts longer than five minutes, and each of OpenAI's.
    """
    for message in messages:
        if (message.model_extra or {}).get("audio"):
            yield "audio"
        if any(map(_has_long_cache, (message, *message.parts, *(message.tool_calls or ())))):
            yield "cache_control"
        if any((part.model_extra or {}).get("prompt_cache_breakpoint") for part in message.parts):
            yield "prompt_cache_breakpoint"


def _has_long_cache(one: ChatMessage | ContentPart | Tool | ToolCall) -> bool:
    """Returns whether a part of the request has a mark for such a cache. Gateways also read it from a `function`."""
    function = one.function.model_extra if isinstance(one, Tool | ToolCall) and one.function else None
    return _is_long_cache(one.model_extra or {}) or _is_long_cache(function or {})


def _is_document_by_url(part: ContentPart) -> bool:
    file = (part.model_extra or {}).get("file") if part.type == "file" else None
    return isinstance(file, dict) and any(is_web_url(file.get(name)) for name in ("file_data", "file_id"))


def _is_long_cache(fields: Mapping[str, Any]) -> bool:
    cache = fields.get("cache_control")
    return bool(cache) and not (isinstance(cache, dict) and cache.get("ttl") in (None, "5m"))


def _part_types(messages: Iterable[ChatMessage]) -> frozenset[str]:
    with_parts = (message.content for message in messages if isinstance(message.content, list))
    return frozenset(part.type for parts in with_parts for part in parts)


def _modalities(request: ChatRequest) -> frozenset[str]:
    """Returns the requested forms of the answer, such as "text" and "audio"."""
    modalities = _field(request, "modalities")
    return frozenset(map(str, modalities)) if isinstance(modalities, list) else frozenset()


def _field(request: ChatRequest, name: str) -> Any:
    extra: Mapping[str, Any] = request.model_extra or {}
    return extra[name] if name in extra else vars(request).get(name)


def _is_set(request: ChatRequest, name: str) -> bool:
    """Returns whether a field has a value that requests something. For some fields, an empty object does."""
    value = _field(request, name)
    is_default = value == _DEFAULTS.get(name)
    return not is_default and (bool(value) or (value == {} and name in _SET_BY_EMPTY_OBJECT))

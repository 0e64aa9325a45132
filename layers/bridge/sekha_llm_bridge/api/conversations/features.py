"""Finds the features of a conversation that not every provider supports, or whose cost has no bound."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from sekha_llm_bridge.api.conversations.images import is_web_url
from sekha_llm_bridge.api.conversations.left_out import NOTED_FIELDS
from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS, OPENAIS_OUTPUT_FIELDS, UNCOUNTED_OUTPUT_FIELDS
from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    Message,
    OtherBlock,
    OtherTool,
    OutputFormatKind,
    Role,
    ToolCall,
    ToolChoiceMode,
    WireFormat,
)
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
_DEFAULTS = {"verbosity": "medium", "speed": "standard", "inference_geo": "global", "n": 1}
_AUDIO, _FILE = "input_audio", "file"
_CONTENT_FEATURES = {
    _AUDIO: RequestedFeature(RequestFeature.AUDIO_INPUT),
    _FILE: RequestedFeature(RequestFeature.DOCUMENTS),
}
_ROLES_OF_TOOLS = frozenset({Role.TOOL, Role.FUNCTION})
_MAX_SHOWN_CHARACTERS = 60

_BOUNDED_TIERS = frozenset({None, "auto", "default", "flex", "standard_only"})
# The others search or run code, which the provider bills. Those of Anthropic are run by the caller.
_BOUNDED_TOOL = r"function|custom|(?:bash|computer|memory|text_editor|computer_toolset|browser_toolset)_20\d{6}"
_COUNTED_BY_ANTHROPIC = r"context_management|a tool of type web_(?:fetch|search)_20\d{6}"
_BOUNDED_EDITS = r"clear_(?:thinking|tool_uses)_20\d{6}"  # they shorten the prompt; a compaction is another answer


def requested_features(conversation: Conversation) -> frozenset[RequestedFeature]:
    """Returns the requested features that not every adapter supports, except images by URL."""
    return frozenset(_requested_features(conversation))


def _requested_features(conversation: Conversation) -> Iterator[RequestedFeature]:
    sent = conversation.parameters.keys() | conversation.vendor_fields.keys()
    sent -= NOTED_FIELDS.get(conversation.wire_format, frozenset())
    yield from (_FEATURES_BY_FIELD[name] for name in sent & _FEATURES_BY_FIELD.keys() if _is_set(conversation, name))
    if conversation.n_choices > 1:
        yield RequestedFeature(RequestFeature.SEVERAL_CHOICES)
    other_forms = sorted(_modalities(conversation) - {"text"})
    yield from (RequestedFeature(RequestFeature.MODALITIES, form) for form in other_forms)
    if conversation.tools:
        yield from _features_of_tools(conversation)
    form = conversation.output_format
    if form is not None and form.kind is OutputFormatKind.OTHER:
        yield RequestedFeature(RequestFeature.OTHER_RESPONSE_FORMAT, str(form.fields.get("type")))
    yield from _features_of_messages(conversation)


def _features_of_tools(conversation: Conversation) -> Iterator[RequestedFeature]:
    choice = conversation.tool_choice
    if choice is not None and choice.mode is ToolChoiceMode.OTHER:
        kind = choice.fields.get("type") if isinstance(choice.fields, dict) else choice.fields
        yield RequestedFeature(RequestFeature.OTHER_TOOL_CHOICE, str(kind)[:_MAX_SHOWN_CHARACTERS])
    elif conversation.forces_call:
        yield RequestedFeature(RequestFeature.FORCED_TOOL_CHOICE)
    if conversation.is_parallel is False and conversation.wire_format is not WireFormat.OPENAI_RESPONSES:
        yield RequestedFeature(RequestFeature.SEQUENTIAL_TOOL_CALLS)
    for tool in conversation.tools:
        if isinstance(tool, OtherTool):
            other = RequestedFeature(RequestFeature.NON_FUNCTION_TOOLS)
            yield _of_anthropic(conversation, f"tools of type {tool.kind}") or other


def _features_of_messages(conversation: Conversation) -> Iterator[RequestedFeature]:
    for message in conversation.messages:
        for block in message.blocks:
            if (kind := _uncommon_kind(block)) is not None:
                other = RequestedFeature(RequestFeature.OTHER_CONTENT_PART, kind)
                yield _CONTENT_FEATURES.get(kind) or _of_anthropic(conversation, f"content of type {kind}") or other
            if _has_file_id(block):
                uploaded = RequestedFeature(RequestFeature.UPLOADED_FILES)
                yield _of_anthropic(conversation, "uploaded files") or uploaded
            if isinstance(block, ToolCall) and _is_other_call(block):
                yield RequestedFeature(RequestFeature.OTHER_CALL_HISTORY)
        if message.extra.get("audio"):
            yield RequestedFeature(RequestFeature.AUDIO)
        if message.role is Role.FUNCTION or message.extra.get("function_call"):
            yield RequestedFeature(RequestFeature.OTHER_CALL_HISTORY)
    if has_several_participants((message.role, message.name) for message in conversation.messages):
        yield RequestedFeature(RequestFeature.PARTICIPANT_NAMES)


def _of_anthropic(conversation: Conversation, part: str) -> RequestedFeature | None:
    """Returns the feature that stands for a part of a request in Anthropic's format; None for other formats."""
    if conversation.wire_format is not WireFormat.ANTHROPIC:
        return None
    return RequestedFeature(RequestFeature.ANTHROPIC_CONTENT, part[:_MAX_SHOWN_CHARACTERS])


def _uncommon_kind(block: Block) -> str | None:
    """Returns the type of a part, by OpenAI's names, that not every model takes or whose tokens are not counted. A
    document that is a text is neither.
    """
    match block:
        case Audio():
            return _AUDIO
        case Document() if block.media.text is None:
            return _FILE
        case OtherBlock(kind):
            return kind
        case _:
            return None


def _has_file_id(block: Block) -> bool:
    if isinstance(block, Document | Image):
        return block.media.file_id is not None
    return bool(_file_of(block).get("file_id"))


def _file_of(block: Block) -> dict[str, Any]:
    """Returns the object of a file whose content is in no form that is known; empty for any other block."""
    file = block.fields.get(_FILE) if isinstance(block, OtherBlock) and block.kind == _FILE else None
    return file if isinstance(file, dict) else {}


def has_several_participants(names: Iterable[tuple[Role, str | None]]) -> bool:
    """Returns whether messages of one role have different names, or only some have one, by pairs of role and name.

    Names of tools are not participants: their results refer to the calls.
    """
    distinct = {pair for pair in names if pair[0] not in _ROLES_OF_TOOLS}
    return len(distinct) > len({role for role, _ in distinct})


def _is_other_call(call: ToolCall) -> bool:
    """Returns whether a call is not a function call with a JSON object as its arguments."""
    return call.kind != "function" or not call.name or not _is_json_object(call.arguments)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text or "{}"), dict)
    except orjson.JSONDecodeError:
        return False


def uses_audio(conversation: Conversation) -> bool:
    """Returns whether the request has audio in its messages or requests an answer in audio."""
    kinds = (_uncommon_kind(block) for message in conversation.messages for block in message.blocks)
    return _AUDIO in kinds or "audio" in _modalities(conversation)


def features_with_unbounded_cost(conversation: Conversation) -> frozenset[str]:
    """Returns the names of features that are known to cost more than can be bounded before the request; a cost limit
    excludes paid models for them. A field that nobody knows is not among them: the answer has a note on it instead.
    """
    found = _billed_apart(conversation) | uncounted_output_fields(conversation)
    for message in conversation.messages:
        found.update(_unbounded_in_message(message))
    return frozenset(found)


def features_billed_apart(conversation: Conversation) -> frozenset[str]:
    """Returns the names of the features that may be billed besides the tokens, or at another price for them, so that a
    receipt does not have their cost. Anthropic counts its searches, and the tokens of what it fetches or compacts.
    """
    found = _billed_apart(conversation)
    if conversation.wire_format is WireFormat.ANTHROPIC:
        found = {name for name in found if not re.fullmatch(_COUNTED_BY_ANTHROPIC, name)}
    return frozenset(found)


def _billed_apart(conversation: Conversation) -> set[str]:
    extra = conversation.vendor_fields
    billable = extra.keys() & (BILLABLE_FIELDS - UNCOUNTED_OUTPUT_FIELDS)
    found = {name for name in billable if _is_set(conversation, name)}
    if _only_shortens(extra.get("context_management")):
        found.discard("context_management")
    found |= _modalities(conversation) - {"text"}
    for tool in conversation.tools:
        if isinstance(tool, OtherTool) and not re.fullmatch(_BOUNDED_TOOL, tool.kind):
            found.add(f"a tool of type {tool.kind}")
    if extra.get("service_tier") not in _BOUNDED_TIERS:
        found.add("service_tier")
    return found


def uncounted_output_fields(conversation: Conversation) -> frozenset[str]:
    """Returns the names of the fields that ask for more output than the bridge counts, or may hold such fields."""
    names = UNCOUNTED_OUTPUT_FIELDS
    if conversation.wire_format is WireFormat.ANTHROPIC:  # it is sent as it came
        names |= OPENAIS_OUTPUT_FIELDS
    return frozenset(name for name in conversation.vendor_fields.keys() & names if _is_set(conversation, name))


def _unbounded_in_message(message: Message) -> Iterator[str]:
    """Yields the types of content whose tokens are not counted; "audio" for a reference to an earlier answer in audio;
    and the name of OpenAI's mark for the cache, whose writes may cost more than the price list says. Anthropic's marks
    are priced (`Price.bound_usd`).
    """
    if message.extra.get("audio"):
        yield "audio"
    for block in message.blocks:
        if (kind := _uncommon_kind(block)) is not None:
            yield f"content of type {kind}"
        if _is_document_by_url(block):
            yield "a document by URL"  # its server may answer with a larger one after the provider has counted it
        fields = block.fields if isinstance(block, OtherBlock) else getattr(block, "extra", {})
        if fields.get("prompt_cache_breakpoint"):
            yield "prompt_cache_breakpoint"


def _only_shortens(context_management: object) -> bool:
    """Returns whether Anthropic's `context_management` only leaves out parts of the prompt."""
    if not isinstance(context_management, dict) or context_management.keys() - {"edits"}:
        return False
    edits = context_management.get("edits")
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and re.fullmatch(_BOUNDED_EDITS, str(edit.get("type"))) for edit in edits
    )


def _is_document_by_url(block: Block) -> bool:
    if isinstance(block, Document):
        return is_web_url(block.media.url) or is_web_url(block.media.file_id)
    file = _file_of(block)
    return any(is_web_url(file.get(name)) for name in ("file_data", "file_id"))


def _modalities(conversation: Conversation) -> frozenset[str]:
    """Returns the requested forms of the answer, such as "text" and "audio"."""
    modalities = conversation.vendor_fields.get("modalities")
    return frozenset(map(str, modalities)) if isinstance(modalities, list) else frozenset()


def _is_set(conversation: Conversation, name: str) -> bool:
    """Returns whether a field has a value that requests something. For some fields, an empty object does."""
    value = conversation.field(name)
    is_default = value == _DEFAULTS.get(name)
    return not is_default and (bool(value) or (value == {} and name in _SET_BY_EMPTY_OBJECT))

"""Translates a request of OpenAI's Responses API to the internal format. The request has been validated by
`ResponsesRequest`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sekha_llm_bridge.api.conversations.endpoint import ChatInput
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS, Options
from sekha_llm_bridge.api.responses import unsupported
from sekha_llm_bridge.api.responses.input_items import input_of
from sekha_llm_bridge.api.responses.request import KNOWN_FIELDS, ResponsesRequest, TextFormat
from sekha_llm_bridge.api.responses.tools import Tools, tools_of
from sekha_llm_bridge.api.unknown_fields import check_unknown_fields
from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.conversation import (
    Conversation,
    Message,
    OutputFormat,
    OutputFormatKind,
    Parameters,
    WireFormat,
)
from sekha_llm_bridge.errors import InvalidRequest, PreviousResponseNotFound

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"

_PASSED_ON = frozenset({"service_tier", "safety_identifier", "prompt_cache_key"})
_WITHOUT_EFFECT = frozenset({"client_metadata"})  # Codex describes its session there, for OpenAI
_SAME_NAMES = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "stop", "seed", "user")
_FORMAT_KINDS = {kind.value: kind for kind in OutputFormatKind}
_NOTE_ON_CUSTOM_TOOLS = "custom tools are sent as functions with one text parameter; no grammar is enforced"
_NOTE_ON_TRUNCATION = "truncation: the bridge never shortens a conversation; one that is too long is an error"
_NOTE_ON_COMPACTION = "context_management: the bridge compacts no conversation; one that is too long is an error"
_NOTE_ON_STORE = "store: the bridge stores no responses"


class ParsedRequest(NamedTuple):
    """A request, with what its answer needs to know of it."""

    request: ResponsesRequest
    tools: Tools
    chat: ChatInput


def parsed_request(
    request: ResponsesRequest, fields: Mapping[str, Any], settings: Settings, headers: Mapping[str, str] | None = None
) -> ParsedRequest:
    """Returns the parsed request. Raises `InvalidRequest` for what the bridge does not have, and as
    `check_unknown_fields` does.
    """
    check_supported(fields)
    body = {name: value for name, value in fields.items() if name not in OPTION_FIELDS | _WITHOUT_EFFECT}
    unknown = check_unknown_fields(body, KNOWN_FIELDS, own=OPTION_FIELDS, settings=settings)
    tools = tools_of(request.tools or (), request.tool_choice, added=request.added_tools)
    others = {name: fields[name] for name in (body.keys() - KNOWN_FIELDS) | (_PASSED_ON & body.keys())}
    translated = input_of(request.instructions, request.input)
    conversation = conversation_of(request, translated.messages, tools, others)
    chat = ChatInput(
        conversation,
        Options.of(request.model, request, headers),
        is_stream=bool(request.stream),
        unknown=tuple(unknown),
        notes=(*_notes(request, tools), *translated.notes),
    )
    return ParsedRequest(request, tools, chat)


def check_supported(fields: Mapping[str, Any]) -> None:
    """Raises `InvalidRequest` for a field that needs what the bridge does not have."""
    for name in unsupported.FIELDS.keys() & fields.keys():
        if fields[name]:
            error = PreviousResponseNotFound if name == "previous_response_id" else InvalidRequest
            raise error(f"{name}: {unsupported.FIELDS[name]}", param=name)


def conversation_of(
    request: ResponsesRequest, messages: tuple[Message, ...], tools: Tools, others: Mapping[str, Any]
) -> Conversation:
    """Returns the conversation of a request. `others` are its fields that have no place in the internal format."""
    form = request.text.format if request.text is not None else None
    return Conversation(
        messages=messages,
        tools=tools.functions,
        tool_choice=tools.choice if tools.functions else None,
        is_parallel=request.parallel_tool_calls if tools.functions else None,
        output_format=_output_format(form),
        max_output_tokens=request.max_output_tokens,
        parameters=_parameters(request),
        vendor_fields=others,
        wire_format=WireFormat.OPENAI_RESPONSES,
    )


def _parameters(request: ResponsesRequest) -> Parameters:
    parameters = Parameters()
    for name in _SAME_NAMES:
        if (value := getattr(request, name)) is not None:
            parameters[name] = value  # type: ignore[literal-required]  # the names are its own
    if request.wants(LOGPROBS) or request.top_logprobs:
        parameters["logprobs"] = True
    if request.top_logprobs:
        parameters["top_logprobs"] = request.top_logprobs
    if request.reasoning is not None and request.reasoning.effort is not None:
        parameters["reasoning_effort"] = request.reasoning.effort
    if request.text is not None and request.text.verbosity is not None:
        parameters["verbosity"] = request.text.verbosity
    return parameters


def _output_format(sent: TextFormat | None) -> OutputFormat | None:
    if sent is None or sent.type == "text":
        return None
    return OutputFormat(_FORMAT_KINDS[sent.type], sent.name, sent.schema_, sent.strict, sent.description)


def _notes(request: ResponsesRequest, tools: Tools) -> tuple[str, ...]:
    notes = {
        _NOTE_ON_CUSTOM_TOOLS: tools.has_grammar,
        _NOTE_ON_TRUNCATION: request.truncation == "auto",
        _NOTE_ON_COMPACTION: bool(request.context_management),
        _NOTE_ON_STORE: bool(request.store),
    }
    return tuple(note for note, holds in notes.items() if holds)

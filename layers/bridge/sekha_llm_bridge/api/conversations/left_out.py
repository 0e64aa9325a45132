"""What of a conversation an adapter leaves out although it may change the answer: the caller gets a note on it.

The names are those of the field table.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sekha_llm_bridge.conversation import Conversation, Function, Image, Json, Role, WireFormat
from sekha_llm_bridge.providers import AdapterCapabilities

_NO_VALUES: tuple[object, ...] = (None, False, [], {}, ["text"])
_WITHOUT_EFFECT = frozenset(  # the answer is the same without them
    {
        *("metadata", "service_tier", "store", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    }
)
_LOAD_OPTIONS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "use_mlock", "num_thread", "numa", "low_vram"),
    *("f16_kv", "draft_num_predict"),
)
_WITHOUT_EFFECT_ELSEWHERE = {
    WireFormat.ANTHROPIC: frozenset({"thinking"}),  # it is `effort_hint`
    # How Ollama loads a model; the window of others is always as large as they have it. `think` is `effort_hint`.
    # `options.top_k` is 0 or less, which is all tokens: what others do by default.
    WireFormat.OLLAMA: frozenset({"think", "keep_alive", *(f"options.{name}" for name in (*_LOAD_OPTIONS, "top_k"))}),
}
NOTED_FIELDS: Mapping[WireFormat, frozenset[str]] = {
    WireFormat.OPENAI_RESPONSES: frozenset({"verbosity"})  # Codex sets it for each model that it knows by its name
}
"""Fields that exclude no model in requests of a format, although they do in chat completions. They are left out with a
note instead.
"""
_PARTICIPANTS = frozenset({Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT})


def sent_fields(conversation: Conversation) -> dict[str, Any]:
    """Returns the top-level fields of the request by OpenAI's names, except the messages; of typed fields, only whether
    they are set.
    """
    form = conversation.output_format
    typed = {
        "tools": bool(conversation.tools),
        "tool_choice": conversation.tool_choice is not None,
        "parallel_tool_calls": conversation.is_parallel,
        "response_format": form is not None,
        "max_tokens": conversation.max_output_tokens,
        "max_completion_tokens": conversation.max_output_tokens,
        "n": conversation.n_choices > 1,
        "thinking": conversation.thinking,
        "cache_control": conversation.cache is not None,
    }
    return {**conversation.vendor_fields, **conversation.parameters, **typed}


def fields_left_out(conversation: Conversation, capabilities: AdapterCapabilities) -> list[str]:
    """Returns the sorted names of the fields of a request that an adapter leaves out with a note.

    Fields that the bridge does not know are among them. A field that certainly changes the answer is not: it excludes
    the model.
    """
    original = conversation.original
    if original is not None and original.wire_format is capabilities.original_format:
        return []
    if capabilities.translated_fields is None:
        is_same_format = conversation.wire_format is WireFormat.OPENAI_CHAT
        fields = conversation.vendor_fields
        return [] if is_same_format else vendor_fields_left_out(fields, conversation.wire_format, capabilities)
    unnoted = capabilities.unnoted_fields | _WITHOUT_EFFECT_ELSEWHERE.get(conversation.wire_format, frozenset())
    unnoted -= NOTED_FIELDS.get(conversation.wire_format, frozenset())
    left_out = _with_value(sent_fields(conversation)) - capabilities.translated_fields - unnoted
    return sorted(left_out | (capabilities.hints & frozenset(_nested_hints(conversation))))


def vendor_fields_left_out(fields: Json, wire_format: WireFormat, capabilities: AdapterCapabilities) -> list[str]:
    """Returns the sorted names of the vendor fields of another format that an adapter leaves out with a note."""
    unnoted = _WITHOUT_EFFECT | _WITHOUT_EFFECT_ELSEWHERE.get(wire_format, frozenset())
    return sorted(_with_value(fields) - (capabilities.translated_fields or frozenset()) - unnoted)


def _with_value(fields: Json) -> set[str]:
    return {name for name, value in fields.items() if value not in _NO_VALUES}


def _nested_hints(conversation: Conversation) -> Iterator[str]:
    for message in conversation.messages:
        if message.name and message.role in _PARTICIPANTS:
            yield "messages.name"
        if any(isinstance(block, Image) and block.detail not in {None, "auto"} for block in message.blocks):
            yield "messages.content.image_url.detail"
    if conversation.output_format is not None and conversation.output_format.description:
        yield "response_format.json_schema.description"
    if any(isinstance(tool, Function) and tool.is_strict for tool in conversation.tools):
        yield "tools.function.strict"

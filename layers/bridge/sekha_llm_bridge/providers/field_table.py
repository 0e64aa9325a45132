"""What becomes of each field of OpenAI's chat request in each wire format.

A field that changes the answer is carried, or it excludes the models of the format: nothing is dropped silently. The
capabilities of the adapters are made from this table, and `config/PROVIDERS.md` shows it. Nested fields are named by
their path, without indices; a part, tool or choice of type `x` is `….x`. A field below one that only OpenAI's format
carries needs no row.

Source: OpenAI's API reference, "Create chat completion"; a test compares the names with OpenAI's Python SDK.
"""

from enum import Enum
from typing import NamedTuple

from sekha_llm_bridge.conversation import WireFormat
from sekha_llm_bridge.providers.capabilities import AdapterCapabilities, RequestFeature


class Handling(Enum):
    """What becomes of a field. The values are for the documentation."""

    CARRIED = "yes"
    """It is translated. Its meaning at the provider is the same, as far as the model has it."""
    NO_MEANING = "–"
    """It is left out: the answer is the same without it."""
    EXCLUDES = "excludes"
    """A request that uses it is not sent to models of this format."""
    HINT = "noted"
    """It is left out, with a note in the answer: the provider promises no certain effect of it."""


C, N, X, H = Handling.CARRIED, Handling.NO_MEANING, Handling.EXCLUDES, Handling.HINT


class FieldRow(NamedTuple):
    """One field. Of OpenAI's own format, every field is carried. `feature` is what excludes the models of the other
    formats; without one, the field does, by its name. `remark` says why it is left out.
    """

    name: str
    ollama: Handling
    anthropic: Handling
    bedrock: Handling
    feature: RequestFeature | None = None
    remark: str = ""
    openai: Handling = Handling.CARRIED

    @property
    def is_top_level(self) -> bool:
        """Whether it is a field of the request itself."""
        return "." not in self.name


F = RequestFeature
_CACHE = "caching changes the cost only"
_KEPT = "for OpenAI's own records and limits"
_ENFORCED = "the strictest way that the model has is always used"

FIELD_TABLE = (
    FieldRow("messages", C, C, C),
    FieldRow("messages.role", C, C, C),
    FieldRow("messages.role.system", C, C, C),
    FieldRow("messages.role.developer", C, C, C),
    FieldRow("messages.role.user", C, C, C),
    FieldRow("messages.role.assistant", C, C, C),
    FieldRow("messages.role.tool", C, C, C),
    FieldRow("messages.role.function", X, X, X, F.OTHER_CALL_HISTORY),
    FieldRow("messages.name", H, H, H, None, "one participant in a role needs no name"),
    FieldRow("messages.name of several in one role", X, X, X, F.PARTICIPANT_NAMES),
    FieldRow("messages.content", C, C, C),
    FieldRow("messages.content.text", C, C, C),
    FieldRow("messages.content.image_url", C, C, C),
    FieldRow("messages.content.image_url.url", C, C, C),
    FieldRow("messages.content.image_url.detail", H, H, H, None, "these models have no levels of resolution"),
    FieldRow("messages.content.input_audio", X, X, C, F.AUDIO_INPUT),
    FieldRow("messages.content.input_audio.data", X, X, C, F.AUDIO_INPUT),
    FieldRow("messages.content.input_audio.format", X, X, C, F.AUDIO_INPUT),
    FieldRow("messages.content.file", X, C, C, F.DOCUMENTS),
    FieldRow("messages.content.file.file_data", X, C, C, F.DOCUMENTS),
    FieldRow("messages.content.file.file_id", X, C, X, F.UPLOADED_FILES),
    FieldRow("messages.content.file.filename", X, C, C, F.DOCUMENTS),
    FieldRow("messages.content.refusal", C, C, C),
    FieldRow("messages.content.prompt_cache_breakpoint", N, N, N, None, _CACHE),
    FieldRow("messages.refusal", C, C, C),
    FieldRow("messages.audio", X, X, X, F.AUDIO),
    FieldRow("messages.function_call", X, X, X, F.OTHER_CALL_HISTORY),
    FieldRow("messages.tool_calls", C, C, C),
    FieldRow("messages.tool_calls.id", N, C, C, None, "a result names its function instead"),
    FieldRow("messages.tool_calls.function", C, C, C),
    FieldRow("messages.tool_calls.function.name", C, C, C),
    FieldRow("messages.tool_calls.function.arguments", C, C, C),
    FieldRow("messages.tool_calls.custom", X, X, X, F.OTHER_CALL_HISTORY),
    FieldRow("messages.tool_call_id", C, C, C),
    FieldRow("model", C, C, C),
    FieldRow("audio", X, X, X, F.AUDIO),
    FieldRow("frequency_penalty", C, X, X),
    FieldRow("function_call", X, X, X, F.FUNCTIONS),
    FieldRow("functions", X, X, X, F.FUNCTIONS),
    FieldRow("logit_bias", X, X, X, F.LOGIT_BIAS),
    FieldRow("logprobs", C, X, X, F.LOGPROBS),
    FieldRow("max_completion_tokens", C, C, C),
    FieldRow("max_tokens", C, C, C),
    FieldRow("metadata", N, N, N, None, _KEPT),
    FieldRow("modalities", X, X, X, F.MODALITIES),
    FieldRow("moderation", X, X, X, F.MODERATION),
    FieldRow("n", X, X, X, F.SEVERAL_CHOICES),
    FieldRow("parallel_tool_calls", X, C, C, F.SEQUENTIAL_TOOL_CALLS),
    FieldRow("prediction", X, X, X, F.PREDICTION),
    FieldRow("presence_penalty", C, X, X),
    FieldRow("prompt_cache_key", N, N, N, None, _CACHE),
    FieldRow("prompt_cache_options", N, N, N, None, _CACHE),
    FieldRow("prompt_cache_retention", N, N, N, None, _CACHE),
    FieldRow("reasoning_effort", C, C, C),
    FieldRow("response_format", C, C, C),
    FieldRow("response_format.text", N, N, N, None, "the default"),
    FieldRow("response_format.json_object", C, C, C),
    FieldRow("response_format.json_schema", C, C, C),
    FieldRow("response_format.json_schema.name", N, N, C, None, "a name without effect"),
    FieldRow("response_format.json_schema.description", H, H, C, None, "the schema's own descriptions are sent"),
    FieldRow("response_format.json_schema.schema", C, C, C),
    FieldRow("response_format.json_schema.strict", N, N, N, None, _ENFORCED),
    FieldRow("safety_identifier", N, C, N, None, _KEPT),
    FieldRow("seed", C, H, H, None, "OpenAI itself promises no more than its best effort"),
    FieldRow("service_tier", N, C, N, None, "speed and price, not the answer"),
    FieldRow("stop", C, C, C),
    FieldRow("store", N, N, N, None, _KEPT),
    FieldRow("stream", C, C, C),
    FieldRow("stream_options", C, C, C),
    FieldRow("stream_options.include_usage", C, C, C),
    FieldRow("stream_options.include_obfuscation", N, N, N, None, "filling in the events, not the answer"),
    FieldRow("temperature", C, C, C),
    FieldRow("tool_choice", C, C, C),
    FieldRow("tool_choice.auto", N, C, N, None, "the default"),
    FieldRow("tool_choice.none", C, C, C),
    FieldRow("tool_choice.required", X, C, C, F.FORCED_TOOL_CHOICE),
    FieldRow("tool_choice.function", X, C, C, F.FORCED_TOOL_CHOICE),
    FieldRow("tool_choice.function.name", X, C, C, F.FORCED_TOOL_CHOICE),
    FieldRow("tool_choice.allowed_tools", X, X, X, F.OTHER_TOOL_CHOICE),
    FieldRow("tool_choice.custom", X, X, X, F.OTHER_TOOL_CHOICE),
    FieldRow("tools", C, C, C),
    FieldRow("tools.function", C, C, C),
    FieldRow("tools.function.name", C, C, C),
    FieldRow("tools.function.description", C, C, C),
    FieldRow("tools.function.parameters", C, C, C),
    FieldRow("tools.function.strict", H, C, C, None, "the model gets the schema, but is not held to it"),
    FieldRow("tools.custom", X, X, X, F.NON_FUNCTION_TOOLS),
    FieldRow("top_logprobs", C, X, X, F.TOP_LOGPROBS),
    FieldRow("top_p", C, C, C),
    FieldRow("user", N, C, N, None, _KEPT),
    FieldRow("verbosity", X, X, X, F.VERBOSITY),
    FieldRow("web_search_options", X, X, X, F.WEB_SEARCH_OPTIONS),
)
"""One row for each field of OpenAI's request."""

_MARKS = frozenset({"cache_control"})  # Anthropic's field; like OpenAI's own for caching, it changes the cost only


def handling(row: FieldRow, wire_format: str) -> Handling:
    """Returns what becomes of a field in a format: "openai", "ollama", "anthropic" or "bedrock"."""
    found: Handling = getattr(row, wire_format)
    return found


def capabilities_in_table(
    wire_format: str,
    *,
    own_fields: frozenset[str],
    own_features: frozenset[RequestFeature] = frozenset(),
    counts_tokens: bool = False,
    original_format: WireFormat | None = None,
) -> AdapterCapabilities:
    """Returns what the adapter of a format supports: what the table says, and its own fields and features besides."""
    carried = [row for row in FIELD_TABLE if handling(row, wire_format) is C]
    excluding = [row for row in FIELD_TABLE if handling(row, wire_format) is X]
    return AdapterCapabilities(
        features=own_features | {row.feature for row in carried if row.feature is not None},
        translated_fields=own_fields | {row.name for row in carried if row.is_top_level},
        unsupported_fields=frozenset(row.name for row in excluding if row.feature is None),
        unnoted_fields=_MARKS | {row.name for row in FIELD_TABLE if handling(row, wire_format) in {N, X}},
        hints=frozenset(row.name for row in FIELD_TABLE if handling(row, wire_format) is H),
        counts_tokens=counts_tokens,
        original_format=original_format,
    )

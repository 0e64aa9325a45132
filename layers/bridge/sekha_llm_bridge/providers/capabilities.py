"""The features of a chat request that not every adapter supports, and what one adapter supports."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sekha_llm_bridge.conversation import WireFormat


class RequestFeature(Enum):
    """A feature of OpenAI's chat request that changes the answer. The value is its name in the reasons for exclusions.

    The first nine are the fields of the same name.
    """

    AUDIO = "audio"
    FUNCTIONS = "functions"
    LOGIT_BIAS = "logit_bias"
    LOGPROBS = "logprobs"
    MODERATION = "moderation"
    PREDICTION = "prediction"
    TOP_LOGPROBS = "top_logprobs"
    VERBOSITY = "verbosity"
    """How long the answer is; "medium" is the default."""
    WEB_SEARCH_OPTIONS = "web_search_options"
    MODALITIES = "modalities"
    """Answers in another form than text."""
    SEVERAL_CHOICES = "n > 1"
    FORCED_TOOL_CHOICE = "forced tool_choice"
    OTHER_TOOL_CHOICE = "tool_choice of type"
    """Any `tool_choice` but auto, none, required and a function."""
    SEQUENTIAL_TOOL_CALLS = "parallel_tool_calls: false"
    OTHER_RESPONSE_FORMAT = "response_format"
    """Any `response_format` but text, json_object and json_schema."""
    NON_FUNCTION_TOOLS = "tools that are no functions"
    OTHER_CONTENT_PART = "content of type"
    """Any part of a message that is not named here, and neither text, image_url nor refusal."""
    AUDIO_INPUT = "content of type input_audio"
    DOCUMENTS = "documents"
    """A file in a message, usually a PDF."""
    UPLOADED_FILES = "files by file_id"
    """A file that was uploaded to the provider before."""
    PARTICIPANT_NAMES = "names of several participants in one role"
    OTHER_CALL_HISTORY = "such a history of calls"
    """Earlier calls in the messages that are legacy function calls, calls of other tools than functions, or calls whose
    arguments are not JSON objects."""
    ANTHROPIC_CONTENT = "Anthropic-only"
    """Tools, content or fields that only Anthropic's API has."""
    IMAGE_BY_URL = "images by URL"
    """An image that the provider has to download."""


@dataclass(frozen=True, slots=True)
class RequestedFeature:
    """A feature that a request uses. `detail` says which one, where the feature stands for several."""

    feature: RequestFeature
    detail: str | None = None

    @property
    def name(self) -> str:
        """The name in the reasons for exclusions."""
        return self.feature.value if self.detail is None else f"{self.feature.value} {self.detail}"


@dataclass(frozen=True, slots=True)
class AdapterCapabilities:
    """The features and fields that an adapter supports.

    `translated_fields` are the top-level fields of a chat request that it translates; None: it sends every field.
    `unsupported_fields` are those that this vendor does not support, by the names of `RouteRequest.used_features`.
    `counts_tokens`: its provider counts the tokens of a prompt by a free request.
    `unnoted_fields` may be left out without a note: the answer is the same, or other values than the default exclude
    the model. `hints` are left out with one. All names are those of the field table. `original_format` is the format in
    which it sends a request as it was sent (`Conversation.original`); None: it translates every request.
    """

    features: frozenset[RequestFeature] = frozenset()
    translated_fields: frozenset[str] | None = frozenset()
    unsupported_fields: frozenset[str] = frozenset()
    counts_tokens: bool = False
    unnoted_fields: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    original_format: WireFormat | None = None

    def missing(self, requested: Iterable[RequestedFeature]) -> list[str]:
        """Returns the sorted names of the requested features that the adapter does not support."""
        return sorted(one.name for one in requested if one.feature not in self.features)

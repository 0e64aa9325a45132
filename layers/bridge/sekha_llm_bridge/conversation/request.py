"""A chat request in the internal format."""

from enum import StrEnum
from typing import Any, NamedTuple, TypedDict

from sekha_llm_bridge.conversation.blocks import (
    NO_FIELDS,
    Block,
    CacheControl,
    Json,
    Original,
    OtherBlock,
    Refusal,
    WireFormat,
)


class Role(StrEnum):
    """Who says a message. `TOOL` is the result of a call; `FUNCTION` is OpenAI's legacy form of it."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    FUNCTION = "function"


ADDED: Json = {"added_by_the_bridge": True}
"""The `extra` of a message that an inbound API adds for other formats. The adapter of its own format leaves it out."""


class Message(NamedTuple):
    """One message: its blocks in order.

    `call_id` is the id of the `ToolCall` whose result the message is (role `TOOL`); `is_error`: that call has failed.
    `is_text`: the content was sent as one text, not as a list of parts. `extra` has other fields of the message.
    """

    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None
    call_id: str | None = None
    is_error: bool = False
    is_text: bool = True
    cache: CacheControl | None = None
    extra: Json = NO_FIELDS


class Function(NamedTuple):
    """A function that the model may call. `parameters` is a JSON schema; None where there are none."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    is_strict: bool | None = None
    cache: CacheControl | None = None
    extra: Json = NO_FIELDS


class OtherTool(NamedTuple):
    """A tool of another type; `fields` is the whole object of the inbound format."""

    kind: str
    fields: Json


Tool = Function | OtherTool


class ToolChoiceMode(StrEnum):
    """Whether the model may, must not or must call a tool; `NAMED`: it must call a certain function."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"
    OTHER = "other"


_FORCED = frozenset({ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED})


class ToolChoice(NamedTuple):
    """Which tool the model must call. `name` is set for `NAMED`. `fields` is the value as it was sent."""

    mode: ToolChoiceMode
    name: str | None = None
    fields: object = None


class OutputFormatKind(StrEnum):
    """The form that an answer must have."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    OTHER = "other"


class OutputFormat(NamedTuple):
    """The form that an answer must have. `schema` is a JSON schema. `fields` is the object as it was sent."""

    kind: OutputFormatKind
    name: str | None = None
    schema: Json | None = None
    is_strict: bool | None = None
    description: str | None = None
    fields: Json = NO_FIELDS


class Parameters(TypedDict, total=False):
    """The scalar settings of a request, by OpenAI's names, which most formats share. Only those that the caller set."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: str | list[str] | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: dict[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    reasoning_effort: str | None
    verbosity: str | None
    user: str | None


class Conversation(NamedTuple):
    """A chat request, without the model and without the bridge's own fields.

    `max_output_tokens` is for each of `n_choices`; None: the request does not say. `vendor_fields` are the top-level
    fields that have no place here, for adapters that know them. `thinking` is Anthropic's object of that name.
    `effort_hint` is the `reasoning_effort` that stands for what the caller said in another form: a model that does not
    take it is asked without it.

    `wire_format` is that of the inbound API. `original` is the request as it was sent, where an adapter of the same
    format can send it so.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    is_parallel: bool | None = None
    output_format: OutputFormat | None = None
    max_output_tokens: int | None = None
    n_choices: int = 1
    parameters: Parameters = NO_FIELDS  # type: ignore[assignment]  # read only, as every value here
    thinking: Json | None = None
    effort_hint: str | None = None
    cache: CacheControl | None = None
    vendor_fields: Json = NO_FIELDS
    wire_format: WireFormat = WireFormat.OPENAI_CHAT
    original: Original | None = None

    @property
    def forces_call(self) -> bool:
        """Whether the model must call a tool."""
        choice = self.tool_choice
        return bool(self.tools) and choice is not None and choice.mode in _FORCED

    def without_extras(self) -> "Conversation":
        """Returns the conversation without the fields of its own format that no typed field stands for."""
        messages = tuple(
            message._replace(extra=NO_FIELDS, blocks=tuple(map(_without_extra, message.blocks)))
            for message in self.messages
        )
        tools = tuple(tool._replace(extra=NO_FIELDS) if isinstance(tool, Function) else tool for tool in self.tools)
        return self._replace(messages=messages, tools=tools, vendor_fields=NO_FIELDS, original=None)

    def field(self, name: str) -> Any:
        """Returns a scalar setting or a vendor field; None where the caller did not send it."""
        value = self.parameters.get(name)
        return self.vendor_fields.get(name) if value is None else value


def _without_extra(block: Block) -> Block:
    return block._replace(extra=NO_FIELDS) if not isinstance(block, OtherBlock | Refusal) else block

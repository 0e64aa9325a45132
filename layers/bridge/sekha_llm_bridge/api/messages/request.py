"""The request of Anthropic's Messages API, and the bridge's extensions. Unknown fields are kept.

Source: platform.claude.com, API reference, "Create a Message", "Count tokens in a Message".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StrictBool, Tag, field_validator

from sekha_llm_bridge.api.conversations.images import check_image_url, check_other_urls
from sekha_llm_bridge.api.conversations.options import OptionFields
from sekha_llm_bridge.media.addresses import check_public_url
from sekha_llm_bridge.providers.empty_objects import object_for_list, schema_with_objects

_INT32 = 2**31
_OutputLimit = Annotated[int, Field(strict=True, ge=0, lt=_INT32)]  # 0: the prompt is only written to the cache
_FIELDS_OF_SOURCES = {
    "base64": ("media_type", "data"),
    "url": ("url",),
    "file": ("file_id",),
    "text": ("data",),
    "content": ("content",),
}
_SOURCES = {
    "image": frozenset({"base64", "url", "file"}),
    "document": frozenset({"base64", "url", "file", "text", "content"}),
}
_FIELDS_OF_BLOCKS = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name", "input"),
    "thinking": ("thinking",),
    "redacted_thinking": ("data",),
}
_ONLY_IN = {
    "assistant": frozenset({"tool_use", "thinking", "redacted_thinking"}),
    "user": frozenset({"tool_result", "image", "document"}),
}


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Source(_Lenient):
    """Where an image or a document comes from."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list[dict[str, Any]] | None = None

    @field_validator("url")
    @classmethod
    def _public(cls, url: str | None) -> str | None:
        if url is not None:
            check_public_url(url)
        return url

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a source has the fields that its type needs."""
        for name in _FIELDS_OF_SOURCES.get(self.type, ()):
            if getattr(self, name) is None:
                raise ValueError(f"a source of type {self.type} needs `{name}`")
        for block in self.content if isinstance(self.content, list) else ():
            check_other_urls(str(block.get("type")), block)


# The names of unions are no identifiers: they are not part of an error's path.
SourceOrText = Annotated[
    Annotated[Source, Tag("an object")] | Annotated[str, Tag("a text")],
    Discriminator(lambda value: "a text" if isinstance(value, str) else "an object"),
]
"""The source of an image or a document; of a search result, a text."""


class Part(_Lenient):
    """One content block of a message, or of the result of a call."""

    type: str
    text: str | None = None
    source: SourceOrText | None = None
    id: str | None = None
    name: str | None = None
    # Agents send back a text where the model has written no JSON object.
    input: Annotated[dict[str, Any] | str | None, BeforeValidator(object_for_list)] = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    title: str | None = None
    context: str | None = None
    citations: list[dict[str, Any]] | dict[str, Any] | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a block has the fields that its type needs, and that what it names may be fetched."""
        for name in _FIELDS_OF_BLOCKS.get(self.type, ()):
            if getattr(self, name) is None:
                raise ValueError(f"a block of type {self.type} needs `{name}`")
        if (kinds := _SOURCES.get(self.type)) is not None:
            source = self.source
            if not isinstance(source, Source) or source.type not in kinds:
                raise ValueError(f"`source` of a block of type {self.type} must be of type {_joined(kinds)}")
            if self.type == "image" and source.type == "base64":
                check_image_url(f"data:{source.media_type};base64,{source.data}")
        if self.type != "text" and self.model_extra:
            check_other_urls(self.type, self.model_extra)


def _joined(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


class ToolResult(_Lenient):
    """The result of a call, with its own content blocks."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Part] | None = None
    is_error: StrictBool | None = None

    @field_validator("content")
    @classmethod
    def _content(cls, content: str | list[Part] | None) -> str | list[Part] | None:
        for part in content if isinstance(content, list) else ():
            if part.type in _ONLY_IN["assistant"] or part.type == "tool_result":
                raise ValueError(f"a result has no blocks of type {part.type}")
        return content


def _is_result(block: object) -> str:
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    return "a result" if kind == "tool_result" else "a block"


Block = Annotated[Annotated[ToolResult, Tag("a result")] | Annotated[Part, Tag("a block")], Discriminator(_is_result)]
"""A content block of a message."""


class InputMessage(_Lenient):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    def model_post_init(self, _context: object, /) -> None:
        """Validates that each block may be in a message of this role."""
        for block in self.content if isinstance(self.content, list) else ():
            if self.role == "system" and block.type != "text":
                raise ValueError(f"a message of role system has only text, not {block.type}")
            for role, kinds in _ONLY_IN.items():
                if block.type in kinds and role != self.role:
                    raise ValueError(f"a block of type {block.type} must be in a message of role {role}")


class SystemText(_Lenient):
    """One block of the system prompt."""

    type: Literal["text"]
    text: str


class Tool(_Lenient):
    """A tool that the model may use. One of type `custom`, or without a type, is a function of the caller."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: Annotated[dict[str, Any] | None, BeforeValidator(schema_with_objects)] = None
    strict: StrictBool | None = None

    @property
    def is_function(self) -> bool:
        """Whether it is a function of the caller."""
        return self.type in {None, "custom"}

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a function has its name and its schema."""
        if self.is_function and not self.name:
            raise ValueError("a tool needs `name`")
        if self.is_function and self.input_schema is None:
            raise ValueError("a tool needs `input_schema`")


class ToolChoice(_Lenient):
    """Whether the model may, must or must not call a tool."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: StrictBool | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a choice of one tool names it."""
        if self.type == "tool" and not self.name:
            raise ValueError("type tool needs `name`")


class Thinking(_Lenient):
    """Whether, and how much, the model should think."""

    type: str
    budget_tokens: Annotated[int, Field(strict=True, ge=1, lt=_INT32)] | None = None


class Format(_Lenient):
    """The form that the answer must have."""

    type: str
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    def model_post_init(self, _context: object, /) -> None:
        """Validates that it is a JSON schema: Anthropic has no other form."""
        if self.type != "json_schema":
            raise ValueError("type must be json_schema")
        if self.schema_ is None:
            raise ValueError("type json_schema needs `schema`")


class OutputConfig(_Lenient):
    """How the model should answer."""

    effort: str | None = None
    format: Format | None = None


class Metadata(_Lenient):
    """What the request is about."""

    user_id: str | None = None


class CountRequest(OptionFields, _Lenient):
    """A request to count the tokens of a prompt. The ranges are Anthropic's."""

    messages: list[InputMessage] = Field(min_length=1)
    model: str | None = None
    max_tokens: _OutputLimit | None = None
    system: str | list[SystemText] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(strict=True, ge=0, lt=_INT32)] | None = None
    stop_sequences: list[str] | None = None
    cache_control: dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    container: str | dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    diagnostics: dict[str, Any] | None = None
    stream: StrictBool | None = None


class MessagesRequest(CountRequest):
    """A request for a message. As with Anthropic, it must limit the answer."""

    max_tokens: _OutputLimit


KNOWN_FIELDS = frozenset(MessagesRequest.model_fields)
"""The fields of a request that the bridge knows."""

"""The chat request: OpenAI's schema and the bridge's extensions. Unknown fields are kept."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator

from sekha_llm_bridge.api.conversations.images import check_image_url, check_other_urls
from sekha_llm_bridge.api.conversations.options import OptionFields
from sekha_llm_bridge.api.vendor_fields import BOUNDED_FIELDS

_INT32 = 2**31


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ImageUrl(_Lenient):
    """The URL of an image."""

    url: str

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        check_image_url(url)
        return url


class ContentPart(_Lenient):
    """One part of a message's content."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None

    @field_validator("image_url", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError('must be an object such as {"url": "https://…"}')  # noqa: TRY004 — pydantic reports ValueError
        return value

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a part has the field that its type needs."""
        if self.type == "text" and self.text is None:
            raise ValueError("a part of type text needs `text`")
        if self.type == "image_url" and self.image_url is None:
            raise ValueError("a part of type image_url needs `image_url`")
        if self.type != "text" and self.model_extra:
            check_other_urls(self.type, self.model_extra)


class FunctionCall(_Lenient):
    """A function's name and arguments, as JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(_Lenient):
    """A tool call in an assistant's message."""

    id: str | None = None
    function: FunctionCall | None = None


class ChatMessage(_Lenient):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that only an assistant's message has no content: one that calls a tool."""
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of role {self.role} needs `content`")

    @property
    def parts(self) -> list[ContentPart]:
        """The content's parts; empty where the content is a text."""
        return self.content if isinstance(self.content, list) else []


class Function(_Lenient):
    """A function that a model may call."""

    name: str = Field(min_length=1)


class Tool(_Lenient):
    """A tool that a model may use."""

    type: str
    function: Function | None = None


class ResponseFormat(_Lenient):
    """The required format of the answer."""

    type: str
    json_schema: dict[str, Any] | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that type json_schema has its schema."""
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("type json_schema needs `json_schema`")


class StreamOptions(_Lenient):
    """What a stream contains besides the answer."""

    include_usage: StrictBool | None = None


class ChatRequest(OptionFields, _Lenient):
    """A chat-completions request; the ranges are those of OpenAI."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1, lt=_INT32)] | None = None
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1, lt=_INT32)] | None = None
    presence_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    stop: str | list[str] | None = None
    seed: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream must end with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


KNOWN_FIELDS = frozenset(ChatRequest.model_fields) | BOUNDED_FIELDS
"""The fields of a chat that the bridge knows, besides those that are billed or for a gateway."""

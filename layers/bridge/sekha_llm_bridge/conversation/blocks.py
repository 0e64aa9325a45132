"""The blocks of a message's content, in the order in which they were sent.

`extra` of every type has the fields of the inbound format that no typed field stands for. An adapter of the same format
sends them as they are.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

Json = Mapping[str, Any]
"""A JSON object."""

NO_FIELDS: Json = MappingProxyType({})


class WireFormat(StrEnum):
    """The format of an API of models. The fields in `extra` and `vendor_fields` belong to the format of the inbound
    API: an adapter of another format does not send them.
    """

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC = "anthropic-messages"
    OLLAMA = "ollama"


class Original(NamedTuple):
    """A request, an answer or an event of a stream as it was sent, in the format `wire_format`.

    `headers` are those of a request that belong to the format, such as `anthropic-beta`; names in lower case.
    """

    wire_format: WireFormat
    fields: Json
    headers: Mapping[str, str] = NO_FIELDS


class CacheControl(NamedTuple):
    """A mark up to which a provider may cache the prompt. `ttl` is "5m", "1h", or None for the provider's default.

    `extra` has the other fields of the object, without its `type`, which is always "ephemeral".
    """

    ttl: str | None = None
    extra: Json = NO_FIELDS


class Media(NamedTuple):
    """The content of an image or a document. Exactly one of `data` (base64), `url`, `text` and `file_id` is set.

    `media_type` is for example "image/png"; of an inline image, it is that of its bytes. None where the sender did not
    say, which is usual for URLs.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    text: str | None = None
    file_id: str | None = None


class Text(NamedTuple):
    """A text. `citations` are the sources that a provider has named for it, in the provider's own form."""

    text: str
    cache: CacheControl | None = None
    citations: tuple[Json, ...] = ()
    extra: Json = NO_FIELDS


class Image(NamedTuple):
    """An image. `detail` is OpenAI's: "low", "high", "auto"."""

    media: Media
    detail: str | None = None
    cache: CacheControl | None = None
    extra: Json = NO_FIELDS


class Document(NamedTuple):
    """A document, usually a PDF. `wants_citations`: the answer should cite it (Anthropic)."""

    media: Media
    name: str | None = None
    context: str | None = None
    wants_citations: bool | None = None
    cache: CacheControl | None = None
    extra: Json = NO_FIELDS


class Audio(NamedTuple):
    """A recording: base64 `data` in `format` ("wav", "mp3")."""

    data: str
    format: str
    extra: Json = NO_FIELDS


class Refusal(NamedTuple):
    """A model's words about why it does not answer."""

    text: str


class ReasoningKind(StrEnum):
    """Whose reasoning it is. A provider takes back only its own; the values are those of OpenRouter's `format`."""

    UNKNOWN = "unknown"
    ANTHROPIC = "anthropic-claude-v1"
    OPENAI = "openai-responses-v1"
    GEMINI = "google-gemini-v1"
    XAI = "xai-responses-v1"
    BEDROCK = "bedrock-converse-v1"


class Reasoning(NamedTuple):
    """A part of a model's reasoning. The provider checks `signature` when the text is sent back.

    `encrypted` is reasoning that only the provider can read (Anthropic's `redacted_thinking`, OpenAI's
    `encrypted_content`); `text` is then empty or a summary. `item_id` is OpenAI's id of the item.
    """

    text: str
    kind: ReasoningKind = ReasoningKind.UNKNOWN
    signature: str | None = None
    encrypted: str | None = None
    item_id: str | None = None
    extra: Json = NO_FIELDS


class ToolCall(NamedTuple):
    """A call of a tool by the model. `arguments` is a JSON text. `kind` is "function", or another type of tool, whose
    fields are in `extra`.
    """

    call_id: str | None
    name: str
    arguments: str
    kind: str = "function"
    cache: CacheControl | None = None
    extra: Json = NO_FIELDS


class OtherBlock(NamedTuple):
    """A part of a type that this format does not have; `fields` is the whole object of the inbound format."""

    kind: str
    fields: Json


Block = Text | Image | Document | Audio | Refusal | Reasoning | ToolCall | OtherBlock

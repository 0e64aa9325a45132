"""Translates messages into Converse's. Source: Amazon Bedrock API Reference, "Message", "ContentBlock".

Converse is stricter than other formats: roles alternate, no text is blank, the results of all calls of one message are
in one message, ids of calls have few characters, and the names of documents are unique and plain.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Any

import orjson

from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    CacheControl,
    Document,
    Image,
    Media,
    Message,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Role,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.bedrock.models import HIDDEN_FAMILY, ModelFamily
from sekha_llm_bridge.providers.call_ids import CallIds

Content = dict[str, Any]
"""One content block of Converse."""

_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_CALL_ID = r"[a-zA-Z0-9_.:-]{1,64}"
_MISTRAL_CALL_ID = r"[a-zA-Z0-9]{9}"
_DOCUMENT_NAME = r"[a-zA-Z0-9()\[\]-]+(?: [a-zA-Z0-9()\[\]-]+)*"
_MAX_DOCUMENT_NAME = 200
_TEXT_BESIDE_DOCUMENTS = "See the attached document."  # Converse refuses a document without a text
_BEGINNING = "(The assistant begins.)"
_EMPTY_RESULT = "(no output)"
_FAILED_CALL = "The call failed:"


def unsuitable(message: str, feature: str | None = None) -> ProviderError:
    """Returns the error for a request with something that Converse, or this model, has no place for.

    `feature` is set only for what no other request to this model may use: it is remembered.
    """
    return ProviderError(FailureKind.CANDIDATE_UNSUITABLE, message, unsupported_feature=feature)


def cache_point(cache: CacheControl | None, family: ModelFamily) -> list[Content]:
    """Returns the mark that ends the part of a prompt that may be cached; nothing where the caller set none, and where
    the models of the family take none. Without a `ttl`, the default of five minutes applies.
    """
    if cache is None or not family.takes_cache_points:
        return []
    has_ttl = cache.ttl and family.takes_hour_cache
    return [{"cachePoint": {"type": "default", **({"ttl": cache.ttl} if has_ttl else {})}}]


class MessageTranslator:
    """Translates the messages of one request. `system` and `messages` are Converse's fields of these names.

    `writes_calls_as_text`: earlier calls and their results become texts. Converse refuses a history of calls without
    tools, and with tools the model might call one, which it has no way to forbid.
    """

    def __init__(self, family: ModelFamily, *, writes_calls_as_text: bool) -> None:
        self.system: list[Content] = []
        self.messages: list[dict[str, Any]] = []
        self._family = family
        self._writes_calls_as_text = writes_calls_as_text
        self._document_names: set[str] = set()
        self._ids = CallIds(self._valid_call_id)

    def add(self, message: Message) -> None:
        """Appends a message; to the last one, where it has the same role. A message without content is left out."""
        if message.role in _SYSTEM_ROLES:
            self.system += self._system(message)
            return
        content = self._tool_result(message) if message.role is Role.TOOL else self._contents(message.blocks)
        if message.role is Role.FUNCTION:
            raise unsuitable("Bedrock has no legacy function calls: use `tools`")
        if not content:
            return
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        content += self._mark(message.cache)
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += content
        else:
            self.messages.append({"role": role, "content": content})

    def finish(self, cache: CacheControl | None) -> None:
        """Ends the translation. `cache` is the mark of the whole request.

        A conversation of system messages alone is sent as the user's, and one that begins with the assistant gets a
        user message before it: Converse requires that the user begins.
        """
        if not self.messages and self.system:
            self.messages, self.system = [{"role": "user", "content": self.system}], []
        if self.messages and self.messages[0]["role"] == "assistant":
            self.messages.insert(0, {"role": "user", "content": [{"text": _BEGINNING}]})
        for message in self.messages:
            kinds = {kind for content in message["content"] for kind in content}
            if "document" in kinds and "text" not in kinds:
                message["content"].append({"text": _TEXT_BESIDE_DOCUMENTS})
        if self.messages:
            last = self.messages[-1]
            if last["role"] == "assistant" and "text" in last["content"][-1]:  # Claude refuses spaces at its end
                last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
            last["content"] += self._mark(cache)

    def _system(self, message: Message) -> list[Content]:
        content: list[Content] = []
        for block in message.blocks:
            if not isinstance(block, Text):
                raise unsuitable("Bedrock takes only text in system messages")
            content += self._text(block)
        return content + (self._mark(message.cache) if content else [])

    def _contents(self, blocks: Iterable[Block]) -> list[Content]:
        return [content for block in blocks for content in self._content(block)]

    def _content(self, block: Block) -> list[Content]:
        match block:
            case Text():
                return self._text(block)
            case Refusal(text):
                return [{"text": text}] if text.strip() else []
            case Image():
                return [{"image": _image(block.media)}, *self._mark(block.cache)]
            case Document():
                return [{"document": self._document(block)}, *self._mark(block.cache)]
            case Audio():
                return [{"audio": {"format": block.format, "source": {"bytes": block.data}}}]
            case Reasoning():
                return self._reasoning(block)
            case ToolCall():
                return [self._call(block), *self._mark(block.cache)]
            case OtherBlock():
                raise unsuitable("Bedrock has no place for this type of content")

    def _mark(self, cache: CacheControl | None) -> list[Content]:
        return cache_point(cache, self._family)

    def _text(self, block: Text) -> list[Content]:
        return [{"text": block.text}, *self._mark(block.cache)] if block.text.strip() else []

    def _reasoning(self, block: Reasoning) -> list[Content]:
        """Returns reasoning that this model has signed or encrypted; a model takes back only its own."""
        own = ReasoningKind.ANTHROPIC if self._family.is_claude else ReasoningKind.BEDROCK
        is_own = block.kind is own or (self._family is HIDDEN_FAMILY and block.kind is ReasoningKind.ANTHROPIC)
        if not is_own or self._writes_calls_as_text:
            return []
        if block.encrypted:
            return [{"reasoningContent": {"redactedContent": block.encrypted}}]
        if block.signature:
            return [{"reasoningContent": {"reasoningText": {"text": block.text, "signature": block.signature}}}]
        return []

    def _call(self, call: ToolCall) -> Content:
        if call.kind != "function":
            raise unsuitable("Bedrock takes calls of functions only")
        if self._writes_calls_as_text:
            return {"text": f"[call of the tool {call.name}: {call.arguments or '{}'}]"}
        try:
            arguments = orjson.loads(call.arguments or "{}")
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise unsuitable("Bedrock takes only calls whose arguments are a JSON object")
        return {"toolUse": {"toolUseId": self._ids.of_call(call.call_id), "name": call.name, "input": arguments}}

    def _tool_result(self, message: Message) -> list[Content]:
        content = self._contents(message.blocks)
        marks = [one for one in content if "cachePoint" in one]  # they have no place inside a result
        content = [one for one in content if "cachePoint" not in one] or [{"text": _EMPTY_RESULT}]
        if any(one.keys().isdisjoint({"text", "image", "document"}) for one in content):
            raise unsuitable("Bedrock takes only text, images and documents in the result of a call")
        if self._writes_calls_as_text:
            return [{"text": "[result of the tool, failed]" if message.is_error else "[result of the tool]"}, *content]
        has_status = self._family.is_claude or self._family.is_nova or self._family is HIDDEN_FAMILY
        result: Content = {"toolUseId": self._ids.of_result(message.call_id), "content": content}
        if message.is_error and has_status:
            result["status"] = "error"
        elif message.is_error:
            content.insert(0, {"text": _FAILED_CALL})
        return [{"toolResult": result}, *marks]

    def _valid_call_id(self, given: str) -> str:
        """Returns an id that Converse accepts."""
        if re.fullmatch(_MISTRAL_CALL_ID if self._family.is_mistral else _CALL_ID, given):
            return given
        digest = hashlib.sha256(given.encode()).hexdigest()
        return digest[:9] if self._family.is_mistral else f"call_{digest[:32]}"

    def _document(self, block: Document) -> Content:
        data, media = block.media.data, block.media
        if media.text is not None:
            data = base64.b64encode(media.text.encode()).decode()
        if data is None:
            raise unsuitable("Bedrock takes only documents that are in the request itself")
        extension = (block.name or "").rpartition(".")[2].lower()
        media_type = media.media_type or ("text/plain" if media.text is not None else "")
        form = _DOCUMENT_FORMATS.get(media_type) or (extension if extension in _DOCUMENT_FORMATS.values() else None)
        if form is None:
            raise unsuitable("Bedrock does not take documents of this type")
        document: Content = {"format": form, "name": self._document_name(block.name), "source": {"bytes": data}}
        if block.context:
            document["context"] = block.context
        if block.wants_citations is not None:
            document["citations"] = {"enabled": block.wants_citations}
        return document

    def _document_name(self, name: str | None) -> str:
        """Returns the name without its extension where Converse accepts it, else a neutral one; never one twice."""
        stem = (name or "").rpartition(".")[0] or name or ""
        is_valid = len(stem) <= _MAX_DOCUMENT_NAME and re.fullmatch(_DOCUMENT_NAME, stem)
        number = len(self._document_names) + 1
        found = stem if is_valid and stem not in self._document_names else f"document {number}"
        while found in self._document_names:
            number += 1
            found = f"document {number}"
        self._document_names.add(found)
        return found


def _image(media: Media) -> Content:
    if media.data is None:
        raise unsuitable("Bedrock takes only images that are in the request itself")
    form = _IMAGE_FORMATS.get(media.media_type or "")
    if form is None:
        raise unsuitable("Bedrock takes only PNG, JPEG, GIF and WebP images")
    return {"format": form, "source": {"bytes": media.data}}

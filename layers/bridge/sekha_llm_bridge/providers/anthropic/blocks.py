"""Translates the blocks of messages into Anthropic's content blocks.

A text without a visible character is left out, because Anthropic rejects it. Reasoning of other vendors is left out,
because only its own vendor can read it.

Source: platform.claude.com, API reference, "Create a Message"; "Vision"; "PDF support"; "Files API".
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    CacheControl,
    Document,
    Image,
    Json,
    Media,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.call_ids import CallIds

WireBlock = dict[str, Any]
"""One of Anthropic's content blocks."""

OWN_BLOCKS = frozenset(
    {
        *("search_result", "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "container_upload"),
        *("code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result"),
        *("tool_search_tool_result", "tool_reference", "mcp_tool_use", "mcp_tool_result", "compaction"),
    }
)
"""The types of blocks that only Anthropic has: they are sent back as they came."""

_CITATIONS = "_location"  # the ending of the types of Anthropic's citations
_PDF = "application/pdf"


def cache_control(cache: CacheControl) -> Json:
    """Returns Anthropic's `cache_control`."""
    return {"type": "ephemeral", **({} if cache.ttl is None else {"ttl": cache.ttl}), **cache.extra}


def wire_blocks(blocks: Iterable[Block], ids: CallIds) -> list[WireBlock]:
    """Returns the content blocks. Raises `ProviderError` (CANDIDATE_UNSUITABLE, REQUEST_REJECTED) for a block that
    Anthropic does not have.
    """
    translated = (_wire_block(block, ids) for block in blocks)
    return [block for block in translated if block is not None]


def _wire_block(block: Block, ids: CallIds) -> WireBlock | None:
    match block:
        case Text() | Refusal():
            return _text(block)
        case Image():
            return _cached({"type": "image", "source": _image_source(block.media)}, block.cache)
        case Document():
            return _document(block)
        case Reasoning():
            return _reasoning(block)
        case ToolCall():
            return _tool_use(block, ids)
        case OtherBlock() if block.kind in OWN_BLOCKS:
            return dict(block.fields)
        case Audio() | OtherBlock():
            kind = block.kind if isinstance(block, OtherBlock) else "input_audio"
            raise unsuitable(f"Anthropic has no content of type {kind:.40}")


def _cached(block: WireBlock, cache: CacheControl | None) -> WireBlock:
    return block if cache is None else {**block, "cache_control": cache_control(cache)}


def _text(block: Text | Refusal) -> WireBlock | None:
    if not block.text.strip():
        return None
    translated: WireBlock = {"type": "text", "text": block.text}
    if isinstance(block, Refusal):
        return translated
    if own := [one for one in block.citations if str(one.get("type")).endswith(_CITATIONS)]:
        translated["citations"] = own
    return _cached(translated, block.cache)


def _reasoning(block: Reasoning) -> WireBlock | None:
    if block.kind is not ReasoningKind.ANTHROPIC:
        return None
    if block.signature:
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    return {"type": "redacted_thinking", "data": block.encrypted} if block.encrypted else None


def _tool_use(call: ToolCall, ids: CallIds) -> WireBlock:
    try:
        arguments = orjson.loads(call.arguments.strip() or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if call.kind != "function" or not isinstance(arguments, dict):
        raise ProviderError(
            FailureKind.REQUEST_REJECTED,
            "Anthropic takes only earlier calls of functions whose arguments are a JSON object",
            param="messages",
        )
    block = {"type": "tool_use", "id": ids.of_call(call.call_id), "name": call.name, "input": arguments}
    return _cached(block, call.cache)


def _image_source(media: Media) -> Json:
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    media_type = (media.media_type or "").lower().replace("image/jpg", "image/jpeg")
    return {"type": "base64", "media_type": media_type, "data": media.data}


def _document(block: Document) -> WireBlock:
    translated: WireBlock = {"type": "document", "source": _document_source(block.media)}
    if block.name is not None:
        translated["title"] = block.name
    if block.context is not None:
        translated["context"] = block.context
    if block.wants_citations is not None:
        translated["citations"] = {"enabled": block.wants_citations}
    return _cached(translated, block.cache)


def _document_source(media: Media) -> Json:
    if media.file_id is not None:
        return {"type": "file", "file_id": media.file_id}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    if media.text is not None:
        return _plain_text(media.text)
    media_type = (media.media_type or _PDF).partition(";")[0].strip().lower()
    if media_type == _PDF:
        return {"type": "base64", "media_type": _PDF, "data": media.data}
    if media_type.startswith("text/") or media_type == "application/json":
        return _plain_text(_decoded(media.data or ""))
    raise unsuitable(f"Anthropic takes documents as PDF or text, not as {media_type:.60}")


def _plain_text(text: str) -> Json:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        message = "a document that is said to be text is not UTF-8 in base64"
        raise ProviderError(FailureKind.REQUEST_REJECTED, message, param="messages") from exc


def unsuitable(message: str, param: str = "messages") -> ProviderError:
    """Returns the error for a request that needs something that this model or Anthropic does not have."""
    return ProviderError(FailureKind.CANDIDATE_UNSUITABLE, message, param=param)

"""Finds the cache marks of a conversation: up to where a provider is asked to keep the prompt, and for how long."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

from sekha_llm_bridge.conversation.blocks import NO_FIELDS, Block, CacheControl, Json
from sekha_llm_bridge.conversation.request import Conversation, Message, OtherTool, Tool

_NAME = "cache_control"


class CacheLifetime(IntEnum):
    """For how long a marked prompt is kept; a later one of these may cost more."""

    NONE = 0
    """It is not marked."""

    MINUTES = 1
    """For five minutes, the default."""

    HOUR = 2

    OTHER = 3
    """For a time that no vendor documents."""


class CacheMarks(NamedTuple):
    """The marks of one conversation: their longest lifetime, and how many blocks of its messages, in order, are before
    the last one; 0 where only tools are marked.
    """

    lifetime: CacheLifetime = CacheLifetime.NONE
    n_blocks: int = 0

    @property
    def has_any(self) -> bool:
        """Whether the conversation has a mark."""
        return self.lifetime is not CacheLifetime.NONE


NO_MARKS = CacheMarks()


def cache_marks_of(conversation: Conversation) -> CacheMarks:
    """Returns the marks of a conversation, also those in fields that the internal format does not have: a gateway reads
    them all the same.
    """
    of_request = _longest((conversation.cache, conversation.vendor_fields.get(_NAME)))
    lifetime = max(of_request, *map(_lifetime_of_tool, conversation.tools), CacheLifetime.NONE)
    n_blocks = n_marked = 0
    for message in conversation.messages:
        for block in message.blocks:
            n_blocks += 1
            if found := _lifetime_of_block(block):
                lifetime, n_marked = max(lifetime, found), n_blocks
        if found := _lifetime_of_message(message):
            lifetime, n_marked = max(lifetime, found), n_blocks
    return CacheMarks(lifetime, n_blocks if of_request else n_marked) if lifetime else NO_MARKS


def _lifetime_of_tool(tool: Tool) -> CacheLifetime:
    if isinstance(tool, OtherTool):
        return _longest(_raw_marks(tool.fields))
    return _longest((tool.cache, *_raw_marks(tool.extra)))


def _lifetime_of_message(message: Message) -> CacheLifetime:
    if message.cache is None and not message.extra:
        return CacheLifetime.NONE
    return _longest((message.cache, message.extra.get(_NAME)))


def _lifetime_of_block(block: Block) -> CacheLifetime:
    cache: CacheControl | None = getattr(block, "cache", None)
    fields: Json | None = getattr(block, "extra", None) or getattr(block, "fields", None)
    if cache is None and not fields:
        return CacheLifetime.NONE
    return _longest((cache, *_raw_marks(fields or NO_FIELDS)))


def _raw_marks(fields: Json) -> Iterator[object]:
    """Yields the marks of an object of the inbound format: its own, that of its `function`, those of its `content`,
    and those of a document in blocks.
    """
    yield fields.get(_NAME)
    source = fields.get("source")
    contents = fields.get("content"), source.get("content") if isinstance(source, dict) else None
    for inner in (fields.get("function"), *chain.from_iterable(one for one in contents if isinstance(one, list))):
        if isinstance(inner, dict):
            yield inner.get(_NAME)


def _longest(marks: Iterable[object]) -> CacheLifetime:
    return max(map(_lifetime, marks), default=CacheLifetime.NONE)


def _lifetime(mark: object) -> CacheLifetime:
    """Returns the lifetime that a mark asks for: a `CacheControl`, or a value of the inbound format."""
    if not mark:
        return CacheLifetime.NONE
    if isinstance(mark, CacheControl):
        ttl: object = mark.ttl
    elif isinstance(mark, dict):
        ttl = mark.get("ttl")
    else:
        return CacheLifetime.OTHER
    if ttl in (None, "5m"):
        return CacheLifetime.MINUTES
    return CacheLifetime.HOUR if ttl == "1h" else CacheLifetime.OTHER

"""Remembers which model has answered the last request with a certain beginning: its provider may have cached that."""

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from itertools import takewhile

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.conversation import Block, Conversation, Document, Image, Role

REMEMBERED_FOR = timedelta(minutes=5)
"""The default lifetime of Anthropic's cache, which each use renews."""

MIN_PROMPT_TOKENS = 256
"""The estimated tokens from which on a prompt is worth it: no vendor documents that it caches fewer."""

_MAX_PREFIXES = 1024
_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
_DIGEST_BYTES = 16
_HASHED_CHARACTERS = 4096  # of an image or a document

ModelKey = tuple[str, str]  # provider id, model id


def prefix_key(conversation: Conversation) -> bytes:
    """Returns a hash of what the prompt begins with: its tools and the system messages before all others; the first
    message, where it has neither.
    """
    messages = tuple(takewhile(lambda message: message.role in _SYSTEM_ROLES, conversation.messages))
    if not messages and not conversation.tools:
        messages = conversation.messages[:1]
    beginning = conversation.tools, [tuple(map(_without_bulk, message.blocks)) for message in messages]
    return hashlib.blake2b(repr(beginning).encode(), digest_size=_DIGEST_BYTES).digest()


def _without_bulk(block: Block) -> Block:
    """Returns an image or a document with the beginning of its content only: to hash megabytes takes too long."""
    if not isinstance(block, Image | Document) or block.media.data is None:
        return block
    data = block.media.data
    return block._replace(media=block.media._replace(data=f"{len(data)} {data[:_HASHED_CHARACTERS]}"))


class ServedPrefixes:
    """The beginnings of prompts that this function instance has had answered in the last five minutes, by their hash,
    with the model that answered last. It keeps a bounded number, those that were used last.

    They end by the wall clock, because the monotonic clock may stop while Lambda freezes the environment.
    """

    def __init__(self, clock: Clock, *, max_prefixes: int = _MAX_PREFIXES) -> None:
        self._clock = clock
        self._max_prefixes = max_prefixes
        self._served: OrderedDict[bytes, tuple[ModelKey, datetime]] = OrderedDict()  # the last used one last

    def __len__(self) -> int:
        """Returns how many beginnings are remembered."""
        return len(self._served)

    def add(self, prefix: bytes, model: ModelKey) -> None:
        """Remembers that the model has answered a request with that beginning."""
        self._served[prefix] = model, self._clock.now() + REMEMBERED_FOR
        self._served.move_to_end(prefix)
        while len(self._served) > self._max_prefixes:
            self._served.popitem(last=False)

    def model(self, prefix: bytes) -> ModelKey | None:
        """Returns the model that answered last, within the last five minutes."""
        served = self._served.get(prefix)
        if served is None:
            return None
        model, until = served
        return model if self._clock.now() < until else None

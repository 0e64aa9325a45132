"""A queue of messages that come in order within each group; on SQS, or on whatever else keeps that promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage


class QueueFailed(Exception):
    """The queue did not do as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message that was received, for the `receive_count`-th time, and is hidden from others for a while.
    `handle` is what to delete it by.
    """

    handle: str
    group: str
    body: str
    receive_count: int = 1


class MessageQueue(Protocol):
    """Where messages wait. Of one group no message is received while an earlier one is not deleted."""

    async def send(self, messages: Sequence[EncodedMessage], *, group: str) -> None:
        """Puts messages at the end, all of them or else raises `QueueFailed`; then some may have been put there. What
        does not succeed at once is tried again, and put there once.
        """
        ...

    async def receive(self) -> list[Message]:
        """The next messages, or none after about a second. Raises `QueueFailed`."""
        ...

    async def delete(self, message: Message) -> None:
        """Takes a message out for good. Raises `QueueFailed`."""
        ...

    async def put_back(self, message: Message, *, hidden_s: int = 0) -> None:
        """Lets a message be received again in so many seconds, in its old place. Raises `QueueFailed`."""
        ...

    async def reject(self, message: Message) -> None:
        """Moves a message to where somebody looks at it. Raises `QueueFailed`."""
        ...

    async def size(self) -> int:
        """About how many messages there are, hidden ones included. Raises `QueueFailed`."""
        ...

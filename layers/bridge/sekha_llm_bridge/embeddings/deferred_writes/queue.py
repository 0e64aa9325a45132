"""A queue of messages that keeps the order within each message group. `sqs` implements it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage


class QueueFailed(Exception):
    """A request to the queue failed; the message says why."""


class Message(NamedTuple):
    """A received message. Other receivers do not see it for a while.

    `handle` identifies this receipt, for `delete` and `put_back`; `receive_count` includes this receipt.
    """

    handle: str
    group: str
    body: str
    receive_count: int = 1


class MessageQueue(Protocol):
    """A first-in-first-out queue. A message is not received while an earlier one of its group is not deleted.

    Methods raise `QueueFailed`.
    """

    async def send(self, messages: Sequence[EncodedMessage], *, group: str) -> None:
        """Appends messages to a group. Retries failed requests without appending a message twice.

        If it raises `QueueFailed`, some of the messages may be in the queue.
        """
        ...

    async def receive(self) -> list[Message]:
        """Returns the next messages, or an empty list after about a second."""
        ...

    async def delete(self, message: Message) -> None:
        """Deletes a received message."""
        ...

    async def put_back(self, message: Message, *, hidden_s: int = 0) -> None:
        """Makes a message receivable again after `hidden_s` seconds, at its old position."""
        ...

    async def reject(self, message: Message) -> None:
        """Moves a message to the dead-letter queue."""
        ...

    async def size(self) -> int:
        """Returns the approximate number of messages, those being processed included."""
        ...

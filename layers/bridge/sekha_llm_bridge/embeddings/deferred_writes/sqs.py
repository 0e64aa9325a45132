"""A `MessageQueue` on SQS: a FIFO queue, and another one for what cannot be stored.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from sekha_llm_bridge.aws import AwsRequests, kind_of
from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, QueueFailed

MOST_BYTES = 250_000
"""The most that a message, and one sending of several, may have: what SQS has always taken, everywhere."""

_MOST_AT_ONCE = 10
_LONGEST_S = 5.0
_SENDINGS = 3
_REST_S = 0.2
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsQueue:
    """The queue at `url`; rejected messages go to the one at `dead_letters_url`, in the same order."""

    def __init__(self, url: str, connections: Connections, clock: Clock, *, dead_letters_url: str = "") -> None:
        self._url = url
        self._dead_letters_url = dead_letters_url
        self._clock = clock
        self._aws = AwsRequests("sqs", "AmazonSQS", connections, clock, longest_s=_LONGEST_S)

    async def send(self, messages: Sequence[EncodedMessage], *, group: str) -> None:
        """See `MessageQueue.send`. A sending that is repeated because no answer came puts nothing there twice."""
        numbers, once = count(), uuid4().hex
        for sending in split_into_batches(
            messages, lambda message: len(message.body), max_size=MOST_BYTES, max_items=_MOST_AT_ONCE
        ):
            entries = [_entry(message.body, group, f"{once}-{next(numbers)}") for message in sending]
            await self._send(entries)

    async def receive(self) -> list[Message]:
        """See `MessageQueue.receive`."""
        names = ["MessageGroupId", "ApproximateReceiveCount"]
        asked = {"MaxNumberOfMessages": _MOST_AT_ONCE, "WaitTimeSeconds": 1, "AttributeNames": names}
        answer = await self._call("ReceiveMessage", asked)
        return [
            Message(
                one["ReceiptHandle"],
                one["Attributes"]["MessageGroupId"],
                one["Body"],
                int(one["Attributes"]["ApproximateReceiveCount"]),
            )
            for one in answer.get("Messages") or ()
        ]

    async def delete(self, message: Message) -> None:
        """See `MessageQueue.delete`."""
        await self._call("DeleteMessage", {"ReceiptHandle": message.handle})

    async def put_back(self, message: Message, *, hidden_s: int = 0) -> None:
        """See `MessageQueue.put_back`."""
        await self._call("ChangeMessageVisibility", {"ReceiptHandle": message.handle, "VisibilityTimeout": hidden_s})

    async def reject(self, message: Message) -> None:
        """See `MessageQueue.reject`. Between the two calls it is in both queues."""
        copy = {
            "QueueUrl": self._dead_letters_url,
            "MessageBody": message.body,
            "MessageGroupId": message.group,
            "MessageDeduplicationId": uuid4().hex,
        }
        await self._call("SendMessage", copy)
        await self.delete(message)

    async def size(self) -> int:
        """See `MessageQueue.size`."""
        answer = await self._call("GetQueueAttributes", {"AttributeNames": list(_COUNTS)})
        return sum(int(answer["Attributes"][name]) for name in _COUNTS)

    async def _send(self, entries: list[dict[str, Any]]) -> None:
        """Sends entries until SQS has them all; those that it has already it takes for the same."""
        failure = QueueFailed("SQS did not take all of the messages")
        for sending in range(_SENDINGS):
            if sending:
                await self._clock.sleep(_REST_S)
            try:
                answer = await self._call("SendMessageBatch", {"Entries": entries})
            except QueueFailed as exc:
                failure = exc
                continue
            failed = {one["Id"] for one in answer.get("Failed") or ()}
            entries = [entry for entry in entries if entry["Id"] in failed]
            if not entries:
                return
        raise failure

    async def _call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        with _translated():
            return await self._aws.call(action, {"QueueUrl": self._url, **payload})


def _entry(body: str, group: str, once: str) -> dict[str, Any]:
    return {"Id": once, "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": once}


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever is not an answer, by its kind alone: messages may quote anything."""
    try:
        yield
    except Exception as exc:  # no keys, no connection, a garbled answer
        raise QueueFailed(f"SQS did not do as asked ({kind_of(exc)})") from exc

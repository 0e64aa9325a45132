"""A `MessageQueue` on SQS: a FIFO queue, and a second one for dead letters.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from uuid import uuid4

from sekha_llm_bridge.aws.requests import AwsRequests, translate_errors
from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import EncodedMessage
from sekha_llm_bridge.embeddings.deferred_writes.queue import Message, QueueFailed

MAX_BYTES = 250_000
"""The largest message, and the largest SendMessageBatch request. It is below the limit of every region (256 KiB)."""

_MAX_MESSAGES = 10  # in one request
_TIMEOUT_S = 5.0
_MAX_ATTEMPTS = 3
_BACKOFF_S = 0.2
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsQueue:
    """The queue at `url`. Rejected messages are moved to the queue at `dead_letters_url`, in the same order."""

    def __init__(self, url: str, connections: Connections, clock: Clock, *, dead_letters_url: str = "") -> None:
        self._url = url
        self._dead_letters_url = dead_letters_url
        self._clock = clock
        self._aws = AwsRequests("sqs", "AmazonSQS", connections, clock, timeout_s=_TIMEOUT_S)

    async def send(self, messages: Sequence[EncodedMessage], *, group: str) -> None:
        """See `MessageQueue.send`. Deduplication ids keep a retry from appending a message twice."""
        numbers, send_id = count(), uuid4().hex
        for batch in split_into_batches(
            messages, lambda one: len(one.body), max_size=MAX_BYTES, max_items=_MAX_MESSAGES
        ):
            entries = []
            for message in batch:
                id_ = f"{send_id}-{next(numbers)}"
                entries.append(
                    {"Id": id_, "MessageBody": message.body, "MessageGroupId": group, "MessageDeduplicationId": id_}
                )
            await self._send(entries)

    async def receive(self) -> list[Message]:
        """See `MessageQueue.receive`."""
        names = ["MessageGroupId", "ApproximateReceiveCount"]
        request = {"MaxNumberOfMessages": _MAX_MESSAGES, "WaitTimeSeconds": 1, "AttributeNames": names}
        answer = await self._call("ReceiveMessage", request)
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
        """See `MessageQueue.reject`. Between its two requests, the message is in both queues."""
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
        """Sends the entries of one batch. Sends those again that SQS did not accept."""
        failure = QueueFailed("SQS did not accept all messages")
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                await self._clock.sleep(_BACKOFF_S)
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
        with translate_errors("SQS", QueueFailed):
            return await self._aws.call(action, {"QueueUrl": self._url, **payload})

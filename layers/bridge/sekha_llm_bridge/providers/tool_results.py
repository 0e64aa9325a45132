"""Results of calls, for formats that have less for them than the internal one."""

from collections.abc import Iterable, Iterator

from sekha_llm_bridge.conversation import Audio, Document, Image, Message, Role, Text

_FAILED = Text("The call failed:")
SEE_BELOW = "(See the next message of the user.)"
"""Stands for the media of a result that are after it."""


def with_failure_in_words(message: Message) -> Message:
    """Returns the message with the failure of its call as a text, where it has failed."""
    return message._replace(blocks=(_FAILED, *message.blocks), is_error=False) if message.is_error else message


def from_result(call_id: str | None) -> str:
    """Returns the words before the media of a result."""
    return f"From the result of the call {call_id}:"


def with_media_after_results(messages: Iterable[Message]) -> Iterator[Message]:
    """Yields the messages of a conversation for a format whose results have only text: images and documents in results
    are in the user's message after them. It follows all results of one answer, which must not be divided.
    """
    pending: list[Message] = []
    for message in messages:
        if message.role is Role.TOOL:
            text_only, moved = _divided(message)
            pending += moved
            yield text_only
            continue
        if pending and message.role is Role.USER:
            message = _joined([*pending, message])
        elif pending:
            yield _joined(pending)
        pending = []
        yield message
    if pending:
        yield _joined(pending)


def _divided(message: Message) -> tuple[Message, list[Message]]:
    """Returns the message without its media, and the user's message with them, where it has some."""
    media = tuple(block for block in message.blocks if _is_media(block))
    if not media:
        return message, []
    texts = tuple(block for block in message.blocks if not _is_media(block))
    moved = Message(Role.USER, (Text(from_result(message.call_id)), *media), is_text=False)
    return message._replace(blocks=(*texts, Text(SEE_BELOW)), is_text=True), [moved]


def _is_media(block: object) -> bool:
    return isinstance(block, Image | Audio) or (isinstance(block, Document) and block.media.text is None)


def _joined(messages: list[Message]) -> Message:
    blocks = tuple(block for message in messages for block in message.blocks)
    return messages[-1]._replace(blocks=blocks, is_text=False)


def document_text(document: Document) -> str:
    """Returns a document that is a text, with its name and its context, for formats without such documents."""
    return "\n".join(part for part in (document.name, document.context, document.media.text) if part)

"""Moves what is no text out of the results of calls, because OpenAI's chat format takes only text there.

A user's message after the results of the turn has it, with the ids of the calls. Source: OpenAI's API reference,
"Create chat completion": the content of a tool message is text.
"""

from collections.abc import Iterable, Iterator

from sekha_llm_bridge.conversation import Audio, Block, Document, Image, Message, Role, Text

_IN_NEXT_MESSAGE = "(The result is in the user's next message.)"


def with_text_results(messages: Iterable[Message]) -> Iterator[Message]:
    """Yields the messages, with only text in the results of calls."""
    moved: list[Block] = []
    for message in messages:
        if message.role is not Role.TOOL:
            yield from _media_message(moved)
            moved = []
            yield message
            continue
        media = [block for block in message.blocks if isinstance(block, Image | Document | Audio)]
        if not media:
            yield message
            continue
        moved += [Text(f"(From the result of the call {message.call_id}:)"), *media]
        texts = tuple(block for block in message.blocks if block not in media)
        texts = texts or (Text(_IN_NEXT_MESSAGE),)
        yield message._replace(blocks=texts, is_text=all(isinstance(block, Text) for block in texts))
    yield from _media_message(moved)


def _media_message(blocks: list[Block]) -> Iterator[Message]:
    if blocks:
        yield Message(Role.USER, tuple(blocks), is_text=False)

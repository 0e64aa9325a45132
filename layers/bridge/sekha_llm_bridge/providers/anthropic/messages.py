"""Translates the messages of a conversation into Anthropic's `system` and `messages`.

- System and developer messages before all others are `system`: one text, or blocks where one of them has a cache mark.
- A later one keeps its place: it becomes a text in the user's turn there, in `<system_message>` tags. Anthropic has a
  role for it only in some models, and only in some places.
- Consecutive messages of one role become one. Results of calls come first in it, as Anthropic requires.
- A conversation of system messages alone is sent as the user's, and one that begins with the assistant gets a user
  message before it: Anthropic requires that the user begins.
- Whitespace at the end of a last assistant message, which Anthropic rejects, is removed.

Source: platform.claude.com, API reference, "Create a Message"; "Parallel tool use"; "Mid-conversation system messages".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sekha_llm_bridge.conversation import Block, CacheControl, Conversation, Document, Image, Message, Role, Text
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.anthropic.blocks import WireBlock, cache_control, wire_blocks
from sekha_llm_bridge.providers.call_ids import CallIds, anthropic_call_id
from sekha_llm_bridge.providers.system_messages import in_tags

WireMessage = dict[str, Any]
"""One of Anthropic's messages: its `role`, and its `content` as a list of blocks."""

_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
_BEGINNING = "(The assistant begins.)"
_UNCACHEABLE = frozenset({"thinking", "redacted_thinking"})


class WirePrompt(NamedTuple):
    """`system` is a text or a list of blocks; empty where there is none."""

    system: str | list[WireBlock]
    messages: list[WireMessage]


def wire_prompt(conversation: Conversation) -> WirePrompt:
    """Returns the prompt of a request. Raises `ProviderError` (REQUEST_REJECTED) where it has no content."""
    ids = CallIds(anthropic_call_id)
    messages = conversation.messages
    n_leading = next((i for i, one in enumerate(messages) if one.role not in _SYSTEM_ROLES), len(messages))
    system = _blocks_of(messages[:n_leading], ids)
    turns = _merged([_turn(message, ids) for message in messages[n_leading:]])
    if not turns:
        system, turns = [], [{"role": "user", "content": system}]
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": _BEGINNING}]})
    _trim_prefill(turns)
    if not turns[0]["content"]:
        raise ProviderError(FailureKind.REQUEST_REJECTED, "the messages have no content", param="messages")
    return WirePrompt(_system(system), turns)


def blocks_of(message: WireMessage) -> list[WireBlock]:
    """Returns the blocks of one of Anthropic's messages; none where its content is a text."""
    content = message["content"]
    return content if isinstance(content, list) else []


def _system(blocks: list[WireBlock]) -> str | list[WireBlock]:
    is_plain = all(block.keys() == {"type", "text"} for block in blocks)
    return "\n\n".join(block["text"] for block in blocks) if is_plain else blocks


def _blocks_of(messages: Sequence[Message], ids: CallIds) -> list[WireBlock]:
    return [block for message in messages for block in _with_cache(wire_blocks(message.blocks, ids), message.cache)]


def _with_cache(blocks: list[WireBlock], cache: CacheControl | None) -> list[WireBlock]:
    """Returns the blocks with the cache mark of their message: it belongs to the last block that may have one."""
    places = [i for i, block in enumerate(blocks) if block["type"] not in _UNCACHEABLE]
    if cache is not None and places and "cache_control" not in blocks[places[-1]]:
        blocks[places[-1]] = {**blocks[places[-1]], "cache_control": cache_control(cache)}
    return blocks


def _turn(message: Message, ids: CallIds) -> WireMessage:
    match message.role:
        case Role.TOOL:
            return {"role": "user", "content": [_tool_result(message, ids)]}
        case Role.FUNCTION:
            text = "Anthropic has no messages of role `function`: send them as role `tool`"
            raise ProviderError(FailureKind.REQUEST_REJECTED, text, param="messages")
        case Role.SYSTEM | Role.DEVELOPER:
            blocks = tuple(_in_tags(block) for block in message.blocks)
            return {"role": "user", "content": _with_cache(wire_blocks(blocks, ids), message.cache)}
        case Role.USER | Role.ASSISTANT:
            return {"role": message.role.value, "content": _blocks_of([message], ids)}


def _in_tags(block: Block) -> Block:
    if not isinstance(block, Text) or not block.text.strip():
        return block
    return block._replace(text=in_tags(block.text))


def _tool_result(message: Message, ids: CallIds) -> WireBlock:
    caches = (getattr(block, "cache", None) for block in reversed(message.blocks))
    cache = message.cache or next((one for one in caches if one is not None), None)
    blocks = wire_blocks([_without_cache(block) for block in message.blocks], ids)
    result: WireBlock = {"type": "tool_result", "tool_use_id": ids.of_result(message.call_id)}
    if blocks:
        result["content"] = blocks
    if message.is_error:
        result["is_error"] = True
    return result if cache is None else {**result, "cache_control": cache_control(cache)}


def _without_cache(block: Block) -> Block:
    """Returns a part of a result without its cache mark: the mark of the result stands for all of it."""
    return block._replace(cache=None) if isinstance(block, Text | Image | Document) else block


def _merged(turns: list[WireMessage]) -> list[WireMessage]:
    """Returns the turns that have content, with one message for each change of the role."""
    merged: list[WireMessage] = []
    for turn in turns:
        if not turn["content"]:
            continue
        if merged and merged[-1]["role"] == turn["role"]:
            merged[-1]["content"] += turn["content"]
        else:
            merged.append(turn)
    for turn in merged:
        turn["content"].sort(key=lambda block: turn["role"] == "user" and block["type"] != "tool_result")
    return merged


def _trim_prefill(turns: list[WireMessage]) -> None:
    """Removes whitespace at the end of a last assistant message."""
    last = turns[-1]["content"]
    if turns[-1]["role"] == "assistant" and last[-1]["type"] == "text":
        last[-1] = {**last[-1], "text": last[-1]["text"].rstrip()}

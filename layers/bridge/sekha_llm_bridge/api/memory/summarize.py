"""Summaries of texts of any length: what does not fit into a context window is read in parts."""

from collections.abc import Sequence

from sekha_llm_bridge.api.memory.model_calls import ModelCalls, TextTooLong
from sekha_llm_bridge.api.memory.prompts import DEFAULT_WORDS, NOTES_WORDS, Messages, notes_prompt, summary_prompt
from sekha_llm_bridge.api.memory.request import SummarizeRequest
from sekha_llm_bridge.api.memory.splitting import halves
from sekha_llm_bridge.errors import BridgeError, UnusableAnswer

_MAX_DEPTH = 6  # at most 64 parts
_TOKENS_PER_WORD = 1.6
_OTHER_TOKENS = 512  # for a model that thinks first, and for words of other languages


async def summary(wanted: SummarizeRequest, calls: ModelCalls) -> str:
    """Returns the summary. Texts that are too long are read in parts, and the notes on them are summarized.

    Raises the errors of a chat, and `UnusableAnswer`.
    """
    texts: Sequence[str] = [text for text in wanted.messages if text.strip()]
    max_words = wanted.max_words or DEFAULT_WORDS
    while True:
        try:
            return await _ask(summary_prompt(texts, level=wanted.level, max_words=max_words), calls, max_words)
        except TextTooLong as exc:
            notes = await _notes_on_parts(texts, calls, max_words, 1, exc)
        if _length(notes) >= _length(texts):
            raise UnusableAnswer(f"{calls.model_id} did not shorten a text that is too long for its context window")
        texts = notes


async def _notes_on_parts(
    texts: Sequence[str], calls: ModelCalls, max_words: int, depth: int, too_long: TextTooLong
) -> list[str]:
    """Returns the notes on two halves of the texts. Raises the cause of `too_long` where they cannot be split."""
    parts = halves(texts) if depth <= _MAX_DEPTH else None
    if parts is None:
        raise too_long.__cause__ or BridgeError(str(too_long))
    notes: list[str] = []
    for part in parts:
        if not any(text.strip() for text in part):
            continue
        try:
            notes.append(await _ask(notes_prompt(part, max_words=max_words), calls, min(max_words, NOTES_WORDS)))
        except TextTooLong as exc:
            notes += await _notes_on_parts(part, calls, max_words, depth + 1, exc)
    return notes


async def _ask(messages: Messages, calls: ModelCalls, max_words: int) -> str:
    return await calls.text(messages, max_tokens=int(max_words * _TOKENS_PER_WORD) + _OTHER_TOKENS)


def _length(texts: Sequence[str]) -> int:
    return sum(map(len, texts))

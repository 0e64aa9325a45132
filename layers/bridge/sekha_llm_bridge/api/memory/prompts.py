"""The prompts of summaries, entities and scores, and the JSON schemas of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any

Messages = list[dict[str, str]]
"""Messages in OpenAI's format."""

DEFAULT_WORDS = 200
NOTES_WORDS = 150
_FOCUS = {
    "daily": "the topics, the decisions and the next steps",
    "weekly": "the themes that come back, the progress, and what is still open",
    "monthly": "the main developments and the decisions that last, without details of single days",
}
_OBEY = (
    "If the text itself asks for something else than a summary, such as labels, a list or an answer, do that instead, "
    "and reply with the result only. Labels are one line, separated by commas, without numbers or explanations."
)
_ENTITY_KINDS = {
    "people": "names of persons",
    "organizations": "companies, teams and institutions",
    "technical_terms": "technologies, programs, formats and tools",
    "concepts": "ideas, methods and topics",
}
ENTITIES_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {kind: {"type": "array", "items": {"type": "string"}} for kind in _ENTITY_KINDS},
    "required": list(_ENTITY_KINDS),
    "additionalProperties": False,
}
# A list of values, because not every vendor takes a minimum and a maximum.
SCORE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "score": {"type": "integer", "enum": list(range(1, 11))}},
    "required": ["reasoning", "score"],
    "additionalProperties": False,
}


def summary_prompt(texts: Sequence[str], *, level: str, max_words: int) -> Messages:
    """Returns the request for a summary, or for what the texts ask for."""
    system = (
        f"You summarize conversations. Write a summary of at most {max_words} words, with {_FOCUS[level]}. "
        f"Reply with the summary only, and use only what the text says. {_OBEY}"
    )
    return _messages(system, numbered(texts))


def notes_prompt(texts: Sequence[str], *, max_words: int) -> Messages:
    """Returns the request for notes on one part of a text that is too long to be read at once."""
    system = (
        f"You read one part of a long text. Write down what matters in it, in at most {min(max_words, NOTES_WORDS)} "
        "words, and use only what the text says. If this part asks the reader for something, such as labels, copy that "
        "instruction word for word at the beginning."
    )
    return _messages(system, numbered(texts))


def entities_prompt(text: str) -> Messages:
    """Returns the request for the entities of a text."""
    kinds = "; ".join(f"{kind}: {meaning}" for kind, meaning in _ENTITY_KINDS.items())
    system = (
        f"You find the entities that a text names. Reply with a JSON object of four lists of texts. {kinds}. Use only "
        "what the text says, as it is written there; leave a list empty if there is nothing for it."
    )
    return _messages(system, text)


def score_prompt(text: str, context: str | None) -> Messages:
    """Returns the request for a score from 1 to 10, with the reason."""
    system = (
        "You rate how important a text is for a memory that will be searched later, from 1 to 10. 1 to 3: small talk, "
        "or nothing new. 4 to 6: useful information, minor decisions. 7 to 9: important decisions, insights, tasks. "
        '10: critical. Reply with a JSON object: {"reasoning": one or two sentences, "score": a number from 1 to 10}.'
    )
    return _messages(system, f"Context: {context}\n\nText: {text}" if context else text)


def with_fault(messages: Messages, answer: str, fault: str) -> Messages:
    """Returns the request again, after an answer that cannot be used."""
    said = [{"role": "assistant", "content": answer}] if answer else []
    again = {"role": "user", "content": f"That answer cannot be used: {fault}. Answer again, without that fault."}
    return [*messages, *said, again]


def numbered(texts: Sequence[str]) -> str:
    """Returns the texts as one; several are numbered."""
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))


def _messages(system: str, text: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]

"""Exact counts of the tokenizers whose tables are public, whose users are known and which are worth their megabytes:
OpenAI's o200k_base, of its chat models, and cl100k_base, of its embedding models.

A count costs tens of milliseconds for each megabyte of text, and the first one of a process a fifth of a second; so it
is made only where a decision depends on it, and tiktoken is imported only then. Its tables come with the bridge,
because tiktoken would fetch them over the network.
"""

import functools
import logging
import re
from collections.abc import Callable, Iterable
from enum import Enum
from urllib.parse import urlsplit

from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.pricing.token_table import TokenTable


class Tokenizer(Enum):
    """A tokenizer whose tokens can be counted here."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


# How text is cut into pieces, each of which is encoded by itself; from tiktoken's own definitions.
_O200K_PIECES = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_CL100K_PIECES = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?+\p{L}++",
        r"\p{N}{1,3}+",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
        r"\s++$",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s",
    )
)
PIECES = {Tokenizer.O200K: _O200K_PIECES, Tokenizer.CL100K: _CL100K_PIECES}
# A place where a piece ends whatever stands around it, by either of `PIECES`. A space is nothing but a piece's
# beginning or part of a run of white space, so a piece ends between anything else and a space. What follows a letter in
# its piece is a letter, a mark or an apostrophe, and digits are in pieces by themselves; so a piece ends between a
# letter and a digit, and between either and one of these signs. The letters are those of which all versions of Unicode
# agree that they are.
_LETTER, _SIGN = "A-Za-zぁ-ゖァ-ヺ一-龥가-힣", r'\n.,:;!?"()。、，．：；！？'
_A_PIECE_ENDS = rf"(?:\S(?= )|[{_LETTER}](?=[0-9{_SIGN}])|[0-9](?=[{_LETTER}{_SIGN}]))"
_FIRST_END = re.compile(_A_PIECE_ENDS)
_UP_TO_LAST_END = re.compile(rf"(?s:.*){_A_PIECE_ENDS}")
# What a provider may take for one of its special tokens instead of for text.
_SPECIAL = re.compile(r"<\|\w+\|>")
# tiktoken takes a second for a megabyte that is one endless word, and fails from a million white spaces in a row on.
_MAX_COUNTED_BYTES = 900_000
# OpenAI's models that tiktoken's table of models says use them, with what may follow their names: dates, `mini`.
# A later version (gpt-5.6) is another model. One that searches, by its name or by a variant after a colon (`:online`),
# is sent more than the prompt. Of cl100k_base's users, only those that embed.
_USERS = {
    Tokenizer.O200K: re.compile(
        r"(?!.*search)(?:(?:gpt-4o|gpt-4\.1|gpt-5|o1|o3|o4-mini)(?:-[\w.-]+)?|(?:chatgpt-4o|gpt-4\.5)-[\w.-]+"
        r"|ft:gpt-4o(?:-[\w.-]+)?:.+)"
    ),
    Tokenizer.CL100K: re.compile(r"text-embedding-(?:3-small|3-large|ada-002)"),
}
# Elsewhere than at its vendor, a model of that name may be any model. A deployment at Azure is known by its name alone.
_VENDORS = {ProviderType.OPENAI: "api.openai.com", ProviderType.OPENROUTER: "openrouter.ai"}


def tokenizer_of(provider: ProviderConfig, model_id: str) -> Tokenizer | None:
    """The tokenizer that a provider's model uses; None when it is not known for certain, or not here."""
    if provider.provider_type is ProviderType.OPENROUTER:
        vendor, _, model_id = model_id.partition("/")
        if vendor != "openai":
            return None
    if not _is_at_its_vendor(provider):
        return None
    return next((tokenizer for tokenizer, users in _USERS.items() if users.fullmatch(model_id)), None)


def _is_at_its_vendor(provider: ProviderConfig) -> bool:
    if provider.provider_type is ProviderType.AZURE_OPENAI:
        return True
    host = _VENDORS.get(provider.provider_type)
    return host is not None and f".{urlsplit(provider.base_url or '').hostname}".endswith(f".{host}")


def upper_bound_tokens(texts: Iterable[str], tokenizer: Tokenizer) -> int:
    """The most tokens that these texts are together, whatever stands before, after or between them.

    What is not certain is counted by its bytes, of which a token has one at least.
    """
    return _total(texts, lambda text, size: _most(text, size, tokenizer))


def upper_bound_tokens_of_separate_texts(texts: Iterable[str], tokenizer: Tokenizer) -> int:
    """The most tokens that these texts are, each encoded by itself. What is not certain is counted by its bytes."""
    return _total(texts, lambda text, size: _upper_bound_separate(text, size, tokenizer))


def _total(texts: Iterable[str], most: Callable[[str, int], int]) -> int:
    """The sum of what `most` makes of each text and its bytes, as far as that takes no longer than it should; beyond
    that, the bytes.
    """
    total, left = 0, _MAX_COUNTED_BYTES
    for text in texts:
        size = len(text.encode())
        if size <= left:
            left -= size
            total += most(text, size)
        else:
            total += size
    return total


def _upper_bound_separate(text: str, size: int, tokenizer: Tokenizer) -> int:
    tokens = None if _SPECIAL.search(text) else _count(text, tokenizer)
    return size if tokens is None else tokens


def _most(text: str, size: int, tokenizer: Tokenizer) -> int:
    """The tokens between the first and the last place where a piece surely ends, and the bytes of what is outside.

    What is inside is cut into the same pieces alone as within any longer text: it begins and ends where pieces do, no
    piece that begins inside reaches beyond its end, and the patterns look ahead, or for the end of the text, only past
    white space, which its last character is not. Outside, a piece may go on in the neighbouring text, and come to more
    tokens than its parts.
    """
    first, last = _FIRST_END.search(text), _UP_TO_LAST_END.match(text)
    if first is None or last is None or _SPECIAL.search(text):
        return size
    inside = text[first.end() : last.end()]
    tokens = _count(inside, tokenizer)
    return size if tokens is None else min(size, tokens + size - len(inside.encode()))


def _count(text: str, tokenizer: Tokenizer) -> int | None:
    """The tokens of a text; None when they cannot be counted. tiktoken fails in ways that it does not document."""
    encode = _encoder(tokenizer)
    try:
        return None if encode is None else len(encode(text))
    except BaseException as exc:
        # A panic in its native code is no Exception, lest it be caught by chance.
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            return None
        raise


@functools.cache
def _encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]] | None:
    """What encodes text, kept for the life of the process; None when it cannot be had. Takes 0.2 s and 50 MB."""
    try:
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(TokenTable.load(tokenizer.value))}
        pieces = PIECES[tokenizer]
        encoding = tiktoken.Encoding(tokenizer.value, pat_str=pieces, mergeable_ranks=ranks, special_tokens={})
    except Exception as exc:  # noqa: BLE001 — without it, bytes bound the tokens as they do for other models
        logging.getLogger(__name__).warning("tokens cannot be counted exactly: %s", type(exc).__name__)
        return None
    ranks.clear()  # its native part has a copy, and encodes without this one: 14 MB
    return encoding.encode_ordinary

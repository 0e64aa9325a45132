"""Exact token counts for models whose tokenizer is public and known: OpenAI's o200k_base for its chat models, and
cl100k_base for its embedding models.

A count takes tens of milliseconds for each megabyte of text, and the first one of a process 0.2 s. So it is made only
where a decision depends on it, and tiktoken is imported only then. The tables are part of the package, because tiktoken
would download them.
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
    """A tokenizer whose tokens can be counted exactly."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


# The regular expressions that split a text into pieces, each of which is encoded separately; from tiktoken.
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
# Places where a piece always ends, by both of `PIECES`:
# - before a space, after any other character: a space only begins a piece, or belongs to a run of white space;
# - between a letter and a digit: digits are in pieces of their own;
# - between a letter or digit and one of these signs: a letter is only followed by letters, marks and apostrophes.
# The letters are those that are letters in all versions of Unicode.
_LETTER, _SIGN = "A-Za-zぁ-ゖァ-ヺ一-龥가-힣", r'\n.,:;!?"()。、，．：；！？'
_PIECE_END = rf"(?:\S(?= )|[{_LETTER}](?=[0-9{_SIGN}])|[0-9](?=[{_LETTER}{_SIGN}]))"
# What a provider may read as one of its special tokens instead of as text.
_SPECIAL = re.compile(r"<\|\w+\|>")
# tiktoken takes a second for a megabyte without word boundaries, and fails at a million consecutive spaces.
_MAX_COUNTED_BYTES = 900_000
# The names of OpenAI's models that use each tokenizer by tiktoken's table of models, with suffixes such as dates and
# `mini`. A later version (gpt-5.6) is not included. Models that search (by their name, or by a variant such as
# `:online`) are not either, because they are sent more than the prompt. For cl100k_base: only embedding models.
_MODEL_NAMES = {
    Tokenizer.O200K: re.compile(
        r"(?!.*search)(?:(?:gpt-4o|gpt-4\.1|gpt-5|o1|o3|o4-mini)(?:-[\w.-]+)?|(?:chatgpt-4o|gpt-4\.5)-[\w.-]+"
        r"|ft:gpt-4o(?:-[\w.-]+)?:.+)"
    ),
    Tokenizer.CL100K: re.compile(r"text-embedding-(?:3-small|3-large|ada-002)"),
}
# At another host than its vendor's, a model of that name may be any model. An Azure deployment has only its name.
_VENDORS = {ProviderType.OPENAI: "api.openai.com", ProviderType.OPENROUTER: "openrouter.ai"}


def tokenizer_of(provider: ProviderConfig, model_id: str) -> Tokenizer | None:
    """Returns the tokenizer of a provider's model; None where it is not certain, or not available here."""
    if provider.provider_type is ProviderType.OPENROUTER:
        vendor, _, model_id = model_id.partition("/")
        if vendor != "openai":
            return None
    if not _is_at_its_vendor(provider):
        return None
    return next((tokenizer for tokenizer, users in _MODEL_NAMES.items() if users.fullmatch(model_id)), None)


def _is_at_its_vendor(provider: ProviderConfig) -> bool:
    if provider.provider_type is ProviderType.AZURE_OPENAI:
        return True
    host = _VENDORS.get(provider.provider_type)
    return host is not None and f".{urlsplit(provider.base_url or '').hostname}".endswith(f".{host}")


def upper_bound_tokens(texts: Iterable[str], tokenizer: Tokenizer) -> int:
    """Returns the most tokens that these texts have together, whatever text precedes, follows or separates them.

    A part whose tokens are uncertain is counted by its bytes, because a token has at least one byte.
    """
    return _total(texts, lambda text, size: _upper_bound(text, size, tokenizer))


def upper_bound_tokens_of_separate_texts(texts: Iterable[str], tokenizer: Tokenizer) -> int:
    """Returns the most tokens that these texts have, each encoded separately; uncertain parts count by their bytes."""
    return _total(texts, lambda text, size: _upper_bound_separate(text, size, tokenizer))


def _total(texts: Iterable[str], upper_bound: Callable[[str, int], int]) -> int:
    """Returns the sum of `upper_bound` over the texts, up to a total size that can be counted in time; beyond that, the
    sum of the bytes.
    """
    total, left = 0, _MAX_COUNTED_BYTES
    for text in texts:
        size = len(text.encode())
        if size <= left:
            left -= size
            total += upper_bound(text, size)
        else:
            total += size
    return total


def _upper_bound_separate(text: str, size: int, tokenizer: Tokenizer) -> int:
    tokens = None if _SPECIAL.search(text) else _count(text, tokenizer)
    return size if tokens is None else tokens


def _upper_bound(text: str, size: int, tokenizer: Tokenizer) -> int:
    """Returns the tokens between the first and the last certain end of a piece, plus the bytes outside.

    The inside is split into the same pieces alone as within any longer text: it begins and ends at ends of pieces, no
    piece that begins inside reaches beyond its end, and the patterns look ahead only past white space, which its last
    character is not. Outside, a piece may continue in the neighbouring text and have more tokens than its parts.
    """
    first_end, up_to_last_end = _piece_end_patterns()
    first, last = first_end.search(text), up_to_last_end.match(text)
    if first is None or last is None or _SPECIAL.search(text):
        return size
    inside = text[first.end() : last.end()]
    tokens = _count(inside, tokenizer)
    return size if tokens is None else min(size, tokens + size - len(inside.encode()))


@functools.cache
def _piece_end_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Returns the patterns for a text's first end of a piece, and for the text up to its last one.

    They are compiled when they are first used, because that takes 4 ms, and most requests need no exact count.
    """
    return re.compile(_PIECE_END), re.compile(rf"(?s:.*){_PIECE_END}")


def _count(text: str, tokenizer: Tokenizer) -> int | None:
    """Returns the tokens of a text; None where tiktoken fails, which it does in undocumented ways."""
    encode = _encoder(tokenizer)
    try:
        return None if encode is None else len(encode(text))
    except BaseException as exc:
        # A panic in its native code is raised as a BaseException that is not an Exception.
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            return None
        raise


@functools.cache
def _encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]] | None:
    """Returns the encoder, kept for the life of the process; None where it is not available. Takes 0.2 s and 50 MB."""
    try:
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(TokenTable.load(tokenizer.value))}
        pieces = PIECES[tokenizer]
        encoding = tiktoken.Encoding(tokenizer.value, pat_str=pieces, mergeable_ranks=ranks, special_tokens={})
    except Exception as exc:  # noqa: BLE001 — without it, the bytes are the upper bound, as for other models
        logging.getLogger(__name__).warning("tokens cannot be counted exactly: %s", type(exc).__name__)
        return None
    ranks.clear()  # the native encoder has its own copy; this one takes 14 MB
    return encoding.encode_ordinary

"""Decodes arrays of token ids to texts.

OpenAI accepts such arrays in place of texts to embed, and clients such as LangChain send them by default. OpenAI's
embedding models all use cl100k_base, and clients use it for models whose tokenizer they do not know. So the ids are
decoded as cl100k_base, whichever model embeds the texts.
"""

import functools
from collections.abc import Sequence

from sekha_llm_bridge.pricing.token_table import TokenTable
from sekha_llm_bridge.pricing.tokenizer import Tokenizer

# As much text as a request can have. A token may be 128 bytes long, so a limit on the ids would be too high.
_MAX_BYTES = 6 * 1024 * 1024


def decode_token_arrays(arrays: Sequence[Sequence[object]]) -> list[str]:
    """Returns one text for each array of cl100k_base token ids. An incomplete character becomes U+FFFD.

    Raises ValueError for ids that are not those of text tokens (special tokens are not), and for texts of more than
    6 MiB in UTF-8 in total. The first call of a process reads the table: some 10 ms and 1.2 MB.
    """
    table, left, texts = _table(), _MAX_BYTES, []
    for array in arrays:
        ids = _validated(array, len(table))
        left -= table.size_of(ids)
        if left < 0:
            raise ValueError(f"arrays of tokens must stand for at most {_MAX_BYTES} bytes of text in all")
        texts.append(table.joined(ids).decode(errors="replace"))
    return texts


def _validated(array: Sequence[object], count: int) -> list[int]:
    ids = [item for item in array if type(item) is int]  # True and False are ints in Python, but not ids
    if len(ids) < len(array):
        raise ValueError("arrays of tokens must hold nothing but whole numbers")
    for extreme in (min(ids, default=0), max(ids, default=0)):
        if not 0 <= extreme < count:
            accepted = f"ids of cl100k_base are taken, 0 to {count - 1}, without its special tokens"
            raise ValueError(f"{extreme} is not the id of a token of text: {accepted}")
    return ids


@functools.cache
def _table() -> TokenTable:
    return TokenTable.load(Tokenizer.CL100K.value)

"""The texts that arrays of token ids stand for.

OpenAI takes such arrays in place of texts to embed, and clients such as LangChain send them unasked. Its embedding
models all use cl100k_base, and clients take that for models whose tokenizer they do not know; so the ids are read as
cl100k_base's, whichever model is to embed the texts.
"""

import functools
from collections.abc import Sequence

from sekha_llm_bridge.pricing.token_table import TokenTable
from sekha_llm_bridge.pricing.tokenizer import Tokenizer

# As much text as a request can bring as such. A token can be 128 bytes, so ids alone would be no limit.
_MOST_BYTES = 6 * 1024 * 1024


def decode_token_arrays(arrays: Sequence[Sequence[object]]) -> list[str]:
    """The texts of arrays of cl100k_base's token ids, one each; a cut character becomes the replacement character.

    Raises ValueError for what is not the id of a token of text, among them the special tokens, and where the texts are
    more than 6 MiB in UTF-8. The first call of a process reads the table: some 10 ms and 1.2 MB.
    """
    table, left, texts = _table(), _MOST_BYTES, []
    for array in arrays:
        ids = _checked(array, len(table))
        left -= table.size_of(ids)
        if left < 0:
            raise ValueError(f"arrays of tokens must stand for at most {_MOST_BYTES} bytes of text in all")
        texts.append(table.joined(ids).decode(errors="replace"))
    return texts


def _checked(array: Sequence[object], count: int) -> list[int]:
    ids = [item for item in array if type(item) is int]  # true and false are integers, too, and no ids
    if len(ids) < len(array):
        raise ValueError("arrays of tokens must hold nothing but whole numbers")
    for unfit in (min(ids, default=0), max(ids, default=0)):
        if not 0 <= unfit < count:
            ours = f"ids of cl100k_base are taken, 0 to {count - 1}, without its special tokens"
            raise ValueError(f"{unfit} is not the id of a token of text: {ours}")
    return ids


@functools.cache
def _table() -> TokenTable:
    return TokenTable.load(Tokenizer.CL100K.value)

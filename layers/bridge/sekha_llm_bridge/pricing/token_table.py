"""The tables of OpenAI's tokenizers, which are part of the package: the bytes of each token."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Self


class TokenTable:
    """The tokens of one tokenizer by their rank, which is their id: from 0, without special tokens.

    The file, written by `infra/tokens/pack`, has the number of tokens (4 bytes, big-endian), the length of each (one
    byte each), and the tokens. In memory it takes 4 bytes more for each token.
    """

    __slots__ = ("_lengths", "_starts", "_table")

    def __init__(self, table: bytes) -> None:
        begin = 4 + int.from_bytes(table[:4])
        self._table = table
        self._lengths = table[4:begin]
        self._starts = array("I", accumulate(self._lengths, initial=begin))

    @classmethod
    def load(cls, name: str) -> Self:
        """Returns the package's table with that name. Reads a file of one or two megabytes."""
        return cls(Path(__file__).with_name(f"{name}.bin").read_bytes())

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[bytes]:
        """Yields the tokens in the order of their ranks."""
        return (self._table[start:end] for start, end in pairwise(self._starts))

    def size_of(self, ranks: Iterable[int]) -> int:
        """Returns the total number of bytes of these tokens. Raises IndexError for an invalid rank."""
        return sum(map(self._lengths.__getitem__, ranks))

    def joined(self, ranks: Iterable[int]) -> bytes:
        """Returns the bytes of these tokens, joined. Raises IndexError for an invalid rank."""
        table, starts = self._table, self._starts
        return b"".join([table[starts[rank] : starts[rank + 1]] for rank in ranks])

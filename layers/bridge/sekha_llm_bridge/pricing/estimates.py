"""Estimates of a text's tokens from the kinds of its bytes: one pass, microseconds for a page.

The weights are fitted to o200k_base on prose, code and data (`infra/bench/run tokens` measures the error). Tokenizers
of other vendors produce up to a third more tokens.
"""

import string
from zlib import adler32

# Estimated hundredths of a token for one character, by its first byte.
_HUNDREDTHS = (
    (string.ascii_lowercase.encode(), 22),
    (string.ascii_uppercase.encode(), 26),
    (string.digits.encode(), 68),
    (string.whitespace.encode(), 12),
    (string.punctuation.encode() + bytes((*range(9), *range(14, 32), 127)), 52),
    (bytes(range(0x80, 0xC0)), 0),  # continuation bytes
    (bytes(range(0xC0, 0xCE)), 120),  # Latin letters with accents
    (bytes(range(0xCE, 0xE0)), 35),  # Greek to Arabic
    (bytes(range(0xE0, 0xE2)), 39),  # the scripts of India and around
    (bytes((0xE2, 0xEE, 0xEF)), 130),  # typographic and other signs
    (bytes(range(0xE3, 0xEE)), 77),  # Chinese, Japanese, Korean
    (bytes(range(0xF0, 0x100)), 180),  # emoji
)
_HUNDREDTHS_OF = bytes(next(part for members, part in _HUNDREDTHS if byte in members) for byte in range(256))
_MAX_SUMMED_BYTES = 65_520 // max(_HUNDREDTHS_OF)
_LETTERS = string.ascii_letters.encode()
_LETTERS_AND_DIGITS = _LETTERS + string.digits.encode()
_WHITE = string.whitespace.encode()
# Base64 and similar text has only letters and digits, and more tokens than words of the same length.
_BYTES_PER_SPACE = 32
_LETTERS_PER_SIGN = 12
_UNBROKEN_SURCHARGE = 44  # hundredths
_MAX_CHARACTERS_PER_TOKEN = 5.5  # without white space: a long run of it is few tokens


def estimated_tokens(data: bytes) -> int:
    """Returns the estimated tokens of a text in UTF-8."""
    return _estimate(data, _white_space(data))


def estimated_and_minimum_tokens(text: str) -> tuple[int, int]:
    """Returns (estimate, minimum) of a text's tokens. It hardly ever has fewer than the minimum."""
    data = text.encode()
    white_space = _white_space(data)
    minimum = int((len(text) - white_space) / _MAX_CHARACTERS_PER_TOKEN)
    return max(_estimate(data, white_space), minimum), minimum


def _white_space(data: bytes) -> int:
    return len(data) - len(data.translate(None, _WHITE))


def _estimate(data: bytes, white_space: int) -> int:
    hundredths = _sum(data.translate(_HUNDREDTHS_OF))
    if white_space * _BYTES_PER_SPACE < len(data) and data.isascii():
        hundredths += _UNBROKEN_SURCHARGE * _unbroken_letters(data)
    return -(-hundredths // 100)


def _sum(parts: bytes) -> int:
    """Returns the sum of the bytes, from the lower half of Adler-32, which is the fastest way in the standard
    library."""
    view = memoryview(parts)
    return sum(
        [adler32(view[at : at + _MAX_SUMMED_BYTES], 0) & 0xFFFF for at in range(0, len(parts), _MAX_SUMMED_BYTES)]
    )


def _unbroken_letters(data: bytes) -> int:
    """Returns the letters in excess of what words between spaces and punctuation have."""
    letters = len(data) - len(data.translate(None, _LETTERS))
    signs = len(data.translate(None, _LETTERS_AND_DIGITS))
    return max(0, letters - _LETTERS_PER_SIGN * signs)

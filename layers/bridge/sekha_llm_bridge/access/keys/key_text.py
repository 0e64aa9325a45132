"""The text of an API key: `sk-sekha-<id>-<secret>-<checksum>`.

The id and the secret are random letters and digits. The id names the key's record; only the secret has to be kept
secret. The checksum is the CRC-32 of the text before it, as six digits of base 62: a typo or an arbitrary text is found
without reading the table. GitHub's tokens have the same checksum
(https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/).
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "sk-sekha-"
"""How every key begins."""

HANDLE_PREFIX = "key_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH = 12
_SECRET_LENGTH = 32  # 190 bits
_CHECKSUM_LENGTH = 6  # holds 32 bits
_FORM = re.compile(
    rf"({PREFIX}([0-9A-Za-z]{{{_ID_LENGTH}}})-[0-9A-Za-z]{{{_SECRET_LENGTH}}}-)([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)
_HANDLE_FORM = re.compile(rf"{HANDLE_PREFIX}[0-9A-Za-z]{{{_ID_LENGTH}}}")


class KeyText(NamedTuple):
    """The text of a key, whose form and checksum are right. `key_id` is its handle, which is no secret."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        """Leaves out the secret."""
        return f"KeyText({self.key_id})"

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal digits: what the table has of it.

        A secret of 190 random bits cannot be guessed from it, so that no slow hash and no salt are needed.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key(key_id: str | None = None) -> KeyText:
    """Returns a new random key; with a handle, another key of this handle. Raises `ValueError` for another handle."""
    if key_id is not None and not is_handle(key_id):
        raise ValueError(f"{key_id!r} is not the handle of a key")
    own_id = key_id.removeprefix(HANDLE_PREFIX) if key_id else _random(_ID_LENGTH)
    body = f"{PREFIX}{own_id}-{_random(_SECRET_LENGTH)}-"
    return KeyText(HANDLE_PREFIX + own_id, body + checksum(body))


def parse_key(text: str) -> KeyText | None:
    """Returns the key; None for a text of another form, or with a wrong checksum."""
    match = _FORM.fullmatch(text)
    if match is None or match[3] != checksum(match[1]):
        return None
    return KeyText(HANDLE_PREFIX + match[2], text)


def is_handle(text: str) -> bool:
    """Whether the text has the form of a handle, `key_<id>`."""
    return _HANDLE_FORM.fullmatch(text) is not None


def checksum(body: str) -> str:
    """Returns the last part of a key, from the text before it."""
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))

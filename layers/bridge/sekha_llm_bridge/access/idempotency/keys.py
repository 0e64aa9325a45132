"""What is derived from an `Idempotency-Key` and its caller: the id of the record, and the keys that protect it.

The table has the id and what these keys have made, never the `Idempotency-Key` itself: who reads the table can neither
read an answer, nor find out whether a prompt that they guess was sent.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VALID = re.compile(r"[\x21-\x7e]{1,255}")
_PART_BYTES = 32
_INFO = b"sekha-llm-bridge idempotency 1"


def is_valid_key(text: str) -> bool:
    """Returns whether a header's value may be an `Idempotency-Key`: 1 to 255 visible ASCII characters."""
    return _VALID.fullmatch(text) is not None


class AnswerKeys(NamedTuple):
    """The id of a record, the hash of its request, and the key that encrypts its answer."""

    record_id: str
    request_hash: str
    encryption_key: bytes

    @classmethod
    def of(
        cls,
        idempotency_key: str,
        *,
        caller_id: str,
        path: str,
        body: bytes,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Self:
        """Returns the keys of one request. `caller_id` is the handle of the caller's API key, `headers` are those that
        say what is asked for.

        HKDF (RFC 5869) with the caller as its salt, so that two callers with the same `Idempotency-Key` have nothing in
        common. The hash of the request has a key, too: a plain hash would confirm a guess of the prompt.
        """
        kdf = HKDF(algorithm=SHA256(), length=3 * _PART_BYTES, salt=caller_id.encode(), info=_INFO)
        derived = kdf.derive(idempotency_key.encode())
        record_id, hash_key = derived[:_PART_BYTES], derived[_PART_BYTES : 2 * _PART_BYTES]
        request_hash = hmac.new(hash_key, path.encode() + b"\n", hashlib.sha256)
        for name, value in sorted(headers):
            request_hash.update(f"{name}: {value}\n".encode())
        request_hash.update(body)
        return cls(record_id.hex(), request_hash.hexdigest(), derived[2 * _PART_BYTES :])

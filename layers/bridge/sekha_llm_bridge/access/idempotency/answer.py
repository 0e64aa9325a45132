"""An answer as it is stored: status, headers and body, compressed and encrypted."""

import os
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sekha_llm_bridge.access.idempotency.keys import AnswerKeys

MAX_SEALED_BYTES = 400_000
"""The largest encrypted answer: DynamoDB's limit of 400 KiB for an item, less what the rest of the record needs.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

_NONCE_BYTES, _TAG_BYTES = 12, 16  # of AES-GCM
_SLICE_BYTES = 64 * 1024
_FAST = 1  # the level of zlib: an answer should not wait for the last percents


class StoredAnswer(NamedTuple):
    """An answer that can be sent again."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def open(cls, sealed: bytes, keys: AnswerKeys) -> "StoredAnswer":
        """Returns the answer that `AnswerRecorder.sealed` has encrypted. Raises `ValueError`."""
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            compressed = AESGCM(keys.encryption_key).decrypt(nonce, encrypted, _bound_to(keys))
            head, _, body = zlib.decompress(compressed).partition(b"\n")
            status, headers = orjson.loads(head)
        except (InvalidTag, ValueError, zlib.error) as exc:
            raise ValueError("the stored answer cannot be decrypted") from exc
        return cls(status, headers, body)


class AnswerRecorder:
    """Collects an answer while it is sent, compressed. What is too large to be stored is dropped at once, so that a
    large answer needs no memory.
    """

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_FAST)
        self._parts: list[bytes] = []
        self._size_bytes = _NONCE_BYTES + _TAG_BYTES
        self._is_too_large = False

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Adds the status and the headers. They come first."""
        self.add(orjson.dumps([status, dict(headers)]) + b"\n")

    def add(self, data: bytes) -> None:
        """Adds a part of the body."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._is_too_large:
                return
            self._keep(self._compressor.compress(data[start : start + _SLICE_BYTES]))

    def sealed(self, keys: AnswerKeys) -> bytes | None:
        """Returns the answer, encrypted; None where it is too large. It can be called once, after all parts."""
        if not self._is_too_large:
            self._keep(self._compressor.flush())
        if self._is_too_large:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(keys.encryption_key).encrypt(nonce, b"".join(self._parts), _bound_to(keys))

    def _keep(self, compressed: bytes) -> None:
        self._parts.append(compressed)
        self._size_bytes += len(compressed)
        if self._size_bytes > MAX_SEALED_BYTES:
            self._is_too_large = True
            self._parts.clear()


def _bound_to(keys: AnswerKeys) -> bytes:
    """Returns what is authenticated with the answer: moved to another record, it cannot be decrypted."""
    return f"{keys.record_id} {keys.request_hash}".encode()

"""Behaviour of Chroma 1.5 and its client that differs from what one expects, and what the bridge does about it.

Storing, migration and restore all use this module.

- An upsert keeps the metadata keys that it does not name, and removes those that are null: `metadata_replacing`.
- The lists in metadata are not deleted with their collection. New records that take the rows of the old ones get them:
  `has_lists_of_deleted_records`.
- A decimal number in metadata may come back with another last bit: `is_equal_value`.
- A collection that measures by cosine keeps each vector as direction and length, and gives back their product in
  float32: `is_equal_vector`, with the only tolerance.
- The distance measure (`hnsw:space`) of old collections is in their metadata, and the configuration says `l2`:
  `distance_of`. A request that changes the metadata may not name it, even with its old value: `modifiable_metadata`.
- After a client was killed in the first write to a collection, the collection may be empty, and every request for its
  vectors fails with status 500 until the next write: `ServerCollection` looks whether it has any ids.
- The client raises the same error for different statuses: `raise_for_unreported_status`, `translate_errors`.
- Chroma Cloud has quotas, and answers 422 with a text that begins with "Quota exceeded" (chroma-core/chroma pull
  requests 4569 and 5022): `raise_for_unreported_status`. What is larger than them is in `chroma_quotas`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isclose
from typing import Any

import httpx

from sekha_llm_bridge.embeddings.store import (
    CollectionMissing,
    NameTaken,
    QuotaExceeded,
    StoreDown,
    StoreError,
    StoreFailed,
    StoreRefused,
)

Metadata = Mapping[str, Any]

_VALUE_TOLERANCE = 1e-15  # of a number in metadata, relative to it
_VECTOR_TOLERANCE = 4e-7  # relative to the vector's length: twice the error of rounding to float32 three times

_DISTANCE_KEY = "measured_by"  # the bridge's own key, in place of `hnsw:space`
_CHROMA_DISTANCE_KEY = "hnsw:space"
_CHROMA_INDEX_PREFIX = "hnsw:"
_DISTANCES = frozenset({"cosine", "l2", "ip"})

_DUPLICATE_NAME = "UNIQUE constraint failed"  # in the body of a status 500
_QUOTA_TEXT = re.compile(r"quota exceeded", re.IGNORECASE)  # in the body of a status 422
# Name and numbers of the quota. Nothing else of the text is used: it could quote what was sent.
_QUOTA = re.compile(r"'([\w ()]{1,60})' exceeded quota.{0,80}?current usage of (\d+) exceeds limit of (\d+)", re.DOTALL)
# Client errors that the operator can fix, or that pass: like server errors, they are worth a retry later.
_TEMPORARY_STATUSES = frozenset({401, 403, 408, 429})


def metadata_replacing(metadata: Metadata | None, stored: Metadata | None) -> dict[str, Any]:
    """Returns the metadata to write so that they replace the `stored` ones: keys that are only there become null."""
    return {**dict.fromkeys(stored or ()), **(metadata or {})}


def has_lists_of_deleted_records(written: Metadata | None, stored: Metadata | None) -> bool:
    """Returns whether the stored metadata are the written ones and some lists that were not written."""
    written, stored = written or {}, stored or {}
    extra = [value for key, value in stored.items() if key not in written]
    is_written = all(is_equal_value(stored.get(key), written[key]) for key in written)
    return is_written and bool(extra) and all(isinstance(value, list) for value in extra)


def is_equal_value(one: object, other: object) -> bool:
    """Returns whether two values are equal, types included. Only the last bit of a decimal number may differ."""
    if type(one) is not type(other):
        return False
    match one, other:
        case float(), float():
            return isclose(one, other, rel_tol=_VALUE_TOLERANCE)
        case list(), list():
            return len(one) == len(other) and all(map(is_equal_value, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(is_equal_value(one[key], other[key]) for key in one)
    return one == other


def is_equal_vector(one: Any, other: Any, *, is_rounded: bool) -> bool:
    """Returns whether two float32 arrays are equal bit for bit; if `is_rounded`, but for Chroma's rounding."""
    import numpy

    if one.shape != other.shape:
        return False
    if one.tobytes() == other.tobytes():
        return True
    if not is_rounded:
        return False
    wanted, found = one.astype(numpy.float64), other.astype(numpy.float64)
    return bool(numpy.abs(wanted - found).max(initial=0.0) <= _VECTOR_TOLERANCE * numpy.linalg.norm(wanted))


def distance_of(metadata: Metadata, configuration: Metadata) -> str:
    """Returns a collection's distance measure: `cosine`, `l2` (squared) or `ip` (inner product)."""
    from_metadata = metadata.get(_CHROMA_DISTANCE_KEY) or metadata.get(_DISTANCE_KEY)
    if from_metadata in _DISTANCES:
        return str(from_metadata)
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    return str(index.get("space", "l2"))


def modifiable_metadata(metadata: Metadata) -> dict[str, Any]:
    """Returns the metadata in a form that Chroma accepts for an existing collection.

    The keys of the index are left out; the distance measure is kept under the bridge's own key.
    """
    distance = metadata.get(_CHROMA_DISTANCE_KEY)
    kept = {_DISTANCE_KEY: distance} if distance in _DISTANCES else {}
    return {**{key: value for key, value in metadata.items() if not key.startswith(_CHROMA_INDEX_PREFIX)}, **kept}


def without_index_settings(metadata: Metadata) -> dict[str, Any]:
    """Returns a collection's metadata without the keys that describe its index, which another index may not have."""
    return {
        key: value
        for key, value in metadata.items()
        if key != _DISTANCE_KEY and not key.startswith(_CHROMA_INDEX_PREFIX)
    }


def raise_for_unreported_status(response: httpx.Response) -> None:
    """Raises the `StoreFailed` of a status that the client does not pass on: `StoreDown`, `StoreError`, `NameTaken` or
    `QuotaExceeded`.
    """
    status = response.status_code
    if status == httpx.codes.UNPROCESSABLE_ENTITY:
        _raise_for_quota(response.read().decode(errors="replace"))
    is_server_error = status >= httpx.codes.INTERNAL_SERVER_ERROR
    if not is_server_error and status not in _TEMPORARY_STATUSES and status != httpx.codes.CONFLICT:
        return
    if status == httpx.codes.CONFLICT or _DUPLICATE_NAME in response.read().decode(errors="replace"):
        raise NameTaken("a collection of that name exists already")
    raise (StoreError if is_server_error else StoreDown)(f"status {status}")


def _raise_for_quota(text: str) -> None:
    if not _QUOTA_TEXT.search(text):
        return
    found = _QUOTA.search(text)
    details = f": {found[1]} {found[2]}, at most {found[3]} are allowed" if found else ""
    raise QuotaExceeded(f"a quota of the server is exceeded{details}")


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Translates the client's errors to `StoreFailed`, without their texts: they may quote what was sent."""
    from chromadb.errors import ChromaError, NotFoundError

    message = f"Chroma did not {action}"
    try:
        yield
    except StoreFailed as exc:
        raise type(exc)(f"{message} ({exc})") from exc
    except NotFoundError as exc:
        raise CollectionMissing("there is no such collection") from exc
    except ChromaError as exc:  # the request itself is wrong
        raise StoreRefused(f"{message} ({type(exc).__name__})") from exc
    except ValueError as exc:  # the client rejects the request; subclasses of ValueError come from parsing the response
        is_rejected = type(exc) is ValueError
        raise (StoreRefused if is_rejected else StoreDown)(f"{message} ({type(exc).__name__})") from exc
    except Exception as exc:  # the client raises plain exceptions, with the response's text, for unknown errors
        raise StoreDown(f"{message} ({type(exc).__name__})") from exc

"""Images in messages: which are accepted, and what they require of a model.

An image by URL must have a public address (see `media.addresses`). An inline image must be an image by its bytes.
"""

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from sekha_llm_bridge.conversation import Media
from sekha_llm_bridge.media.addresses import check_public_url
from sekha_llm_bridge.media.inspect import (
    COMMON_FORMATS,
    FORMAT_ALIASES,
    HEAD_BYTES,
    RECOGNISED_FORMATS,
    Read,
    base64_reader,
    kind_of,
    media_type_of,
    size_fault,
)
from sekha_llm_bridge.routing import ImageNeeds

_DATA_URL = r"(?i)data:image/([a-z0-9.+-]+);base64,(?=[^=])"
# vLLM downloads a `video_url` and an `audio_url`, LiteLLM a `file_id`.
_FIELDS_WITH_URL = ("url", "uri", "file_data", "file_id")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def check_image_url(url: str) -> None:
    """Raises ValueError unless `url` is an inline image (`data:`) or an http(s) URL of a public address."""
    if url[:5].lower() != "data:":
        check_public_url(url)
        return
    found = re.match(_DATA_URL, url)
    if found is None or not _is_base64(url[found.end() :]):
        raise ValueError("a data: URL must be data:image/TYPE;base64,… with base64 text")
    read = base64_reader(url, found.end())
    try:
        image_format = _format_of(found[1], read)
        fault = size_fault(image_format, read) if image_format in COMMON_FORMATS else None
    except binascii.Error:
        raise ValueError("a data: URL must be data:image/TYPE;base64,… with whole base64 text") from None
    if fault is not None:
        raise ValueError(fault)


def media_of_url(url: str) -> Media:
    """Returns the content of a `data:` URL, or the URL itself. The type of an image is that of its bytes: labels are
    often wrong, and some providers refuse an image for that.
    """
    if url[:5].lower() != "data:":
        return Media(url=url)
    head, _, data = url[5:].partition(",")
    declared = head.partition(";")[0].lower()
    return Media(media_type=media_type_of(data) or declared if declared.startswith("image/") else declared, data=data)


def is_web_url(value: object) -> TypeGuard[str]:
    """Returns whether a value is an http(s) URL."""
    return isinstance(value, str) and re.match(r"(?i)\s*https?:", value) is not None


def check_other_urls(kind: str, fields: Mapping[str, Any]) -> None:
    """Raises ValueError where a part of type `kind` (a document, a video, a recording) holds an http(s) URL of an
    address that is not public, in a field that some provider downloads, or in the `source` of a part within it. The
    addresses of what a search has found are not looked at.
    """
    for one in (fields, fields.get(kind), fields.get("source"), *_sources_within(fields.get("content"))):
        for name, value in one.items() if isinstance(one, Mapping) else ():
            if is_web_url(value) and (name == kind or name.lower().endswith(_FIELDS_WITH_URL)):
                check_public_url(value)


def _sources_within(content: Any) -> Iterator[Any]:
    """Yields the `source` of every part within a part, however deep."""
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            yield one.get("source")
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _is_base64(text: str) -> bool:
    """Returns whether a text has only the characters of base64, with at most two `=` at its end."""
    n_padding = len(text) - len(text.rstrip("="))
    return text.isascii() and n_padding <= 2 and len(text.encode().translate(None, _BASE64)) == n_padding


def _format_of(declared: str, read: Read) -> str:
    """Returns the format of an image by its bytes; the declared one where only the sender can know it."""
    kind = kind_of(read(0, HEAD_BYTES))
    if kind.format is not None:
        return kind.format
    declared = declared.lower()
    declared = FORMAT_ALIASES.get(declared, declared)
    if kind.words != "of an unknown format" or declared in RECOGNISED_FORMATS:
        raise ValueError(f"is no {declared} image: its content is {kind.words}")
    return declared


def image_needs(images: Sequence[Media]) -> ImageNeeds:
    """Returns what these images, which `check_image_url` has accepted, require of a model."""
    inline = [image for image in images if image.data is not None]
    return ImageNeeds(
        count=len(images),
        formats=frozenset(map(_inline_format, inline)),
        largest_bytes=max(map(_n_bytes, inline), default=0),
        by_url=any(image.url is not None for image in images),
    )


def _inline_format(image: Media) -> str:
    declared = (image.media_type or "").partition("/")[2]
    return _format_of(declared, base64_reader(image.data or ""))


def _n_bytes(image: Media) -> int:
    data = image.data or ""
    return len(data) * 3 // 4 - data[-2:].count("=")

"""The messages of a chat, from what a user of the client passes: a text, a message, or a list; and images."""

import base64
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.media.inspect import HEAD_BYTES, kind_of

Message = Mapping[str, Any]
"""One message in OpenAI's format: `role`, `content` and what belongs to the role."""

FilePath = str | PathLike[str]


def image_message(
    text: str,
    image_url: str | Sequence[str] | None = None,
    *,
    image_path: FilePath | Sequence[FilePath] | None = None,
    detail: str | None = None,
) -> dict[str, Any]:
    """Returns a user's message with a text and one image or several, by URL, by path, or both.

    A file is read now, and sent as a data URL whose type is that of its bytes. `detail` is OpenAI's: `low`, `high` or
    `auto`. Raises `InvalidRequest` for a file that cannot be read or is no image, and where no image is given.
    """
    urls = [*_listed(image_url), *(data_url(path) for path in _listed(image_path))]
    if not urls:
        raise InvalidRequest("no image is given: give image_url or image_path", param="image_url")
    more = {} if detail is None else {"detail": detail}
    images = [{"type": "image_url", "image_url": {"url": url, **more}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


def data_url(path: FilePath) -> str:
    """Returns an image file as a `data:` URL. Raises `InvalidRequest`."""
    try:
        data = Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as exc:  # a NUL in the path; a home folder that is unknown
        reason = getattr(exc, "strerror", None) or exc
        raise InvalidRequest(f"the image {str(path)!r} cannot be read: {reason}", param="image_path") from exc
    kind = kind_of(data[:HEAD_BYTES])
    if kind.media_type is None:
        raise InvalidRequest(f"{str(path)!r} is no image: it is {kind.words}", param="image_path")
    return f"data:{kind.media_type};base64,{base64.b64encode(data).decode()}"


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | PathLike) else tuple(value)

"""Where in a Messages request an image by URL is. Its message in the conversation has another index there."""

from collections.abc import Iterator
from typing import Any

from sekha_llm_bridge.conversation import Block, Image, Json


def image_param(image: Block, fields: Json) -> str:
    """Returns the path of the image's URL in the request: the first one, where it is there several times."""
    url = image.media.url if isinstance(image, Image) else None
    return next((path for path, found in _urls(fields["messages"], "messages") if found == url), "messages")


def _urls(value: Any, path: str) -> Iterator[tuple[str, object]]:
    """Yields the path and the value of every `source.url` in the content of messages."""
    for i, item in enumerate(value):
        content = item.get("content")
        source = item.get("source")
        if isinstance(source, dict):
            yield f"{path}[{i}].source.url", source.get("url")
        if isinstance(content, list):
            yield from _urls(content, f"{path}[{i}].content")

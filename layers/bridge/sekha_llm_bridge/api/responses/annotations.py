"""The sources of a text that have an address, as `url_citation` annotations."""

from collections.abc import Iterator
from typing import Any

from sekha_llm_bridge.conversation import ChoiceDelta, Json

_PLACES = ("start_index", "end_index")


def annotations_of(delta: ChoiceDelta) -> list[Json]:
    """Returns the sources with an address: citations of Anthropic's web search, and annotations of chat completions.
    Those that say no place in the text have none here.
    """
    return list(_annotations(delta)) if delta.citations or delta.extra_delta else []


def _annotations(delta: ChoiceDelta) -> Iterator[Json]:
    sent = delta.extra_delta.get("annotations")
    found = [*delta.citations, *(sent if isinstance(sent, list) else ())]
    for one in found:
        if isinstance(one, dict):
            nested = one.get("url_citation")
            source: dict[str, Any] = nested if isinstance(nested, dict) else one
            if isinstance(url := source.get("url"), str):
                places = {name: source[name] for name in _PLACES if isinstance(source.get(name), int)}
                yield {"type": "url_citation", "url": url, "title": str(source.get("title") or ""), **places}

"""Which of two representations a client prefers, by its Accept header."""

_HTML, _JSON = "text/html", "application/json"


def prefers_html(accept: str) -> bool:
    """Returns whether a client prefers HTML to JSON. Programs name JSON, or send `*/*`; browsers name HTML.

    Source: RFC 9110, section 12.5.1.
    """
    ranges = [_parsed(part) for part in accept.split(",")]
    html, json = _quality(_HTML, ranges), _quality(_JSON, ranges)
    return html > json


def _parsed(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weights = [text[2:] for text in parameters if text.startswith("q=")]
    try:
        return media_range, float(weights[-1]) if weights else 1.0
    except ValueError:
        return media_range, 0.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Returns the weight of the most specific range that has the type; 0 where none has it."""
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0

"""Reads the body of an error answer: its codes, its message, the field at fault and the wait that it asks for.

Servers place them in many ways. Sources: OpenAI (`error` object), Ollama (`error` text), FastAPI (`detail`, a text or a
list with `loc` and `msg`), Google (`error.status`, `error.details` with `reason` and `retryDelay`), OpenRouter (the
upstream's body as text in `error.metadata.raw`), AWS (`message`, `__type`; XML from S3-like services), Cohere and
Mistral (`message`), Cloudflare (`errors`), Databricks (`external_model_message`), gateways (plain text, HTML).

The time to read is linear in the size of the body, and the size is limited.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_BODY_BYTES = 65_536
MAX_TEXT_CHARACTERS = 4_096

_MAX_DEPTH = 6
_MAX_ITEMS = 10
_MAX_PARTS = 20
_BOM = b"\xef\xbb\xbf"
_MESSAGE_KEYS = ("message", "msg", "Message", "errorMessage", "error_message", "error_description", "description")
_CODE_KEYS = ("code", "type", "status", "__type", "error_type", "errorCode", "error_code", "reason")
_NESTED_KEYS = ("error", "errors", "detail", "details", "fault", "body", "external_model_message")
_CODE = re.compile(r"[A-Za-z_]{3,40}")
_TAG = re.compile(r"<[A-Za-z!/?][^<>]*>")
_HTML = re.compile(r"<(?:!doctype|html|head|body|title|center|h1)\b", re.IGNORECASE)
_XML_MESSAGE = re.compile(r"<message>([^<]{1,4000})", re.IGNORECASE)
_XML_CODE = re.compile(r"<code>([A-Za-z_]{3,40})<", re.IGNORECASE)
_JSON_TEXT = re.compile(r'"(?:message|msg|detail|error)"\s*:\s*"((?:[^"\\]|\\.){1,4000})')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_SPACES = re.compile(r"\s+")


@dataclass(slots=True)
class ErrorText:
    """What an error answer says.

    `codes` are its short codes, for example `invalid_request_error`. `message` is one line of at most 4,096 characters,
    without markup; empty for an HTML page. `param` is the path of the field at fault, where the answer names one.
    `retry_delay` is Google's wait, for example `34s`. `is_structured`: the body is JSON, so the API itself wrote it.
    """

    codes: list[str] = field(default_factory=list)
    message: str = ""
    param: str | None = None
    retry_delay: str | None = None
    is_structured: bool = False


def read_error_body(content: bytes) -> ErrorText:
    """Returns what the body of an error answer says. Reads at most 64 kB of it. Never raises."""
    head = content[:MAX_BODY_BYTES].removeprefix(_BOM)
    try:
        return read_error(orjson.loads(head), is_structured=True)
    except orjson.JSONDecodeError:
        pass
    text = head.decode("utf-8", "replace")
    if text.lstrip()[:1] in "{[" and (found := _JSON_TEXT.search(text)):  # longer than what is read, or cut
        return ErrorText(message=plain_text(found[1]), is_structured=True)
    return read_error(text)


def read_error(value: object, *, is_structured: bool = False) -> ErrorText:
    """Returns what an error says that is a JSON value, or a text."""
    error = ErrorText(is_structured=is_structured)
    parts: list[str] = []
    _collect(value, error, parts, _MAX_DEPTH)
    error.message = plain_text("; ".join(dict.fromkeys(parts)))
    error.codes = list(dict.fromkeys(error.codes))[:_MAX_PARTS]
    return error


def plain_text(text: str) -> str:
    """Returns a text as one line without markup and control characters, cut to 4,096 characters."""
    head = text[: 4 * MAX_TEXT_CHARACTERS]
    return _SPACES.sub(" ", _CONTROL.sub(" ", _TAG.sub(" ", head))).strip()[:MAX_TEXT_CHARACTERS]


def _collect(value: object, error: ErrorText, parts: list[str], depth: int) -> None:
    """Adds what the value says to `error` and to `parts`, which are the parts of its message."""
    if depth == 0 or len(parts) >= _MAX_PARTS:
        return
    match value:
        case str():
            _collect_text(value, error, parts, depth)
        case list():
            for item in value[:_MAX_ITEMS]:
                _collect(item, error, parts, depth - 1)
        case dict():
            _collect_object(value, error, parts, depth)


def _collect_object(value: dict[Any, Any], error: ErrorText, parts: list[str], depth: int) -> None:
    error.codes += [code for key in _CODE_KEYS if isinstance(code := value.get(key), str) and _CODE.fullmatch(code)]
    error.retry_delay = error.retry_delay or _text(value.get("retryDelay"))
    path = ".".join(map(str, _location(value.get("loc"))))
    error.param = error.param or _text(value.get("param")) or path or None
    for key in _MESSAGE_KEYS:
        if isinstance(text := value.get(key), str) and text:
            _collect(f"{path}: {text}" if path else text, error, parts, depth)
        elif text:
            _collect(text, error, parts, depth - 1)
    for key in _NESTED_KEYS:
        if nested := value.get(key):
            _collect(nested, error, parts, depth - 1)
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and (raw := metadata.get("raw")):
        _collect(raw, error, parts, depth - 1)


def _collect_text(text: str, error: ErrorText, parts: list[str], depth: int) -> None:
    """Adds a text. It may hold another body: as JSON, as a Python literal (some proxies), or as XML."""
    text = text[:MAX_BODY_BYTES]
    if _HTML.search(text[:2048]):
        return
    if "<" in text and (message := _XML_MESSAGE.search(text)):
        error.codes += _XML_CODE.findall(text)[:_MAX_ITEMS]
        parts.append(message[1])
        return
    found = _inner_body(text)
    if found is None:
        parts.append(text)
        return
    (start, inner), n_parts = found, len(parts)
    _collect(inner, error, parts, depth - 1)
    if before := text[:start].strip(" -:"):
        parts.insert(n_parts, before)


def _inner_body(text: str) -> tuple[int, object] | None:
    """Returns the object, or the list of objects or sentences, that a text holds, and where it begins."""
    for opening, closing in ("{}", "[]"):
        start, end = text.find(opening), text.rfind(closing)
        value = _literal(text[start : end + 1]) if 0 <= start < end else None
        if isinstance(value, dict) or (isinstance(value, list) and all(map(_is_error, value))):
            return start, value
    return None


def _is_error(item: object) -> bool:
    """Returns whether an item of a list may say what is wrong: an object, or a sentence. A word is a value."""
    return isinstance(item, dict) or (isinstance(item, str) and " " in item)


def _literal(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _python_literal(text) if text.startswith(("{'", '{"')) else None


def _python_literal(text: str) -> object:
    import ast  # only this rare case needs it

    try:
        return ast.literal_eval(text) if len(text) <= MAX_TEXT_CHARACTERS else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _location(loc: object) -> Iterator[object]:
    """Yields the parts of FastAPI's `loc`, without the first: it names the body."""
    if isinstance(loc, list):
        items: Iterable[object] = loc[1:] if loc[:1] == ["body"] else loc
        yield from (item for item in items if isinstance(item, str | int))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

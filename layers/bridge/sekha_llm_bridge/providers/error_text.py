"""Reads the body of an error answer: its codes, its message, the field at fault and the wait that it asks for.

Servers place them in many ways. Sources: OpenAI (`error` object), Ollama (`error` text), FastAPI (`detail`, a text or a
list with `loc` and `msg`), Google (`error.status`, `error.details` with `reason` and `retryDelay`), OpenRouter (the
upstream's body as text in `error.metadata.raw`), AWS (`message`, `__type`; XML from S3-like services), Cohere and
Mistral (`message`), Cloudflare (`errors`), Databricks (`external_model_message`), gateways (plain text, HTML).

The time to read is linear in the size of the body, and the size is limited.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

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
# The patterns are texts, which `re` compiles at the first failure and not at the start.
_CODE = r"(?!(?i:error)$)[A-Za-z_]{3,40}"  # Anthropic's answers have the type "error", which says nothing
_TAG = r"<[A-Za-z!/?][^<>]*>"
_HTML = r"(?i)<(?:!doctype|html|head|body|title|center|h1)\b"
_XML_MESSAGE = r"(?i)<message>([^<]{1,4000})"
_XML_CODE = r"(?i)<code>([A-Za-z_]{3,40})<"
_JSON_TEXT = r'"(?:message|msg|detail|error)"\s*:\s*"((?:[^"\\]|\\.){1,4000})'
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+"
_SPACES = r"\s+"


class ErrorText(NamedTuple):
    """What an error answer says.

    `codes` are its short codes, for example `invalid_request_error`. `message` is one line of at most 4,096 characters,
    without markup; empty for an HTML page. `param` is the path of the field at fault, where the answer names one.
    `retry_delay` is Google's wait, for example `34s`. `is_structured`: the body is JSON, so the API itself wrote it.
    """

    codes: tuple[str, ...] = ()
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
    if text.lstrip()[:1] in "{[" and (found := re.search(_JSON_TEXT, text)):  # longer than what is read, or cut
        return ErrorText(message=plain_text(found[1]), is_structured=True)
    return read_error(text)


def read_error(value: object, *, is_structured: bool = False) -> ErrorText:
    """Returns what an error says that is a JSON value, or a text."""
    found = _Findings()
    found.collect(value, _MAX_DEPTH)
    message = plain_text("; ".join(dict.fromkeys(found.parts)))
    codes = tuple(dict.fromkeys(found.codes))[:_MAX_PARTS]
    return ErrorText(codes, message, found.param, found.retry_delay, is_structured)


def plain_text(text: str) -> str:
    """Returns a text as one line without markup and control characters, cut to 4,096 characters."""
    head = text[: 4 * MAX_TEXT_CHARACTERS]
    return re.sub(_SPACES, " ", re.sub(_CONTROL, " ", re.sub(_TAG, " ", head))).strip()[:MAX_TEXT_CHARACTERS]


class _Findings:
    """What has been found in an error so far; `parts` are the parts of its message."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.parts: list[str] = []
        self.param: str | None = None
        self.retry_delay: str | None = None

    def collect(self, value: object, depth: int) -> None:
        """Adds what a JSON value or a text says, down to `depth` levels below it."""
        if depth == 0 or len(self.parts) >= _MAX_PARTS:
            return
        match value:
            case str():
                self._collect_text(value, depth)
            case list():
                for item in value[:_MAX_ITEMS]:
                    self.collect(item, depth - 1)
            case dict():
                self._collect_object(value, depth)

    def _collect_object(self, value: dict[Any, Any], depth: int) -> None:
        found = (value.get(key) for key in _CODE_KEYS)
        self.codes += [code for code in found if isinstance(code, str) and re.fullmatch(_CODE, code)]
        self.retry_delay = self.retry_delay or _text(value.get("retryDelay"))
        path = ".".join(map(str, _location(value.get("loc"))))
        self.param = self.param or _text(value.get("param")) or path or None
        for key in _MESSAGE_KEYS:
            if isinstance(text := value.get(key), str) and text:
                self.collect(f"{path}: {text}" if path else text, depth)
            elif text:
                self.collect(text, depth - 1)
        metadata = value.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        for nested in (*(value.get(key) for key in _NESTED_KEYS), raw):
            if nested:
                self.collect(nested, depth - 1)

    def _collect_text(self, text: str, depth: int) -> None:
        """Adds a text. It may hold another body: as JSON, as a Python literal (some proxies), or as XML."""
        text = text[:MAX_BODY_BYTES]
        if re.search(_HTML, text[:2048]):
            return
        if "<" in text and (message := re.search(_XML_MESSAGE, text)):
            self.codes += re.findall(_XML_CODE, text)[:_MAX_ITEMS]
            self.parts.append(message[1])
            return
        inner = _inner_body(text)
        if inner is None:
            self.parts.append(text)
            return
        (start, value), n_parts = inner, len(self.parts)
        self.collect(value, depth - 1)
        if before := text[:start].strip(" -:"):
            self.parts.insert(n_parts, before)


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

"""Parses and validates the body of a request; what is wrong becomes one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from sekha_llm_bridge.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)

_COMPRESSED = "send it uncompressed; Codex does with `enable_request_compression = false` under [features]"


async def json_object(request: Request) -> dict[str, Any]:
    """Returns the body's JSON object. Raises `InvalidRequest`."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as exc:
        if (encoding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
            raise InvalidRequest(f"the body is {encoding:.20}: {_COMPRESSED}") from None
        raise InvalidRequest(
            f"the body is not JSON: {str(exc).partition(': line')[0]} at line {exc.lineno}, column {exc.colno}"
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body


def json_text(value: object) -> str:
    """Returns a part of a body as text again. Raises `InvalidRequest`: it may be nested more deeply than can be
    written, although it could be read.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise InvalidRequest("the body is nested too deeply") from None


def validated(model: type[M], body: Mapping[str, Any]) -> M:
    """Returns the body as `model`. Raises `InvalidRequest`; its `param` is the path of the first invalid field."""
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        error = _most_specific(exc.errors(include_url=False, include_context=False, include_input=False))
        raise InvalidRequest(_sentence(error), param=_path(error["loc"]) or None) from None


def _most_specific(errors: Sequence[Any]) -> Mapping[str, Any]:
    """Returns the first error; of the alternatives of a union, the one that is deepest inside the value."""
    field = _field_path(errors[0]["loc"])
    same: list[Mapping[str, Any]] = [error for error in errors if _field_path(error["loc"])[: len(field)] == field]
    return max(same, key=lambda error: len(_field_path(error["loc"])))


def _field_path(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Returns an error's location without the names of union members, which are not fields."""
    unions = {"str", "list", "int", "dict", "float", "bool"}
    return tuple(part for part in loc if isinstance(part, int) or (part.isidentifier() and part not in unions))


def _sentence(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    path = _path(error["loc"])
    return f"{path}: {message[:1].lower()}{message[1:]}" if path else message


def _path(loc: tuple[int | str, ...]) -> str:
    """Returns `messages[0].content` for ("messages", 0, "content"); names of union members are left out."""
    path = ""
    for part in _field_path(loc):
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path

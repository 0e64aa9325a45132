"""From a request's body to a checked model, and what is wrong with it in words."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from sekha_llm_bridge.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)


async def json_object(request: Request) -> dict[str, Any]:
    """The body's JSON object. Raises `InvalidRequest`."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(
            f"the body is not JSON: {str(exc).partition(': line')[0]} at line {exc.lineno}, column {exc.colno}"
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body


def checked(model: type[M], body: Mapping[str, Any]) -> M:
    """The body as `model`. Raises `InvalidRequest`, whose `param` is the path of the first field at fault."""
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        fault = _most_telling(exc.errors(include_url=False, include_context=False, include_input=False))
        raise InvalidRequest(_sentence(fault), param=_path(fault["loc"]) or None) from None


def _most_telling(errors: Sequence[Any]) -> Mapping[str, Any]:
    """The first error; of the alternatives of a union, the one that got furthest into the value."""
    field = _stem(errors[0]["loc"])
    same: list[Mapping[str, Any]] = [error for error in errors if _stem(error["loc"])[: len(field)] == field]
    return max(same, key=lambda error: len(_stem(error["loc"])))


def _stem(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(part for part in loc if isinstance(part, int) or _is_field(part))


def _is_field(part: str) -> bool:
    """Whether part of an error's place is a field's name; the rest are names of union members."""
    return part.isidentifier() and part not in {"str", "list", "int", "dict", "float", "bool"}


def _sentence(error: Mapping[str, Any]) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    path = _path(error["loc"])
    return f"{path}: {said[:1].lower()}{said[1:]}" if path else said


def _path(loc: tuple[int | str, ...]) -> str:
    """`messages[0].content` of ("messages", 0, "content"); the names of union members are left out."""
    path = ""
    for part in _stem(loc):
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path

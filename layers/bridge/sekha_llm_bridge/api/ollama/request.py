"""Ollama's requests of chats, with the bridge's own fields. Unknown fields are kept.

Everything is optional, and null is the same as nothing, as in Ollama. Source: Ollama's `api/types.go`, version 0.32,
and its API documentation.
"""

import math
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from sekha_llm_bridge.api.conversations.options import OptionFields
from sekha_llm_bridge.providers.empty_objects import object_for_list, schema_with_objects

_INT32, _INT64 = 2**31, 2**63
_NO_TIME = r"-?0+(\.0*)?(ns|us|µs|ms|s|m|h)?"
_LEVELS = frozenset({"low", "medium", "high", "max"})
# What forms and command lines send in place of booleans, Ollama's own among them.
_THINK_TEXTS = {"": None, "true": True, "false": False, "none": False}


def _whole_number(value: object) -> object:
    """Refuses texts and booleans, which pydantic would take for numbers. Of `128.5` the whole part counts, as in
    Ollama.
    """
    if isinstance(value, str | bool):
        raise ValueError("must be a number")  # noqa: TRY004 — pydantic reports ValueError
    return math.trunc(value) if isinstance(value, float) and math.isfinite(value) else value


def _format(value: object) -> object:
    if value in (None, ""):
        return None
    if value == "json" or isinstance(value, dict):
        return value
    raise ValueError('must be "json" or a JSON schema')


def _think(value: object) -> object:
    value = _THINK_TEXTS.get(value, value) if isinstance(value, str) else value
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _LEVELS):
        return value
    raise ValueError("must be true, false, low, medium, high or max")


def _strings(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _keep_alive(value: object) -> object:
    """Returns a number in a text, such as "-1", as a number: an Ollama takes it in a text only with a unit."""
    if not isinstance(value, str) or not re.fullmatch(r"\s*-?\d{1,9}\s*", value):
        return value
    return int(value)


def _arguments(value: object) -> object:
    """Returns arguments that were sent as a text of JSON, as OpenAI's API has them, as the object."""
    found = value
    if isinstance(value, str):
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(value or "{}")
    return object_for_list(found)


Integer = Annotated[int, BeforeValidator(_whole_number), Field(gt=-_INT32, lt=_INT32)]
_Number = Annotated[float, Field(strict=True)]
Format = Annotated[Any, BeforeValidator(_format)]
Think = Annotated[bool | str | None, BeforeValidator(_think)]
KeepAlive = Annotated[StrictInt | StrictFloat | StrictStr, BeforeValidator(_keep_alive)]
"""Seconds, or a duration as Go writes them: `5m`."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class RequestOptions(_Lenient):
    """The options that other formats have, too, and `num_ctx`. The others are Ollama's own, or unknown."""

    num_predict: Integer | None = None
    temperature: Annotated[_Number, Field(ge=0)] | None = None
    top_p: Annotated[_Number, Field(ge=0)] | None = None
    top_k: Integer | None = None
    min_p: Annotated[_Number, Field(ge=0)] | None = None
    seed: Annotated[int, BeforeValidator(_whole_number), Field(ge=-_INT64, lt=_INT64)] | None = None
    stop: Annotated[list[StrictStr], BeforeValidator(_strings)] | None = None
    presence_penalty: _Number | None = None
    frequency_penalty: _Number | None = None
    num_ctx: Integer | None = None


class CalledFunction(_Lenient):
    """The function of a call, and its arguments: an object, not a text."""

    name: str
    arguments: Annotated[dict[str, Any] | None, BeforeValidator(_arguments)] = None


class ToolCall(_Lenient):
    """A tool call in an assistant's message. Clients for older versions of Ollama send no `id`."""

    id: str | None = None
    function: CalledFunction


class ChatMessage(_Lenient):
    """One message. `images` are base64. A message of role `tool` names the call of which it is the result by
    `tool_call_id`, or only its function by `tool_name`, which was `name` in earlier clients.
    """

    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = Field(None, validation_alias=AliasChoices("tool_name", "name"))
    tool_call_id: str | None = None


class Function(_Lenient):
    """A function that a model may call."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, BeforeValidator(schema_with_objects)] = None


class Tool(_Lenient):
    """A tool that a model may use: a function."""

    type: Literal["function"] | None = None
    function: Function


class ModelRequest(OptionFields, _Lenient):
    """What requests of chats and of completions have in common."""

    model: str | None = None
    stream: StrictBool | None = None
    format: Format = None
    options: RequestOptions | None = None
    think: Think = None
    keep_alive: KeepAlive | None = None
    truncate: StrictBool | None = None
    shift: StrictBool | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is streamed, which is Ollama's default."""
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """Whether the model shall be kept loaded for no time."""
        keep = self.keep_alive
        return keep == 0 or (isinstance(keep, str) and re.fullmatch(_NO_TIME, keep.strip()) is not None)


class ChatRequest(ModelRequest):
    """`POST /api/chat`."""

    messages: list[ChatMessage] | None = None
    tools: list[Tool] | None = None


class GenerateRequest(ModelRequest):
    """`POST /api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[StrictInt] | None = None
    raw: StrictBool | None = None
    images: list[str] | None = None

"""A request that uses each field of the field table, and one that does not."""

import base64
from typing import Any, NamedTuple

from tests.fakes.images import png

Body = dict[str, Any]

PNG, OTHER_PNG = (f"data:image/png;base64,{base64.b64encode(png(size)).decode()}" for size in (1, 2))
PDF = "data:application/pdf;base64,JVBERi0="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OTHER_SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
QUESTION = {"role": "user", "content": "hi"}


class Example(NamedTuple):
    """`used` has the field, `unused` does not, or has another value of it. Both are complete requests."""

    used: Body
    unused: Body


def _field(name: str, value: Any, unused: Any = None, **others: Any) -> Example:
    base = {"messages": [QUESTION], **others}
    return Example({**base, name: value}, base if unused is None else {**base, name: unused})


def _messages(used: list[Body], unused: list[Body]) -> Example:
    return Example({"messages": used}, {"messages": unused})


def _role(role: str, other: str) -> Example:
    return _messages([{"role": role, "content": "x"}, QUESTION], [{"role": other, "content": "x"}, QUESTION])


def _part(used: Body, unused: Body | None = None) -> Example:
    text = {"type": "text", "text": "hi"}
    others = [] if unused is None else [unused]
    return _messages([{"role": "user", "content": [text, used]}], [{"role": "user", "content": [text, *others]}])


def _file(unused: Body | None = None, **fields: str) -> Example:
    return _part({"type": "file", "file": fields}, unused and {"type": "file", "file": unused})


def _audio(data: str, form: str) -> Body:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def _answer(used: Body, unused: Body | None = None) -> Example:
    first = {"role": "assistant", "content": "ok"}
    return _messages([QUESTION, {**first, **used}, QUESTION], [QUESTION, {**first, **(unused or {})}, QUESTION])


def _call(call_id: str = "c1", name: str = "f", arguments: str = "{}", result_of: str | None = None) -> list[Body]:
    """An earlier call of a function, and its result."""
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": result_of or call_id, "content": "r"}
    return [QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}, result]


def _calls(used: list[Body], unused: list[Body]) -> Example:
    return Example({"messages": used, "tools": [_tool()]}, {"messages": unused, "tools": [_tool()]})


def _two_calls(result_of: str) -> list[Body]:
    """Two earlier calls, and a result of one of them."""
    question, first, result = _call("c1", "f", result_of=result_of)
    (second,) = _call("c2", "g")[1]["tool_calls"]
    return [question, {**first, "tool_calls": [*first["tool_calls"], second]}, result]


def _tool(**fields: Any) -> Body:
    return {"type": "function", "function": {"name": "f", "parameters": SCHEMA, **fields}}


def _tools(used: Body, unused: Body | None = None) -> Example:
    return Example({"messages": [QUESTION], "tools": [used]}, {"messages": [QUESTION], "tools": [unused or _tool()]})


def _choice(value: Any, unused: Any = None) -> Example:
    return _field("tool_choice", value, unused, tools=[_tool(), _tool(name="g")])


def _schema(used: Body, unused: Body | None = None) -> Example:
    shape = {"name": "n", "schema": SCHEMA}
    used_format = {"type": "json_schema", "json_schema": {**shape, **used}}
    unused_format = {"type": "json_schema", "json_schema": {**shape, **(unused or {})}}
    return _field("response_format", used_format, unused_format)


def _named(name: str) -> Body:
    return {"type": "function", "function": {"name": name}}


CUSTOM_CALL = {"id": "c", "type": "custom", "custom": {"name": "t", "input": "i"}}

EXAMPLES: dict[str, Example] = {
    "messages": _messages([QUESTION], [{"role": "user", "content": "other"}]),
    "messages.role": _role("user", "system"),
    "messages.role.system": _role("system", "user"),
    "messages.role.developer": _role("developer", "user"),
    "messages.role.user": _role("user", "assistant"),
    "messages.role.assistant": _role("assistant", "user"),
    "messages.role.tool": _calls(_call(), [QUESTION]),
    "messages.role.function": _messages([QUESTION, {"role": "function", "name": "f", "content": "r"}], [QUESTION]),
    "messages.name": _messages([{**QUESTION, "name": "Ann"}], [QUESTION]),
    "messages.name of several in one role": _messages(
        [{**QUESTION, "name": "Ann"}, {**QUESTION, "name": "Bob"}], [QUESTION, QUESTION]
    ),
    "messages.content": _messages([QUESTION], [{"role": "user", "content": "other"}]),
    "messages.content.text": _part({"type": "text", "text": "more"}),
    "messages.content.image_url": _part({"type": "image_url", "image_url": {"url": PNG}}),
    "messages.content.image_url.url": _part(
        {"type": "image_url", "image_url": {"url": PNG}}, {"type": "image_url", "image_url": {"url": OTHER_PNG}}
    ),
    "messages.content.image_url.detail": _part(
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}, {"type": "image_url", "image_url": {"url": PNG}}
    ),
    "messages.content.input_audio": _part(_audio("AAAA", "wav")),
    "messages.content.input_audio.data": _part(_audio("AAAA", "wav"), _audio("BBBB", "wav")),
    "messages.content.input_audio.format": _part(_audio("AAAA", "wav"), _audio("AAAA", "mp3")),
    "messages.content.file": _file(file_data=PDF),
    "messages.content.file.file_data": _file(file_data=PDF, unused={"file_data": f"{PDF[:-2]}A="}),
    "messages.content.file.file_id": _file(file_id="file-1"),
    "messages.content.file.filename": _file(file_data=PDF, filename="a.pdf", unused={"file_data": PDF}),
    "messages.content.refusal": _answer(
        {"content": [{"type": "refusal", "refusal": "no"}]}, {"content": [{"type": "refusal", "refusal": "never"}]}
    ),
    "messages.content.prompt_cache_breakpoint": _part(
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "text", "text": "b"}
    ),
    "messages.refusal": _answer({"content": None, "refusal": "no"}, {"content": None, "refusal": "never"}),
    "messages.audio": _answer({"audio": {"id": "a"}}),
    "messages.function_call": _answer({"function_call": {"name": "f", "arguments": "{}"}}),
    "messages.tool_calls": _calls(_call(), [QUESTION]),
    "messages.tool_calls.id": _calls(_call("c1"), _call("c2")),
    "messages.tool_calls.function": _calls(_call(), _call(name="g", arguments='{"a": "b"}')),
    "messages.tool_calls.function.name": _calls(_call(name="f"), _call(name="g")),
    "messages.tool_calls.function.arguments": _calls(_call(), _call(arguments='{"a": "b"}')),
    "messages.tool_calls.custom": _answer({"tool_calls": [CUSTOM_CALL]}),
    "messages.tool_call_id": _calls(_two_calls("c1"), _two_calls("c2")),
    "audio": _field("audio", {"voice": "v", "format": "wav"}),
    "frequency_penalty": _field("frequency_penalty", 0.5),
    "function_call": _field("function_call", {"name": "f"}, functions=[{"name": "f"}]),
    "functions": _field("functions", [{"name": "f"}]),
    "logit_bias": _field("logit_bias", {"1": 5}),
    "logprobs": _field("logprobs", value=True),
    "max_completion_tokens": _field("max_completion_tokens", 7),
    "max_tokens": _field("max_tokens", 7),
    "metadata": _field("metadata", {"k": "v"}),
    "modalities": _field("modalities", ["text", "audio"], ["text"]),
    "moderation": _field("moderation", {"model": "omni-moderation-latest"}),
    "n": _field("n", 2),
    "parallel_tool_calls": _field("parallel_tool_calls", value=False, tools=[_tool()]),
    "prediction": _field("prediction", {"type": "content", "content": "x"}),
    "presence_penalty": _field("presence_penalty", 0.5),
    "prompt_cache_key": _field("prompt_cache_key", "k"),
    "prompt_cache_options": _field("prompt_cache_options", {"mode": "explicit"}),
    "prompt_cache_retention": _field("prompt_cache_retention", "24h"),
    "reasoning_effort": _field("reasoning_effort", "high", max_tokens=5000),
    "response_format": _field("response_format", {"type": "json_object"}),
    "response_format.text": _field("response_format", {"type": "text"}),
    "response_format.json_object": _field("response_format", {"type": "json_object"}),
    "response_format.json_schema": _field("response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}),
    "response_format.json_schema.name": _schema({"name": "other"}),
    "response_format.json_schema.description": _schema({"description": "d"}),
    "response_format.json_schema.schema": _schema({}, {"schema": OTHER_SCHEMA}),
    "response_format.json_schema.strict": _schema({"strict": True}),
    "safety_identifier": _field("safety_identifier", "s"),
    "seed": _field("seed", 7),
    "service_tier": _field("service_tier", "default"),
    "stop": _field("stop", ["END"]),
    "store": _field("store", value=True),
    "temperature": _field("temperature", 0.5),
    "tool_choice": _choice("none"),
    "tool_choice.auto": _choice("auto"),
    "tool_choice.none": _choice("none"),
    "tool_choice.required": _choice("required"),
    "tool_choice.function": _choice(_named("f")),
    "tool_choice.function.name": _choice(_named("f"), _named("g")),
    "tool_choice.allowed_tools": _choice(
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_named("f")]}}
    ),
    "tool_choice.custom": _choice({"type": "custom", "custom": {"name": "f"}}),
    "tools": Example({"messages": [QUESTION], "tools": [_tool()]}, {"messages": [QUESTION]}),
    "tools.function": _tools(_tool(), _tool(name="g", description="d")),
    "tools.function.name": _tools(_tool(name="g")),
    "tools.function.description": _tools(_tool(description="d")),
    "tools.function.parameters": _tools(_tool(), _tool(parameters=OTHER_SCHEMA)),
    "tools.function.strict": _tools(_tool(strict=True)),
    "tools.custom": _tools({"type": "custom", "custom": {"name": "t"}}),
    "top_logprobs": _field("top_logprobs", 2, logprobs=True),
    "top_p": _field("top_p", 0.5),
    "user": _field("user", "u"),
    "verbosity": _field("verbosity", "low", "medium"),
    "web_search_options": _field("web_search_options", {}),
}  # fmt: skip

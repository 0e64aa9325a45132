"""The same conversations in the words of Anthropic's Messages API and of OpenAI's Responses API.

The answers are short, because a real model writes them. With `tools.jinja`, SmolLM2 repeats a call that it has seen.
"""

from typing import Any, NamedTuple

Json = dict[str, Any]

MODEL = "smollm2-135m-instruct"

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "enum": [7]}},
    "required": ["n"],
    "additionalProperties": False,
}
_TOOL = {"name": "get_weather", "description": "the weather", "input_schema": _CITY}
_FUNCTION = {"type": "function", "name": "get_weather", "description": "the weather", "parameters": _CITY}
_HELLO = {"role": "user", "content": "Say hello."}
_GREEDY = {"temperature": 0}


class Case(NamedTuple):
    """One conversation: the fields of the request to each API. None: that API cannot say it."""

    name: str
    messages: Json
    responses: Json | None


def _said(role: str, text: str) -> Json:
    """A message of the Responses API as llama.cpp takes it: it does not read the short form of an assistant's."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _second_call(limit: int) -> tuple[Json, Json]:
    """The conversation after which the model calls the tool again, for both APIs, with an answer of `limit` tokens."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Rome"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}
    messages = [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": "Berlin?"},
    ]
    items = [
        _said("user", "Rome?"),
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Rome"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
        _said("assistant", "Sunny."),
        _said("user", "Berlin?"),
    ]
    return (
        {**_GREEDY, "max_tokens": limit, "messages": messages, "tools": [_TOOL], "tool_choice": {"type": "any"}},
        {**_GREEDY, "max_output_tokens": limit, "input": items, "tools": [_FUNCTION], "tool_choice": "required"},
    )


CASES = (
    Case(
        "a system text, and max_tokens reached",
        {**_GREEDY, "max_tokens": 8, "system": "Be brief.", "messages": [_HELLO]},
        {**_GREEDY, "max_output_tokens": 8, "instructions": "Be brief.", "input": "Say hello."},
    ),
    Case(
        "several turns, in blocks, with characters of several bytes, ended by the model",
        {
            **_GREEDY,
            "max_tokens": 32,
            "system": [{"type": "text", "text": "Repeat."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Grüße 👋"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Grüße 👋"}]},
                {"role": "user", "content": "Grüße 👋"},
            ],
        },
        {
            **_GREEDY,
            "max_output_tokens": 32,
            "instructions": "Repeat.",
            "input": [_said("user", "Grüße 👋"), _said("assistant", "Grüße 👋"), _said("user", "Grüße 👋")],
        },
    ),
    Case(
        "a stop sequence",
        {**_GREEDY, "max_tokens": 32, "messages": [_HELLO], "stop_sequences": ["you"]},
        None,
    ),
    Case(
        "a sampled answer, with llama.cpp's seed",
        {"temperature": 1, "top_p": 0.9, "max_tokens": 8, "messages": [_HELLO]},
        {"temperature": 1, "top_p": 0.9, "max_output_tokens": 8, "input": [_said("user", "Say hello.")]},
    ),
    Case(
        "a tool that is offered",
        {**_GREEDY, "max_tokens": 8, "messages": [_HELLO], "tools": [_TOOL]},
        {**_GREEDY, "max_output_tokens": 8, "input": [_said("user", "Say hello.")], "tools": [_FUNCTION]},
    ),
    Case("a tool that must be called, after a call and its result", *_second_call(32)),
    Case("a call that the limit cuts off", *_second_call(20)),
    Case(
        "a JSON schema",
        {
            **_GREEDY,
            "max_tokens": 24,
            "messages": [_HELLO],
            "output_config": {"format": {"type": "json_schema", "schema": _NUMBER}},
        },
        {
            **_GREEDY,
            "max_output_tokens": 24,
            "input": [_said("user", "Say hello.")],
            "text": {"format": {"type": "json_schema", "name": "number", "schema": _NUMBER, "strict": True}},
        },
    ),
)

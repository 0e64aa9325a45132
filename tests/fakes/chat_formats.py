"""Reads a chat that a provider receives, and writes its answer, in OpenAI's, Anthropic's and Ollama's formats: for fake
providers whose answers depend on what they are asked.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.fakes import anthropic_wire
from tests.fakes.provider import Stream, chat_completion, chat_events, chunk, ndjson, ollama_chat, ollama_events

_SPLIT_AT = 6  # the arguments of a streamed call come in two parts where the format has parts


@dataclass(frozen=True)
class Asked:
    """What a chat asks. `question`: the text of the first message of the user that is no result; `latest`: of the last
    one. `results`: the texts of the tool results in order. `tools`: each offered tool, and the JSON schema of its
    arguments. `schema`: the JSON schema of the answer. `wants_json`: the answer must be JSON, with or without a schema.
    """

    model: str
    question: str
    latest: str
    results: tuple[str, ...]
    ends_with_result: bool
    tools: Mapping[str, Mapping[str, Any]]
    schema: Mapping[str, Any] | None
    wants_json: bool
    is_streamed: bool


@dataclass(frozen=True)
class Said:
    """An answer: a text, then calls of tools, each a name and its arguments."""

    text: str | None = None
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()


class ChatFormat(Protocol):
    """One format of chats. `content_type` is that of its streams."""

    content_type: str

    def asked(self, body: Mapping[str, Any]) -> Asked: ...

    def whole(self, said: Said, asked: Asked) -> dict[str, Any]: ...

    def parts(self, said: Said, asked: Asked) -> Iterator[bytes]: ...


class OpenAiChats:
    """`POST /v1/chat/completions`."""

    content_type = "text/event-stream"

    def asked(self, body: Mapping[str, Any]) -> Asked:
        said = [(message["role"], _text_of(message.get("content"))) for message in body["messages"]]
        form = body.get("response_format") or {}
        return _asked(
            body,
            said,
            tools=_openai_tools(body),
            schema=(form.get("json_schema") or {}).get("schema"),
            wants_json=form.get("type", "text") != "text",
            is_streamed=bool(body.get("stream")),
        )

    def whole(self, said: Said, asked: Asked) -> dict[str, Any]:
        calls = {"tool_calls": _openai_calls(said, asked)} if said.calls else {}
        answer: Any = chat_completion(said.text, model=asked.model, **calls)
        answer["choices"][0]["finish_reason"] = "tool_calls" if said.calls else "stop"
        return dict(answer)

    def parts(self, said: Said, asked: Asked) -> Iterator[bytes]:
        if not said.calls:
            yield from chat_events(said.text or "", model=asked.model)
            return
        yield chunk({"role": "assistant", "content": said.text}, model=asked.model)
        for index, call in enumerate(_openai_calls(said, asked)):
            written = call["function"]["arguments"]
            start = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            yield chunk({"tool_calls": [start]}, model=asked.model)
            for part in (written[:_SPLIT_AT], written[_SPLIT_AT:]):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}, model=asked.model)
        yield chunk({}, finish="tool_calls", model=asked.model)
        yield b"data: [DONE]\n\n"


class AnthropicChats:
    """`POST /v1/messages`."""

    content_type = "text/event-stream"

    def asked(self, body: Mapping[str, Any]) -> Asked:
        said = [one for message in body["messages"] for one in _anthropic_parts(message)]
        schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
        return _asked(
            body,
            said,
            tools={tool["name"]: tool.get("input_schema") or {} for tool in body.get("tools") or ()},
            schema=schema,
            wants_json=schema is not None,
            is_streamed=bool(body.get("stream")),
        )

    def whole(self, said: Said, asked: Asked) -> dict[str, Any]:
        texts = [anthropic_wire.text(said.text)] if said.text else []
        calls = [
            anthropic_wire.tool_use(call_id, name, **arguments)
            for call_id, (name, arguments) in _numbered(said, asked, "toolu")
        ]
        stop_reason = "tool_use" if calls else "end_turn"
        own_id = f"msg_{len(asked.results)}"  # programs take answers of one id for one answer
        return anthropic_wire.message(*texts, *calls, stop_reason=stop_reason, model=asked.model, id=own_id)

    def parts(self, said: Said, asked: Asked) -> Iterator[bytes]:
        return anthropic_wire.stream(self.whole(said, asked))


class OllamaChats:
    """`POST /api/chat`."""

    content_type = "application/x-ndjson"

    def asked(self, body: Mapping[str, Any]) -> Asked:
        said = [(message["role"], message.get("content") or "") for message in body["messages"]]
        form = body.get("format")
        return _asked(
            body,
            said,
            tools=_openai_tools(body),
            schema=form if isinstance(form, dict) else None,
            wants_json=bool(form),
            is_streamed=body.get("stream", True),
        )

    def whole(self, said: Said, asked: Asked) -> dict[str, Any]:
        calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in said.calls]
        return ollama_chat(said.text or "", model=asked.model, **({"tool_calls": calls} if calls else {}))

    def parts(self, said: Said, asked: Asked) -> Iterator[bytes]:
        if not said.calls:
            yield from ollama_events(said.text or "", model=asked.model)
            return
        answer: Any = self.whole(said, asked)
        yield ndjson({"model": asked.model, "message": answer["message"], "done": False})
        yield ndjson(ollama_chat("", model=asked.model))


FORMATS: Mapping[str, ChatFormat] = {
    "/v1/chat/completions": OpenAiChats(),
    "/v1/messages": AnthropicChats(),
    "/api/chat": OllamaChats(),
}
"""The format of each path."""


def stream_of(form: ChatFormat, said: Said, asked: Asked, **more: Any) -> Stream:
    """Returns the answer as a stream. `more`: other parts, or another ending."""
    return Stream(**{"parts": list(form.parts(said, asked)), "content_type": form.content_type, **more})


def _asked(
    body: Mapping[str, Any],
    said: list[tuple[str, str]],
    *,
    tools: Mapping[str, Mapping[str, Any]],
    schema: Mapping[str, Any] | None,
    wants_json: bool,
    is_streamed: bool,
) -> Asked:
    questions = [text for role, text in said if role == "user"]
    return Asked(
        model=body["model"],
        question=questions[0] if questions else "",
        latest=questions[-1] if questions else "",
        results=tuple(text for role, text in said if role == "tool"),
        ends_with_result=bool(said) and said[-1][0] == "tool",
        tools=tools,
        schema=schema,
        wants_json=wants_json,
        is_streamed=is_streamed,
    )


def _anthropic_parts(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields role and text of a message, and `tool` for each result in it."""
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        if block["type"] == "tool_result":
            yield "tool", _text_of(block.get("content"))
    if texts := [block["text"] for block in blocks if block["type"] == "text"]:
        yield message["role"], "\n".join(texts)


def _openai_tools(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return {function["name"]: function.get("parameters") or {} for function in functions}


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _openai_calls(said: Said, asked: Asked) -> list[dict[str, Any]]:
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call_id, (name, arguments) in _numbered(said, asked, "call")
    ]


def _numbered(said: Said, asked: Asked, prefix: str) -> list[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Returns each call with an id that no earlier call of the conversation has."""
    return [(f"{prefix}_{len(asked.results) + n}", call) for n, call in enumerate(said.calls, start=1)]

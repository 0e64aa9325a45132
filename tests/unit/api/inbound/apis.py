"""The inbound APIs of chats, each with how to ask it and how to read it, so that one test runs through all of them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.settings import make_settings

Body = dict[str, Any]
MAX_TOKENS = 500
TOOL_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True)
class Answer:
    """What an answer says, whole or streamed. `is_complete`: it ended as complete answers of its API do. `error` is the
    bridge's error object, with the message.
    """

    response: FunctionResponse
    text: str = ""
    model: str | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    receipt: Mapping[str, Any] = field(default_factory=dict)
    is_complete: bool = False
    error: Mapping[str, Any] | None = None
    reasoning: str = ""

    @property
    def status(self) -> int:
        return self.response.status


@dataclass(frozen=True)
class Ask:
    """One request: what the user says, and what else it asks for. `image_url` is a data: URL."""

    text: str = "Hello"
    system: str | None = None
    image_url: str | None = None
    tool: str | None = None
    max_tokens: int | None = MAX_TOKENS
    stream: bool = False


@dataclass(frozen=True)
class InboundApi:
    """An inbound API: its function, its path, and its format."""

    name: str
    function: str
    path: str
    body: Callable[[Ask], Body]
    whole: Callable[[FunctionResponse], Answer]
    streamed: Callable[[FunctionResponse], Answer]
    error: Callable[[Any], Mapping[str, Any]]
    """Makes one error object, with `message`, of the body of an error."""

    def over(self, *providers: Body, **sections: Any) -> "Client":
        """The API's function with a bridge of these providers."""
        return Client(self, make_bridge(make_settings(*providers, **sections)))

    def with_bridge(self, bridge: Bridge) -> "Client":
        return Client(self, bridge)

    def read(self, response: FunctionResponse, *, stream: bool) -> Answer:
        if response.headers["content-type"].startswith("application/json") and response.status != 200:
            return Answer(response, error=self.error(response.json()))
        return self.streamed(response) if stream else self.whole(response)


class Client:
    """Asks one function by its API."""

    def __init__(self, api: InboundApi, bridge: Bridge) -> None:
        self.api, self.bridge = api, bridge
        self.function = Function(api.function, bridge)

    def __call__(
        self,
        ask: Ask | None = None,
        *,
        headers: dict[str, str] | None = None,
        caller: Caller | None = None,
        remaining_ms: int = 29_000,
        **fields: Any,
    ) -> Answer:
        """Sends a request with further top-level fields, and reads its answer."""
        ask = ask or Ask()
        body = {**self.api.body(ask), **fields}
        response = self.function("POST", self.api.path, body, headers=headers, caller=caller, remaining_ms=remaining_ms)
        return self.api.read(response, stream=ask.stream)


# OpenAI's chat completions


def _chat_body(ask: Ask) -> Body:
    content: Any = ask.text
    if ask.image_url is not None:
        content = [{"type": "text", "text": ask.text}, {"type": "image_url", "image_url": {"url": ask.image_url}}]
    system = [{"role": "system", "content": ask.system}] if ask.system else []
    body: Body = {"messages": [*system, {"role": "user", "content": content}]}
    if ask.tool is not None:
        body["tools"] = [{"type": "function", "function": {"name": ask.tool, "parameters": TOOL_SCHEMA}}]
    return body | _set(max_tokens=ask.max_tokens, stream=ask.stream)


def _set(**fields: Any) -> Body:
    return {name: value for name, value in fields.items() if value is not None}


def _chat_whole(response: FunctionResponse) -> Answer:
    body = response.json()
    message = body["choices"][0]["message"]
    calls = [
        (one["function"]["name"], json.loads(one["function"]["arguments"])) for one in message.get("tool_calls", ())
    ]
    return Answer(
        response,
        message["content"] or "",
        body["model"],
        calls,
        body["bridge"],
        is_complete=True,
        reasoning=message.get("reasoning_content") or "",
    )


def _chat_streamed(response: FunctionResponse) -> Answer:
    data = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event.startswith("data: ")]
    events = [json.loads(one) for one in data if one != "[DONE]"]
    deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
    pieces: dict[int, list[str]] = {}
    for call in (call for delta in deltas for call in delta.get("tool_calls", ())):
        known = pieces.setdefault(call["index"], ["", ""])
        known[0] += call["function"].get("name") or ""
        known[1] += call["function"].get("arguments") or ""
    error = next((openai_error(event) for event in events if "error" in event), None)
    return Answer(
        response,
        "".join(delta.get("content") or "" for delta in deltas),
        events[0].get("model"),
        [(name, json.loads(arguments)) for name, arguments in pieces.values()] if error is None else [],
        events[-1].get("bridge", {}),
        is_complete=data[-1] == "[DONE]",
        error=error,
        reasoning="".join(delta.get("reasoning_content") or "" for delta in deltas),
    )


def openai_error(body: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body["error"]
    return found


# Anthropic's Messages


def _messages_body(ask: Ask) -> Body:
    content: Any = ask.text
    if ask.image_url is not None:
        head, _, data = ask.image_url.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0]
        source = {"type": "base64", "media_type": media_type, "data": data}
        content = [{"type": "text", "text": ask.text}, {"type": "image", "source": source}]
    body: Body = {"messages": [{"role": "user", "content": content}]}
    if ask.tool is not None:
        body["tools"] = [{"name": ask.tool, "input_schema": TOOL_SCHEMA}]
    return body | _set(max_tokens=ask.max_tokens or MAX_TOKENS, stream=ask.stream, system=ask.system)


def _messages_whole(response: FunctionResponse) -> Answer:
    body = response.json()
    text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    calls = [(block["name"], block["input"]) for block in body["content"] if block["type"] == "tool_use"]
    reasoning = "".join(block["thinking"] for block in body["content"] if block["type"] == "thinking")
    return Answer(
        response,
        text,
        body["model"],
        calls,
        body["bridge"],
        is_complete=body["stop_reason"] is not None,
        reasoning=reasoning,
    )


def sse_events(text: str) -> Iterator[tuple[str | None, Any]]:
    """Yields the name and the data of every event; comments are left out."""
    for event in text.split("\n\n"):
        lines = [line for line in event.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" in fields:
            yield fields.get("event"), json.loads(fields["data"])


def _messages_streamed(response: FunctionResponse) -> Answer:
    events = [data for _, data in sse_events(response.text)]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    blocks = {event["index"]: event["content_block"] for event in events if event["type"] == "content_block_start"}
    inputs = dict.fromkeys(blocks, "")
    for event in events:
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            inputs[event["index"]] += event["delta"]["partial_json"]
    error = next((event["error"] for event in events if event["type"] == "error"), None)
    calls = [
        (block["name"], json.loads(inputs[i] or "{}")) for i, block in blocks.items() if block["type"] == "tool_use"
    ]
    start: Body = next((event["message"] for event in events if event["type"] == "message_start"), {})
    return Answer(
        response,
        "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta"),
        start.get("model"),
        calls if error is None else [],
        next((event["bridge"] for event in events if "bridge" in event), {}),
        is_complete=events[-1]["type"] == "message_stop",
        error=error,
        reasoning="".join(delta["thinking"] for delta in deltas if delta["type"] == "thinking_delta"),
    )


def _anthropic_error(body: Any) -> Mapping[str, Any]:
    assert body["type"] == "error"
    assert {"type", "message"} <= body["error"].keys()
    return {**body["error"], "request_id": body["request_id"]}


# OpenAI's Responses


def _responses_body(ask: Ask) -> Body:
    content: Any = ask.text
    if ask.image_url is not None:
        parts = [{"type": "input_text", "text": ask.text}, {"type": "input_image", "image_url": ask.image_url}]
        content = [{"role": "user", "content": parts}]
    body: Body = {"input": content}
    if ask.tool is not None:
        body["tools"] = [{"type": "function", "name": ask.tool, "parameters": TOOL_SCHEMA, "strict": False}]
    return body | _set(max_output_tokens=ask.max_tokens, stream=ask.stream, instructions=ask.system)


def _responses_whole(response: FunctionResponse) -> Answer:
    return _of_response(response, response.json(), None)


def _of_response(response: FunctionResponse, body: Any, error: Any) -> Answer:
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    texts = [part["refusal" if part["type"] == "refusal" else "text"] for part in parts]
    calls = [
        (item["name"], json.loads(item["arguments"])) for item in body["output"] if item["type"] == "function_call"
    ]
    is_complete = body["status"] in {"completed", "incomplete"}
    reasoning = [
        part["text"]
        for item in body["output"]
        if item["type"] == "reasoning"
        for part in [*item["summary"], *(item.get("content") or ())]
    ]
    return Answer(
        response,
        "".join(texts),
        body["model"],
        calls,
        body.get("bridge", {}),
        is_complete,
        error,
        reasoning="".join(reasoning),
    )


def _responses_streamed(response: FunctionResponse) -> Answer:
    events = [data for _, data in sse_events(response.text)]
    errors = [_responses_error(event) for event in events if event["type"] in {"error", "response.failed"}]
    last = events[-1].get("response") if events[-1]["type"] in {"response.completed", "response.incomplete"} else None
    if last is not None:
        return _of_response(response, last, errors[0] if errors else None)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    model = next((event["response"]["model"] for event in events if "response" in event), None)
    return Answer(response, text, model, error=errors[0] if errors else None)


def _responses_error(event: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = event["response"]["error"] if "response" in event else event.get("error") or event
    return found


# Ollama's chat and generate


def _ollama_options(ask: Ask) -> Body:
    options = {} if ask.max_tokens is None else {"options": {"num_predict": ask.max_tokens}}
    return {"stream": ask.stream, **options}


def _ollama_chat_body(ask: Ask) -> Body:
    system = [{"role": "system", "content": ask.system}] if ask.system else []
    message: Body = {"role": "user", "content": ask.text}
    if ask.image_url is not None:
        message["images"] = [ask.image_url.partition(",")[2]]
    body: Body = {"messages": [*system, message]}
    if ask.tool is not None:
        body["tools"] = [{"type": "function", "function": {"name": ask.tool, "parameters": TOOL_SCHEMA}}]
    return body | _ollama_options(ask)


def _ollama_generate_body(ask: Ask) -> Body:
    images = {} if ask.image_url is None else {"images": [ask.image_url.partition(",")[2]]}
    return {"prompt": ask.text, **_set(system=ask.system), **images, **_ollama_options(ask)}


def _ollama_text(line: Any) -> str:
    text: str = line["message"]["content"] if "message" in line else line.get("response", "")
    return text


def _ollama_thinking(line: Any) -> str:
    return line.get("message", line).get("thinking") or ""


def _ollama_calls(line: Any) -> list[tuple[str, Any]]:
    calls = line.get("message", {}).get("tool_calls") or ()
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def _ollama_whole(response: FunctionResponse) -> Answer:
    body = response.json()
    return Answer(
        response,
        _ollama_text(body),
        body["model"],
        _ollama_calls(body),
        body["bridge"],
        is_complete=body["done"] is True,
        reasoning=_ollama_thinking(body),
    )


def _ollama_streamed(response: FunctionResponse) -> Answer:
    lines = [json.loads(line) for line in response.text.splitlines()]
    error = next((_ollama_error(line) for line in lines if "error" in line), None)
    parts = [line for line in lines if "error" not in line]
    return Answer(
        response,
        "".join(map(_ollama_text, parts)),
        parts[0]["model"] if parts else None,
        [call for line in parts for call in _ollama_calls(line)],
        lines[-1].get("bridge", {}),
        is_complete=lines[-1].get("done") is True,
        error=error,
        reasoning="".join(map(_ollama_thinking, parts)),
    )


def _ollama_error(body: Any) -> Mapping[str, Any]:
    assert isinstance(body["error"], str)
    return {"message": body["error"], **body["bridge"]}


CHAT = InboundApi(
    "chat", "chat_completions", "/v1/chat/completions", _chat_body, _chat_whole, _chat_streamed, openai_error
)
MESSAGES = InboundApi(
    "messages", "messages", "/v1/messages", _messages_body, _messages_whole, _messages_streamed, _anthropic_error
)
RESPONSES = InboundApi(
    "responses", "responses", "/v1/responses", _responses_body, _responses_whole, _responses_streamed, openai_error
)
OLLAMA_CHAT = InboundApi(
    "ollama-chat", "ollama", "/api/chat", _ollama_chat_body, _ollama_whole, _ollama_streamed, _ollama_error
)
OLLAMA_GENERATE = InboundApi(
    "ollama-generate", "ollama", "/api/generate", _ollama_generate_body, _ollama_whole, _ollama_streamed, _ollama_error
)
APIS = (CHAT, MESSAGES, RESPONSES, OLLAMA_CHAT, OLLAMA_GENERATE)

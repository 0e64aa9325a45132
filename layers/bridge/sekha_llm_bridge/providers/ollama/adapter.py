"""Ollama's own API. It is used in place of Ollama's OpenAI-compatible one because only here can the context size be
set; without that, Ollama cuts a long prompt silently.

Source: Ollama's API documentation, "Generate a chat completion", "Generate embeddings", "List local models".
"""

import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import failures
from sekha_llm_bridge.providers.base import (
    BatchLimits,
    ChatAnswer,
    ChatCall,
    ChatChunk,
    EmbeddingAnswer,
    EmbeddingCall,
    Json,
    malformed_answer_guard,
)
from sekha_llm_bridge.providers.event_stream import LineDecoder, parse_event
from sekha_llm_bridge.providers.http import JsonHttp, request_headers
from sekha_llm_bridge.providers.openai.response import count
from sekha_llm_bridge.providers.openai.stream import ChunkReader
from sekha_llm_bridge.usage import Usage

_OPTION_FIELDS = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
_MIN_CONTEXT_TOKENS = 4096
_BATCH_LIMITS = BatchLimits(max_texts=512)  # it states none; so many are embedded well within a timeout

TRANSLATED_FIELDS = frozenset(
    {"messages", "tools", "tool_choice", "response_format", "stop", "max_tokens"}
) | frozenset({"max_completion_tokens", "think", "keep_alive", *_OPTION_FIELDS})
"""Fields of OpenAI's request, and Ollama's own, that have a place in Ollama's."""


class OllamaAdapter:
    """One Ollama server."""

    def __init__(self, config: ProviderConfig, http: JsonHttp, clock: Clock) -> None:
        self._base_url = config.base_url or ""
        self._http = http
        self._clock = clock
        self._headers = request_headers(config)

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`. A prompt that is too long is an error, never cut."""
        payload = chat_payload(call)
        url = f"{self._base_url}/api/chat"
        body = await self._http.post(url, payload=payload, headers=self._headers, timeout_s=timeout_s)
        with malformed_answer_guard(_usage(body)):
            answer = chat_answer(body, call.model_id, created=int(self._clock.now().timestamp()))
        require_untruncated(answer.usage, payload)
        return answer

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[ChatChunk]:
        """See `Provider.stream`. That an old Ollama has cut the prompt shows only at the end, and fails it there."""
        payload = {**chat_payload(call), "stream": True}
        reader, pieces = ChunkReader(call.model_id, 1, self._clock), ChunkBuilder()
        url, lines = f"{self._base_url}/api/chat", LineDecoder()
        async with self._http.stream(url, payload=payload, headers=self._headers, timeout_s=timeout_s) as answer:
            if isinstance(answer, dict):  # an Ollama behind something that puts its pieces together
                yield self._whole(answer, payload, reader)
                return
            async for part in answer:
                for line in filter(None, lines.feed(part)):
                    yield self._piece(line, payload, reader, pieces)
                if reader.is_whole:
                    return
            for line in filter(None, lines.feed(lines.END)):
                yield self._piece(line, payload, reader, pieces)
        reader.require_complete()

    def _piece(self, line: bytes, payload: dict[str, Any], reader: ChunkReader, pieces: "ChunkBuilder") -> ChatChunk:
        with malformed_answer_guard(None):
            piece = parse_event(line)
            if piece.get("error"):
                raise failures.error_within_success(piece, request=payload)
        return _chunk(piece, payload, reader, pieces)

    def _whole(self, answer: dict[str, Any], payload: dict[str, Any], reader: ChunkReader) -> ChatChunk:
        usage = _usage(answer)
        require_untruncated(usage, payload)
        with malformed_answer_guard(usage):
            regular = chat_answer(answer, payload["model"], created=int(self._clock.now().timestamp()))
            return replace(reader.read_whole(regular.body), usage=usage)

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`. A text that is too long is an error, never cut."""
        payload: dict[str, Any] = {"model": call.model_id, "input": list(call.texts), "truncate": False}
        if call.dimensions is not None:
            payload["dimensions"] = call.dimensions
        body = await self._http.post(
            f"{self._base_url}/api/embed", payload=payload, headers=self._headers, timeout_s=timeout_s
        )
        counted = count(body.get("prompt_eval_count"))
        usage = None if counted is None else Usage(counted)
        vectors = body.get("embeddings")
        if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
            raise ProviderError(
                FailureKind.MALFORMED_ANSWER,
                "the provider's answer has no usable vectors",
                provider_status=200,
                usage=usage,
            )
        return EmbeddingAnswer(vectors, usage)

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`."""
        return _BATCH_LIMITS

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /api/tags`."""
        await self._http.get(f"{self._base_url}/api/tags", headers=self._headers, timeout_s=timeout_s)


def chat_payload(call: ChatCall) -> dict[str, Any]:
    """OpenAI's request in Ollama's words."""
    request = call.request
    payload: dict[str, Any] = {
        "model": call.model_id,
        "messages": _messages(request["messages"]),
        "stream": False,
        "truncate": False,
        "shift": False,
        "options": _options(call),
    }
    if request.get("tools") and request.get("tool_choice") != "none":
        payload["tools"] = request["tools"]
    if (form := _format(request.get("response_format"))) is not None:
        payload["format"] = form
    payload.update({key: request[key] for key in ("think", "keep_alive") if key in request})
    return payload


def _options(call: ChatCall) -> dict[str, Any]:
    request = call.request
    options = {name: request[name] for name in _OPTION_FIELDS if request.get(name) is not None}
    if (stop := request.get("stop")) is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    caps = [request.get("max_completion_tokens"), request.get("max_tokens"), call.output_cap]
    if given := [cap for cap in caps if cap is not None]:
        options["num_predict"] = min(given)
    options["num_ctx"] = context_window_for(call.context_tokens)
    return options


def context_window_for(needed_tokens: int) -> int:
    """The `num_ctx` to ask for: the next doubling of 4096, so that a growing conversation seldom makes Ollama reload
    the model.
    """
    size = _MIN_CONTEXT_TOKENS
    while size < needed_tokens:
        size *= 2
    return size


def _format(response_format: Json | None) -> Any:
    match (response_format or {}).get("type"):
        case "json_object":
            return (response_format or {}).get("schema", "json")
        case "json_schema":
            return (response_format or {})["json_schema"].get("schema", "json")
        case _:
            return None


def _messages(messages: list[Json]) -> list[dict[str, Any]]:
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    names = {call["id"]: call["function"]["name"] for call in calls if "id" in call and call.get("function")}
    return [_message(message, names) for message in messages]


def _message(message: Json, tool_names: dict[str, str]) -> dict[str, Any]:
    role = "system" if message["role"] == "developer" else message["role"]
    text, images = _split(message.get("content"))
    ours: dict[str, Any] = {"role": role, "content": text}
    if images:
        ours["images"] = images
    if calls := message.get("tool_calls"):
        ours["tool_calls"] = [_tool_call(call) for call in calls]
    if role == "tool":
        ours["tool_name"] = tool_names.get(message.get("tool_call_id", ""), "")
    return ours


def _tool_call(call: Json) -> dict[str, Any]:
    function = call.get("function")
    if function is None:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "Ollama takes calls of functions only in `tool_calls`", param="messages"
        )
    try:
        arguments = orjson.loads(function.get("arguments") or "{}")
    except orjson.JSONDecodeError as exc:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "the arguments of a tool call in `messages` are not JSON", param="messages"
        ) from exc
    return {"function": {"name": function["name"], "arguments": arguments}}


def _split(content: object) -> tuple[str, list[str]]:
    """A message's text, and its images as bare base64."""
    if not isinstance(content, list):
        return str(content or ""), []
    texts = [part["text"] for part in content if part.get("type") == "text"]
    urls = [part["image_url"]["url"] for part in content if part.get("type") == "image_url"]
    return "\n".join(texts), [url.partition(",")[2] for url in urls]


class ChunkBuilder:
    """Makes OpenAI's chunks of Ollama's pieces; a tool call comes whole, in one of them."""

    def __init__(self) -> None:
        self._calls = 0

    def event(self, piece: Json) -> dict[str, Any]:
        """The chunk that a piece is."""
        said = piece.get("message") or {}
        delta: dict[str, Any] = {"content": said.get("content") or ""}
        if said.get("thinking"):
            delta["reasoning_content"] = said["thinking"]
        if calls := said.get("tool_calls"):
            numbered = enumerate(calls, start=self._calls)
            delta["tool_calls"] = [{"index": i, **_openai_tool_call(call["function"])} for i, call in numbered]
            self._calls += len(calls)
        finish = _finish(piece, has_calls=self._calls > 0) if piece.get("done") else None
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def _chunk(piece: Json, payload: Json, reader: ChunkReader, pieces: ChunkBuilder) -> ChatChunk:
    usage = _usage(piece) if piece.get("done") else None
    require_untruncated(usage, payload)
    with malformed_answer_guard(usage):
        return replace(reader.read(pieces.event(piece)), usage=usage)


def require_untruncated(usage: Usage | None, payload: Json) -> None:
    """Raises `ProviderError` (CONTEXT_LENGTH_EXCEEDED) for what an Ollama gives that does not know `truncate` and has
    cut the prompt."""
    if usage is not None and usage.prompt_tokens + 1 >= payload["options"]["num_ctx"]:
        message = "the prompt filled the model's whole context, so it was cut"
        raise ProviderError(FailureKind.CONTEXT_LENGTH_EXCEEDED, message, provider_status=200, usage=usage)


def _finish(body: Json, *, has_calls: bool) -> str:
    return "tool_calls" if has_calls else "length" if body.get("done_reason") == "length" else "stop"


def chat_answer(body: Json, model_id: str, *, created: int) -> ChatAnswer:
    """Ollama's answer in OpenAI's words."""
    said = body.get("message")
    if not isinstance(said, dict) or not isinstance(said.get("content", ""), str) or not body.get("done", True):
        raise ProviderError(FailureKind.MALFORMED_ANSWER, "the provider's answer has no message", provider_status=200)
    calls = [_openai_tool_call(call["function"]) for call in said.get("tool_calls") or ()]
    message: dict[str, Any] = {"role": "assistant", "content": said.get("content") or ("" if not calls else None)}
    if calls:
        message["tool_calls"] = calls
    if said.get("thinking"):
        message["reasoning_content"] = said["thinking"]
    answer = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": created,
        "model": body.get("model", model_id),
        "choices": [
            {"index": 0, "message": message, "finish_reason": _finish(body, has_calls=bool(calls)), "logprobs": None}
        ],
    }
    return ChatAnswer(answer, _usage(body))


def _openai_tool_call(function: Json) -> dict[str, Any]:
    arguments = orjson.dumps(function.get("arguments") or {}).decode()
    return {
        "id": f"call_{secrets.token_hex(8)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _usage(body: Json) -> Usage | None:
    prompt, completion = count(body.get("prompt_eval_count")), count(body.get("eval_count"))
    return None if prompt is None or completion is None else Usage(prompt, completion)

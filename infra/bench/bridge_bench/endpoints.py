"""The requests that are measured, as a client sends them and as the provider receives them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge_bench.provider_process import DIMENSION, stream_request

_TURN = "Why are there two tides a day, and why is each some fifty minutes later than the day before? "
_ROLES = ("user", "assistant", "user", "assistant", "user")


_SYSTEM = "You are a patient teacher of physics. Answer in plain words."
_TURNS = tuple({"role": role, "content": _TURN * 2} for role in _ROLES)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: the function that serves it, its path and a body for it, and what the provider gets instead: its
    path, its body (None: the same), and the format that it speaks.
    """

    function: str
    path: str
    provider_path: str
    body: Mapping[str, Any]
    provider_body: Mapping[str, Any] | None = None
    provider_type: str = "openai"

    @property
    def text(self) -> str:
        """The body as a client sends it."""
        return json.dumps(self.body)

    @property
    def provider_text(self) -> str:
        """A body that the provider accepts, as a direct caller sends it."""
        return json.dumps(self.sent_to_provider)

    @property
    def sent_to_provider(self) -> Mapping[str, Any]:
        """A body that the provider accepts."""
        return self.body if self.provider_body is None else self.provider_body

    def streaming(self, tokens: int, pause_s: float) -> "Endpoint":
        """Returns the request for a stream of `tokens` chunks, one every `pause_s` seconds."""
        body, provider_body = (_streaming(one, tokens, pause_s) for one in (self.body, self.sent_to_provider))
        return replace(self, body=body, provider_body=provider_body)


def _streaming(body: Mapping[str, Any], tokens: int, pause_s: float) -> dict[str, Any]:
    turns = "input" if "input" in body else "messages"
    *before, last = body[turns]
    asked = {**last, "content": f"{last['content']} {stream_request(tokens, pause_s)}"}
    return {**body, "stream": True, turns: [*before, asked]}


_CHAT = Endpoint(
    "chat_completions",
    "/v1/chat/completions",
    "/v1/chat/completions",
    {
        "model": "auto",
        "messages": [{"role": "system", "content": _SYSTEM}, *_TURNS],
        "temperature": 0.7,
        "max_tokens": 500,
    },
)
_MESSAGES = Endpoint(
    "messages",
    "/v1/messages",
    "/v1/chat/completions",
    {"model": "auto", "system": _SYSTEM, "messages": _TURNS, "temperature": 0.7, "max_tokens": 500},
    _CHAT.body,
)
_RESPONSES = Endpoint(
    "responses",
    "/v1/responses",
    "/v1/chat/completions",
    {"model": "auto", "instructions": _SYSTEM, "input": _TURNS, "temperature": 0.7, "max_output_tokens": 500},
    _CHAT.body,
)
_OLLAMA = Endpoint(
    "ollama",
    "/api/chat",
    "/v1/chat/completions",
    {
        "model": "auto",
        "messages": _CHAT.body["messages"],
        "stream": False,
        "options": {"temperature": 0.7, "num_predict": 500},
    },
    _CHAT.body,
)
_EMBEDDINGS = Endpoint(
    "embeddings", "/v1/embeddings", "/v1/embeddings", {"model": "auto", "input": _TURN, "encoding_format": "float"}
)
CONVERSATIONS: Mapping[str, Endpoint] = {
    "chat_completions": _CHAT,
    "messages": _MESSAGES,
    "messages_to_anthropic": replace(
        _MESSAGES, provider_path="/v1/messages", provider_body=None, provider_type="anthropic"
    ),
    "responses": _RESPONSES,
    "ollama": _OLLAMA,
}
"""The endpoints that answer a conversation, with the same one. The provider speaks OpenAI's format, except to
`messages_to_anthropic`, which passes the request and the answer on.
"""

ENDPOINTS: Mapping[str, Endpoint] = {**CONVERSATIONS, "embeddings": _EMBEDDINGS}


def configuration(port: int, provider_type: str = "openai") -> str:
    """Returns a configuration of three providers at `port`, six models with prices, and a cost limit. `provider_type`
    is that of the first provider, which answers; one of Anthropic's has no model for embeddings.
    """
    address = f"http://127.0.0.1:{port}"
    base_url = address if provider_type == "anthropic" else f"{address}/v1"
    embeddings = [] if provider_type == "anthropic" else [_embedding_model()]
    first = [_model("small", 0.15, 0.6), _model("large", 2.5, 10, task="chat_smart"), *embeddings]
    second = [_model("other-small", 0.2, 0.8), _model("other-large", 3, 15, task="chat_smart")]
    return json.dumps(
        {
            "providers": [
                _provider("first", 1, first, provider_type=provider_type, base_url=base_url),
                _provider("second", 2, second, provider_type="openrouter", base_url=f"{address}/v1"),
                _provider("third", 3, [_model("local", 0, 0)], provider_type="ollama", base_url=address),
            ],
            "routing": {"max_cost_per_request": 0.10},
        }
    )


def _provider(provider_id: str, priority: int, models: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"id": provider_id, "priority": priority, "api_key": "not-a-key", "models": models, **fields}


def _model(model_id: str, input_usd: float, output_usd: float, *, task: str = "chat_small") -> dict[str, Any]:
    pricing = {"input_usd_per_mtok": input_usd, "output_usd_per_mtok": output_usd}
    return {"model_id": model_id, "task": task, "context_window": 128_000, "pricing": pricing}


def _embedding_model() -> dict[str, Any]:
    pricing = {"input_usd_per_mtok": 0.02}
    return {"model_id": "e", "task": "embedding", "context_window": 8191, "dimension": DIMENSION, "pricing": pricing}

"""The two requests that are measured, as a client sends them and as the provider receives them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge_bench.provider_process import DIMENSION

_TURN = "Why are there two tides a day, and why is each some fifty minutes later than the day before? "
_ROLES = ("user", "assistant", "user", "assistant", "user")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: the function that serves it, its path, the provider's path, and a body that is valid for both."""

    function: str
    path: str
    provider_path: str
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The body as a client sends it."""
        return json.dumps(self.body)


_CHAT = Endpoint(
    "chat_completions",
    "/v1/chat/completions",
    "/v1/chat/completions",
    {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "You are a patient teacher of physics. Answer in plain words."},
            *({"role": role, "content": _TURN * 2} for role in _ROLES),
        ],
        "temperature": 0.7,
        "max_tokens": 500,
    },
)
_EMBEDDINGS = Endpoint(
    "embeddings", "/v1/embeddings", "/v1/embeddings", {"model": "auto", "input": _TURN, "encoding_format": "float"}
)
ENDPOINTS: Mapping[str, Endpoint] = {endpoint.function: endpoint for endpoint in (_CHAT, _EMBEDDINGS)}


def configuration(port: int) -> str:
    """Returns a configuration of three providers at `port`, six models with prices, and a cost limit."""
    address = f"http://127.0.0.1:{port}"
    first = [_model("small", 0.15, 0.6), _model("large", 2.5, 10, task="chat_smart"), _embedding_model()]
    second = [_model("other-small", 0.2, 0.8), _model("other-large", 3, 15, task="chat_smart")]
    return json.dumps(
        {
            "providers": [
                _provider("first", 1, first, provider_type="openai", base_url=f"{address}/v1"),
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

"""OpenAI's wire format, which most vendors speak. A vendor is a row of data: `Vendor`.

Sources: OpenAI API reference, "Chat", "Embeddings" and "Models"; Azure OpenAI's v1 API; OpenRouter's and Gemini's
notes on their OpenAI compatibility.
"""

from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import MalformedAnswer
from sekha_llm_bridge.providers.base import (
    ChatAnswer,
    ChatCall,
    EmbeddingAnswer,
    EmbeddingCall,
    Usage,
    reading_an_answer,
)
from sekha_llm_bridge.providers.http import JsonHttp


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor differs: where the key goes, and what the output limit is called when the bridge sets it."""

    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    output_cap_field: str = "max_tokens"


OPENAI = Vendor(output_cap_field="max_completion_tokens")
AZURE_OPENAI = Vendor(auth_header="api-key", auth_prefix="", output_cap_field="max_completion_tokens")
GENERIC = Vendor()

_OUTPUT_CAP_FIELDS = ("max_completion_tokens", "max_tokens")


class OpenAICompatible:
    """One provider that speaks OpenAI's format."""

    def __init__(self, config: ProviderConfig, vendor: Vendor, http: JsonHttp) -> None:
        self._base_url = config.base_url or ""
        self._vendor = vendor
        self._http = http
        self._headers = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
        if config.api_key is not None:
            self._headers.setdefault(vendor.auth_header, vendor.auth_prefix + config.api_key.get_secret_value())

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`."""
        payload = {**call.request, "model": call.model_id}
        if call.output_cap is not None:
            self._cap_output(payload, call.output_cap)
        body = await self._http.post(
            f"{self._base_url}/chat/completions", payload=payload, headers=self._headers, timeout_s=timeout_s
        )
        with reading_an_answer():
            choices = body.get("choices")
            if not isinstance(choices, list) or not choices or not all(_is_choice(choice) for choice in choices):
                raise MalformedAnswer("the provider's answer has no usable choices", provider_status=200)
            return ChatAnswer(body, read_usage(body.get("usage")))

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`."""
        optional = {"dimensions": call.dimensions, "user": call.user}
        payload = {
            "model": call.model_id,
            "input": list(call.texts),
            "encoding_format": "float",
            **{key: value for key, value in optional.items() if value is not None},
        }
        body = await self._http.post(
            f"{self._base_url}/embeddings", payload=payload, headers=self._headers, timeout_s=timeout_s
        )
        with reading_an_answer():
            return EmbeddingAnswer(_vectors(body.get("data")), read_usage(body.get("usage")))

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /models`."""
        await self._http.get(f"{self._base_url}/models", headers=self._headers, timeout_s=timeout_s)

    def _cap_output(self, payload: dict[str, Any], cap: int) -> None:
        asked = [field for field in _OUTPUT_CAP_FIELDS if payload.get(field) is not None]
        for field in asked or [self._vendor.output_cap_field]:
            payload[field] = min(cap, payload.get(field) or cap)


def _is_choice(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def _vectors(data: object) -> list[list[float]]:
    """The vectors in the order of their `index`."""
    if not isinstance(data, list) or not all(
        isinstance(row, dict) and isinstance(row.get("embedding"), list) for row in data
    ):
        raise MalformedAnswer("the provider's answer has no usable vectors", provider_status=200)
    return [row["embedding"] for row in sorted(data, key=lambda row: row.get("index", 0))]


def read_usage(usage: object) -> Usage | None:
    """OpenAI's `usage` object, or None where there is none to trust."""
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return None
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )

"""The requests of Anthropic's, OpenAI's Responses and Ollama's APIs, with their main fields. The documents of these
APIs describe the rest, and the functions check it.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sekha_llm_bridge.api.conversations.options import OptionFields
from sekha_llm_bridge.api.fields import MaxCost

_Objects = list[dict[str, Any]]
_Tokens = Annotated[int, Field(ge=1)]


class _Further(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class _Request(OptionFields, _Further):
    model: str | None = None


class _Embed(_Further):
    model: str | None = None
    max_cost: MaxCost | None = None
    preferred_model: str | None = None
    collection: str | None = None
    store: StrictBool | None = None


class TokensRequest(_Request):
    """A request of Anthropic's API whose tokens are counted."""

    messages: Annotated[_Objects, Field(min_length=1)]
    system: str | _Objects | None = None
    tools: _Objects | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


class MessagesRequest(TokensRequest):
    """A request of Anthropic's Messages API."""

    max_tokens: _Tokens
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: dict[str, Any] | None = None
    stream: StrictBool | None = None


class ResponsesRequest(_Request):
    """A request of OpenAI's Responses API."""

    input: str | _Objects
    instructions: str | None = None
    max_output_tokens: _Tokens | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: _Objects | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None


class _OllamaRequest(_Request):
    format: str | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    think: StrictBool | str | None = None
    keep_alive: str | float | None = None
    stream: StrictBool | None = None


class OllamaChatRequest(_OllamaRequest):
    """A chat in the format of Ollama's API."""

    messages: _Objects | None = None
    tools: _Objects | None = None


class OllamaGenerateRequest(_OllamaRequest):
    """A prompt in the format of Ollama's API."""

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None


class OllamaEmbedRequest(_Embed):
    """Texts to embed, in the format of Ollama's API."""

    input: str | list[str] | None = None
    dimensions: int | None = None
    truncate: StrictBool | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class OllamaLegacyEmbedRequest(_Embed):
    """A text to embed, in the older format of Ollama's API."""

    prompt: str | None = None


class OllamaShowRequest(_Further):
    """The name of a model."""

    model: str | None = None
    name: str | None = None

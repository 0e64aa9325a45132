"""Reads Ollama's answers."""

import secrets
from typing import Any

from sekha_llm_bridge.conversation import (
    Block,
    ChatAnswer,
    Choice,
    FinishReason,
    Json,
    Original,
    Reasoning,
    Text,
    ToolCall,
    WireFormat,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import EmbeddingAnswer, malformed_answer
from sekha_llm_bridge.providers.ollama.request import ChatPayload
from sekha_llm_bridge.providers.single_choice import arguments_text, new_answer_id
from sekha_llm_bridge.providers.token_counts import read_count
from sekha_llm_bridge.usage import Usage


def read_chat_answer(body: Json, *, created: int) -> ChatAnswer:
    """Returns the answer. `created` is in Unix seconds. Raises `ProviderError` (MALFORMED_ANSWER)."""
    message = body.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content", ""), str) or not body.get("done", True):
        raise malformed_answer("the provider's answer has no message")
    calls = [tool_call(call["function"]) for call in message.get("tool_calls") or ()]
    text = message.get("content") or ("" if not calls else None)
    blocks: list[Block] = [Reasoning(message["thinking"])] if message.get("thinking") else []
    blocks += [] if text is None else [Text(text)]
    choice = Choice(0, (*blocks, *calls), finish_reason(body, has_calls=bool(calls)), logprobs(body))
    return ChatAnswer(new_answer_id(), created, (choice,), chat_usage(body), original=original(body))


def join_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the complete answer of a server that streams although no stream was requested."""
    messages = [event["message"] for event in events if isinstance(event.get("message"), dict)]
    joined: dict[str, Any] = {
        name: "".join(str(message.get(name) or "") for message in messages) for name in ("content", "thinking")
    }
    joined["tool_calls"] = [call for message in messages for call in message.get("tool_calls") or ()]
    probabilities = [one for event in events for one in event.get("logprobs") or ()]
    return {**events[-1], "message": joined, **({"logprobs": probabilities} if probabilities else {})}


def tool_call(function: Json) -> ToolCall:
    """Returns a tool call, with a random id: Ollama sends none."""
    arguments = arguments_text(function.get("arguments")) or "{}"
    return ToolCall(f"call_{secrets.token_hex(8)}", function["name"], arguments)


def finish_reason(body: Json, *, has_calls: bool) -> FinishReason:
    """Returns the finish reason; Ollama's `done_reason` has none for tool calls."""
    if has_calls:
        return FinishReason.TOOL_CALLS
    return FinishReason.LENGTH if body.get("done_reason") == "length" else FinishReason.STOP


def logprobs(body: Json) -> Json | None:
    """Returns the log probabilities in OpenAI's form; None where there are none. Ollama leaves out what is empty."""
    sent = body.get("logprobs")
    if not isinstance(sent, list) or not sent:
        return None
    return {"content": [{"bytes": None, "top_logprobs": [], **item} for item in sent], "refusal": None}


def require_logprobs(choice_text: str | None, found: Json | None, payload: ChatPayload, usage: Usage | None) -> None:
    """Raises `ProviderError` (CANDIDATE_UNSUITABLE) where they were requested and a text came without: Ollama before
    version 0.12.11 ignores `logprobs`.
    """
    if choice_text and found is None and payload.get("logprobs"):
        message = "this Ollama gives no logprobs: it is older than version 0.12.11"
        raise ProviderError(
            FailureKind.CANDIDATE_UNSUITABLE,
            message,
            provider_status=200,
            param="logprobs",
            usage=usage,
            unsupported_feature="logprobs",
        )


def original(body: Json) -> Original:
    """Returns an answer or an event as Ollama sent it: it has the durations."""
    return Original(WireFormat.OLLAMA, body)


def chat_usage(body: Json) -> Usage | None:
    """Returns the token counts of a chat answer, or None where one of them is missing."""
    prompt, completion = read_count(body.get("prompt_eval_count")), read_count(body.get("eval_count"))
    return None if prompt is None or completion is None else Usage(prompt, completion)


def reject_truncated_prompt(usage: Usage | None, payload: ChatPayload) -> None:
    """Raises `ProviderError` (CONTEXT_LENGTH_EXCEEDED) where Ollama has cut the prompt.

    Old versions ignore `truncate: false` and cut a prompt to the size of the context.
    """
    if usage is not None and usage.prompt_tokens + 1 >= payload["options"]["num_ctx"]:
        message = "the prompt filled the model's whole context, so it was cut"
        raise ProviderError(FailureKind.CONTEXT_LENGTH_EXCEEDED, message, provider_status=200, usage=usage)


def read_embeddings(body: Json) -> EmbeddingAnswer:
    """Returns the vectors of an answer of `/api/embed`. Raises `ProviderError` (MALFORMED_ANSWER)."""
    prompt_tokens = read_count(body.get("prompt_eval_count"))
    usage = None if prompt_tokens is None else Usage(prompt_tokens)
    vectors = body.get("embeddings")
    if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
        raise malformed_answer("the provider's answer has no usable vectors", usage)
    return EmbeddingAnswer(vectors, usage)

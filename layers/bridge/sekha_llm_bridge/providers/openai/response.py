"""Normalises answers in OpenAI's format: clients parse them strictly, and vendors deviate from the format."""

import secrets
from typing import Any

import orjson

from sekha_llm_bridge.providers.base import ChatAnswer, malformed_answer
from sekha_llm_bridge.providers.token_counts import is_count
from sekha_llm_bridge.usage import Usage

# The finish reasons by which OpenRouter, vLLM and DeepSeek report an answer that failed in its middle.
_ERROR_FINISH_REASONS = ("error", "abort", "insufficient_system_resource")


def normalise_chat_answer(body: dict[str, Any], usage: Usage | None, *, created: int) -> ChatAnswer:
    """Returns the answer with every field that strict clients require.

    `created` (Unix seconds) and a new id are used where the vendor sent none. Raises `ProviderError` (MALFORMED_ANSWER)
    for an answer without usable choices, and TypeError for one that is nested too deeply to be serialised.
    """
    orjson.dumps(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed_answer("the provider's answer has no choices")
    normalised = {
        "id": body["id"] if isinstance(body.get("id"), str) and body["id"] else new_answer_id(),
        "created": body["created"] if is_count(body.get("created")) else created,
        "choices": [_choice(position, choice) for position, choice in enumerate(choices)],
    }
    return ChatAnswer({**body, **normalised}, usage)


def new_answer_id() -> str:
    """Returns a random id for an answer whose vendor sent none."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def _choice(position: int, choice: object) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise malformed_answer("the provider's answer has a choice without a message")
    finish = choice.get("finish_reason")
    reject_error_finish(choice)
    return {
        **choice,
        "index": choice["index"] if is_count(choice.get("index")) else position,
        "message": {
            **message,
            "role": "assistant",
            **normalise_content(message.get("content")),
            **_tool_calls(message),
        },
        "finish_reason": finish if isinstance(finish, str) and finish else None,
    }


def reject_error_finish(choice: dict[str, Any]) -> None:
    """Raises `ProviderError` (MALFORMED_ANSWER) for a choice that ended with an error in the middle of its answer."""
    if choice.get("finish_reason") in _ERROR_FINISH_REASONS or choice.get("error"):
        raise malformed_answer("the provider interrupted its answer")


def normalise_content(content: object) -> dict[str, str | None]:
    """Returns `content` as one text; some vendors send it in parts.

    Parts of type `thinking` become `reasoning_content`. Raises `ProviderError` (MALFORMED_ANSWER) for other content.
    """
    if content is None or isinstance(content, str):
        return {"content": content}
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise malformed_answer("the provider's answer has content that is no text")
    thoughts = [
        normalise_content(part.get("thinking"))["content"] or "" for part in content if part.get("type") == "thinking"
    ]
    text = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return {"content": text, "reasoning_content": "".join(thoughts)} if thoughts else {"content": text}


def _tool_calls(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return {}
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise malformed_answer("the provider's answer has tool calls that are none")
    return {"tool_calls": calls}


def read_vectors(data: object) -> list[list[float]]:
    """Returns the vectors of an embeddings answer's `data`, in the order of their `index`.

    Raises `ProviderError` (MALFORMED_ANSWER).
    """
    if not isinstance(data, list) or not all(
        isinstance(row, dict) and isinstance(row.get("embedding"), list) for row in data
    ):
        raise malformed_answer("the provider's answer has no usable vectors")
    return [row["embedding"] for row in sorted(data, key=lambda row: row.get("index", 0))]

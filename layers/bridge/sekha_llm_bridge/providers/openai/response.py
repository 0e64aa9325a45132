"""Normalises answers in OpenAI's format: clients parse them strictly, and vendors deviate from the format."""

import base64
import sys
from array import array
from typing import Any

import orjson

from sekha_llm_bridge.conversation import NO_FIELDS, ChatAnswer
from sekha_llm_bridge.providers.base import malformed_answer
from sekha_llm_bridge.providers.openai.answer_blocks import choice_of
from sekha_llm_bridge.providers.openai.message_normaliser import MessageNormaliser, message_of
from sekha_llm_bridge.providers.single_choice import new_answer_id
from sekha_llm_bridge.providers.token_counts import is_count, read_count, regular_chat_usage
from sekha_llm_bridge.usage import Usage

# The finish reasons by which OpenRouter, vLLM and DeepSeek report an answer that failed in its middle.
_ERROR_FINISH_REASONS = ("error", "abort", "insufficient_system_resource")


_ANSWER_FIELDS = frozenset({"id", "object", "created", "model", "choices", "usage", "bridge"})


def read_chat_answer(body: dict[str, Any], usage: Usage | None, *, created: int) -> ChatAnswer:
    """Returns the answer of a body in OpenAI's format.

    `created` (Unix seconds) and a new id are used where the vendor sent none. Raises `ProviderError` (MALFORMED_ANSWER)
    for an answer without usable choices, and TypeError for one that is nested too deeply to be serialised.
    """
    orjson.dumps(body)
    return ChatAnswer(
        answer_id=body["id"] if isinstance(body.get("id"), str) and body["id"] else new_answer_id(),
        created=body["created"] if is_count(body.get("created")) else created,
        choices=tuple(choice_of(choice) for choice in regular_choices(body)),
        usage=usage,
        provider_usage=regular_chat_usage(body.get("usage")),
        extra={name: value for name, value in body.items() if name not in _ANSWER_FIELDS} or NO_FIELDS,
    )


def regular_choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the choices of an answer, with a regular message each. Raises `ProviderError` (MALFORMED_ANSWER)."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed_answer("the provider's answer has no choices")
    return [_choice(position, choice) for position, choice in enumerate(choices)]


def _choice(position: int, choice: object) -> dict[str, Any]:
    message = message_of(choice, "message", "delta") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise malformed_answer("the provider's answer has a choice without a message")
    finish = choice.get("finish_reason")
    reject_error_finish(choice)
    if not finish and not isinstance(choice.get("message"), dict) and "delta" in choice:
        raise malformed_answer("the provider's answer is a part of a stream: it was cut off")
    return {
        **{name: value for name, value in choice.items() if name not in {"delta", "text"}},
        "index": choice["index"] if is_count(choice.get("index")) else position,
        "message": MessageNormaliser().whole_message(message),
        "finish_reason": finish if isinstance(finish, str) and finish else None,
    }


def reject_error_finish(choice: dict[str, Any]) -> None:
    """Raises `ProviderError` (MALFORMED_ANSWER) for a choice that ended with an error in the middle of its answer."""
    if choice.get("finish_reason") in _ERROR_FINISH_REASONS or choice.get("error"):
        raise malformed_answer("the provider interrupted its answer")


def read_vectors(data: object) -> list[list[float]]:
    """Returns the vectors of an embeddings answer's `data`, in the order of their `index`; in their own order where not
    every one has an index.

    Raises `ProviderError` (MALFORMED_ANSWER), and ValueError for base64 that is none.
    """
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise malformed_answer("the provider's answer has no usable vectors")
    vectors = [_vector(row.get("embedding")) for row in data]
    indexes = [index for row in data if (index := read_count(row.get("index"))) is not None]
    if len(indexes) < len(vectors):
        return vectors
    return [vector for _, vector in sorted(zip(indexes, vectors, strict=True), key=lambda pair: pair[0])]


def _vector(embedding: object) -> list[float]:
    """Returns a vector, which some servers send as base64 of 32-bit floats (little-endian), or with numbers as text."""
    if isinstance(embedding, str):
        floats = array("f", base64.b64decode(embedding, validate=True))
        if sys.byteorder == "big":
            floats.byteswap()
        return floats.tolist()
    if not isinstance(embedding, list):
        raise malformed_answer("the provider's answer has no usable vectors")
    return [float(number) for number in embedding] if embedding and isinstance(embedding[0], str) else embedding

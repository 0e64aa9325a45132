"""Requests and answers in OpenAI's format for tests of what is below the API: translated by the product's own translators."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat import openai_format
from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.conversation import AnswerChunk, ChatAnswer, ChoiceDelta
from sekha_llm_bridge.pricing import TokenCount, count_chat
from sekha_llm_bridge.providers import ChatCall, PriceCeiling
from sekha_llm_bridge.providers.openai.response import read_chat_answer
from sekha_llm_bridge.providers.token_counts import read_chat_usage


def chat_call(
    model_id: str,
    request: Mapping[str, Any],
    output_cap: int | None,
    context_tokens: int,
    ceiling: PriceCeiling | None = None,
) -> ChatCall:
    options = request.get("stream_options")
    fields = {name: value for name, value in request.items() if name != "stream_options"}
    return ChatCall(model_id, conversation_of(fields), output_cap, context_tokens, ceiling, stream_options=options)


def count(request: Mapping[str, Any]) -> TokenCount:
    return count_chat(conversation_of(request))


def chat_answer(body: dict[str, Any]) -> ChatAnswer:
    return read_chat_answer(body, read_chat_usage(body.get("usage")), created=0)


def answer_body(answer: ChatAnswer) -> dict[str, Any]:
    return openai_format.answer_body(answer)


def chunk_body(chunk: AnswerChunk, model_id: str = "m") -> dict[str, Any]:
    return openai_format.chunk_body(chunk, chunk.choices, model_id)


def text_chunk(text: str | None, *, finish: str | None = None, **fields: Any) -> AnswerChunk:
    """A chunk of an answer with one choice."""
    delta = ChoiceDelta(text=text, finish_reason=finish)
    return AnswerChunk("id", 0, (delta,), bool(text) or finish is not None, **fields)

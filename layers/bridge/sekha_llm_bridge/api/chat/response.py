"""The body of a chat answer: OpenAI's format, complete for strict parsers, with the receipt."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.openai_format import answer_body
from sekha_llm_bridge.conversation import ChatAnswer
from sekha_llm_bridge.execution import ExecutionResult
from sekha_llm_bridge.usage import Usage


def chat_body(result: ExecutionResult[ChatAnswer], receipt: Mapping[str, object]) -> dict[str, Any]:
    """Returns the answer to a request."""
    answer = result.answer
    return {
        **answer_body(answer),
        "model": result.receipt.model_id,
        "usage": usage_body(answer.usage, answer.provider_usage, is_estimated=answer.usage_is_estimated),
        "bridge": receipt,
    }


def usage_body(usage: Usage | None, provider_usage: Mapping[str, Any] | None, *, is_estimated: bool) -> dict[str, Any]:
    """Returns the provider's own usage; where it sent none, an estimate that is marked. Always three integers."""
    usage = usage or Usage(0)
    tokens: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if is_estimated:
        return {**tokens, "estimated": True}
    sent = provider_usage or {}
    total = sent.get("total_tokens")
    if isinstance(total, int) and not isinstance(total, bool) and total >= usage.prompt_tokens:
        tokens["total_tokens"] = total
    return {**sent, **tokens}

"""The body of a chat answer: OpenAI's format, complete for strict parsers, with the receipt."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.left_out import fields_left_out
from sekha_llm_bridge.api.chat.openai_format import answer_body
from sekha_llm_bridge.api.chat.request import KNOWN_FIELDS
from sekha_llm_bridge.api.unknown_fields import notes_on_unknown_fields, unknown_names
from sekha_llm_bridge.conversation import ChatAnswer
from sekha_llm_bridge.execution import ExecutionResult, Receipt
from sekha_llm_bridge.routing import Candidate
from sekha_llm_bridge.usage import Usage


def chat_body(result: ExecutionResult[ChatAnswer], body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer to a request of which `body` was sent to the provider."""
    answer, receipt = result.answer, result.receipt
    return {
        **answer_body(answer),
        "model": receipt.model_id,
        "usage": usage_body(answer.usage, answer.provider_usage, is_estimated=answer.usage_is_estimated),
        "bridge": bridge_body(receipt, result.candidate, body, is_estimated=answer.usage_is_estimated),
    }


def bridge_body(
    receipt: Receipt, candidate: Candidate, body: Mapping[str, Any], *, is_estimated: bool
) -> dict[str, object]:
    """Returns the receipt, with the notes on this answer."""
    notes = list(receipt.notes)
    unsent = fields_left_out(body, candidate.entry.capabilities)
    if unsent:
        notes.append(f"{receipt.provider_id} has no place for: {', '.join(unsent)}")
    if candidate.entry.capabilities.translated_fields is None:
        notes += notes_on_unknown_fields(unknown_names(body, KNOWN_FIELDS), candidate)
    if is_estimated:
        notes.append("the provider counted no tokens: usage and cost are estimates")
    return {**receipt.public(), "notes": notes}


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

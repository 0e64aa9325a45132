"""What a caller gets of a chat answer: OpenAI's shape, complete for strict parsers, with the receipt."""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.chat.features import fields_without_equivalent
from sekha_llm_bridge.execution import Outcome, Receipt
from sekha_llm_bridge.providers import ChatAnswer
from sekha_llm_bridge.routing import Candidate
from sekha_llm_bridge.usage import Usage


def chat_body(outcome: Outcome[ChatAnswer], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request of which `sent` was sent on."""
    answer, receipt = outcome.answer, outcome.receipt
    return {
        **answer.body,
        "object": "chat.completion",
        "model": receipt.model_id,
        "choices": [_choice(choice) for choice in answer.body["choices"]],
        "usage": usage_body(answer.usage, answer.body.get("usage"), is_estimated=answer.usage_is_estimated),
        "bridge": bridge_body(receipt, outcome.candidate, sent, is_estimated=answer.usage_is_estimated),
    }


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """`content` is text unless a tool is called; `finish_reason` is never null in a whole answer."""
    message = choice["message"]
    calls = message.get("tool_calls")
    if message.get("content") is None and not calls:
        message = {**message, "content": ""}
    finish = choice.get("finish_reason") or ("tool_calls" if calls else "stop")
    return {**choice, "message": message, "finish_reason": finish}


def bridge_body(
    receipt: Receipt, candidate: Candidate, sent: Mapping[str, Any], *, is_estimated: bool
) -> dict[str, object]:
    """The receipt, with what is to be said of this answer besides."""
    notes = list(receipt.notes)
    unsent = fields_without_equivalent(sent, candidate.entry.capabilities)
    if unsent:
        notes.append(f"{receipt.provider_id} has no place for: {', '.join(unsent)}")
    if is_estimated:
        notes.append("the provider counted no tokens: usage and cost are estimates")
    return {**receipt.public(), "notes": notes}


def usage_body(usage: Usage | None, own: Mapping[str, Any] | None, *, is_estimated: bool) -> dict[str, Any]:
    """The provider's own usage; where it sent none, an estimate that says so. Always three integers."""
    count_prompt = _tokens(usage or Usage(0))
    if is_estimated:
        return {**count_prompt, "estimated": True}
    own = own or {}
    total = own.get("total_tokens")
    is_own_total = isinstance(total, int) and not isinstance(total, bool) and total >= count_prompt["prompt_tokens"]
    return {**own, **count_prompt, **({"total_tokens": total} if is_own_total else {})}


def _tokens(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}

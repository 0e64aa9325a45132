"""The receipt of an answer, with the notes on it."""

from collections.abc import Collection

from sekha_llm_bridge.api.conversations.features import features_billed_apart
from sekha_llm_bridge.api.conversations.left_out import fields_left_out
from sekha_llm_bridge.api.unknown_fields import notes_on_unknown_fields
from sekha_llm_bridge.conversation import Conversation, WireFormat
from sekha_llm_bridge.execution import Receipt
from sekha_llm_bridge.providers import AdapterCapabilities
from sekha_llm_bridge.routing import Candidate


def receipt_body(
    receipt: Receipt,
    candidate: Candidate,
    conversation: Conversation,
    *,
    unknown: Collection[str],
    notes: Collection[str] = (),
    left_out: Collection[str] = (),
    is_estimated: bool,
) -> dict[str, object]:
    """Returns the object `bridge` of an answer. `unknown` are the names of the request's fields that the bridge does
    not know; `notes` are the inbound API's own; `left_out` is that of `ChatAnswer`.
    """
    all_notes = [*receipt.notes, *notes]
    capabilities = candidate.entry.capabilities
    if unsent := fields_left_out(conversation, capabilities):
        all_notes.append(f"{receipt.provider_id} has no place for: {', '.join(unsent)}")
    if apart := _billed_apart(conversation, candidate, unsent):
        names = ", ".join(apart)
        all_notes.append(f"{receipt.provider_id} may bill more than `cost`, which is that of the tokens, for: {names}")
    if left_out:
        all_notes.append(f"left out, because the model does not take it: {', '.join(left_out)}")
    if _sends_unknown_fields(conversation, capabilities):
        is_original = conversation.original is not None
        all_notes += notes_on_unknown_fields(unknown, candidate, is_original=is_original)
    if is_estimated:
        all_notes.append("the provider counted no tokens: usage and cost are estimates")
    return {**receipt.public(), "notes": all_notes}


def _billed_apart(conversation: Conversation, candidate: Candidate, unsent: Collection[str]) -> list[str]:
    """Returns the sorted names of what a paid provider may bill besides the tokens, or at another price for them."""
    if candidate.entry.price is None or candidate.entry.is_free:
        return []
    capabilities = candidate.entry.capabilities
    sends_tier = capabilities.translated_fields is None or _sends_unknown_fields(conversation, capabilities)
    others = {*unsent} if sends_tier else {*unsent, "service_tier"}
    return sorted(features_billed_apart(conversation) - others)


def _sends_unknown_fields(conversation: Conversation, capabilities: AdapterCapabilities) -> bool:
    """Returns whether fields that the bridge does not know have reached the provider: one of the request's format."""
    if conversation.wire_format is WireFormat.OPENAI_CHAT:
        return capabilities.translated_fields is None
    return conversation.original is not None and capabilities.original_format is conversation.wire_format

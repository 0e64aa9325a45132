"""Errors that come after vectors were made and billed, with their bill."""

from sekha_llm_bridge.embeddings import SpaceMismatch
from sekha_llm_bridge.errors import BridgeError, EmbeddingSpaceMismatch
from sekha_llm_bridge.execution import Receipt


def mismatch(exc: SpaceMismatch, receipt: Receipt) -> EmbeddingSpaceMismatch:
    """What a caller is told of it. The vectors were made and billed, so the error carries their receipt."""
    error = EmbeddingSpaceMismatch(str(exc), receipt=receipt.public(), param="collection")
    tell_bill(error, receipt)
    return error


def tell_bill(error: BridgeError, receipt: Receipt) -> None:
    """Adds to an error what was tried and billed before it."""
    error.attempts = tuple(attempt.public() for attempt in receipt.attempts)
    error.cost_usd, error.cost_bound_usd = receipt.cost, receipt.cost_bound

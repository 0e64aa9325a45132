"""What an embedding request requires of a model."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.pricing import count_texts, minimum_tokens_of_longest_text
from sekha_llm_bridge.providers import gateway_fields
from sekha_llm_bridge.routing import RouteRequest
from sekha_llm_bridge.routing.model_refs import ModelRef
from sekha_llm_bridge.routing.names import resolve_model


class EmbeddingTarget(NamedTuple):
    """The models that a request for embeddings names, in order. `space` is the embedding space that its vectors must
    have, because another space than that of the named model must never answer.
    """

    models: tuple[ModelRef, ...] = ()
    is_pinned: bool = True
    space: str | None = None


_ANY_MODEL = EmbeddingTarget()


def embedding_route_request(
    texts: Sequence[str],
    *,
    target: EmbeddingTarget = _ANY_MODEL,
    preferred: tuple[ModelRef, ...] = (),
    max_cost: Decimal | None = None,
    context_tokens: int = 0,
    dimensions: int | None = None,
    space: str | None = None,
    vendor_fields: Mapping[str, Any] = MappingProxyType({}),
) -> RouteRequest:
    """Returns what the planner needs to know; each text has the model's context window to itself.

    All vectors are of one embedding space: `space`, else that of the named model, else of the preferred or the default
    model.
    `vendor_fields` are those that the bridge does not read.
    """
    for_gateways = gateway_fields(vendor_fields)
    billable = {name for name in vendor_fields.keys() & BILLABLE_FIELDS if vendor_fields[name]}
    return RouteRequest(
        task=Task.EMBEDDING,
        prompt=count_texts(texts),
        named=target.models,
        is_pinned=target.is_pinned,
        preferred=preferred,
        features_with_unbounded_cost=for_gateways | billable,
        gateway_fields=for_gateways,
        max_cost_usd=max_cost,
        context_tokens=max(minimum_tokens_of_longest_text(texts), context_tokens),
        dimensions=dimensions,
        space=space or target.space,
        used_features=frozenset(vendor_fields),
        longest_input=max(range(len(texts)), key=lambda index: len(texts[index]), default=None),
    )


def embedding_target(model: str | None, bridge: Bridge) -> EmbeddingTarget:
    """Returns the models that the name stands for. Raises `ModelNotFound`, and `InvalidRequest` for a chat's task."""
    target = resolve_model(model, bridge.catalog)
    if target.task not in {None, Task.EMBEDDING}:
        raise InvalidRequest(f"model: {model} gives no vectors", param="model")
    if target.is_pinned and len(target.models) <= 1:
        return EmbeddingTarget(target.models)
    entries = (entry for ref in target.models for entry in filter(ref.matches, bridge.catalog.entries(ref.model_id)))
    first = next((entry for entry in entries if entry.serves(Task.EMBEDDING)), None)
    return EmbeddingTarget(target.models, target.is_pinned, first.model.space if first else None)

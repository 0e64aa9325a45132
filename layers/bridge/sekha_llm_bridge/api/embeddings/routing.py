"""What an embedding request requires of a model."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.pricing import count_texts, minimum_tokens_of_longest_text
from sekha_llm_bridge.providers import gateway_fields
from sekha_llm_bridge.routing import RouteRequest
from sekha_llm_bridge.routing.catalog import resolve_model


def embedding_route_request(
    texts: Sequence[str],
    *,
    pinned: str | None = None,
    preferred: str | None = None,
    max_cost: Decimal | None = None,
    context_tokens: int = 0,
    dimensions: int | None = None,
    space: str | None = None,
    vendor_fields: Mapping[str, Any] = MappingProxyType({}),
) -> RouteRequest:
    """Returns what the planner needs to know; each text has the model's context window to itself.

    All vectors are of one embedding space: `space`, else that of the `pinned` model, else of the default model.
    `vendor_fields` are those that the bridge does not read.
    """
    for_gateways = gateway_fields(vendor_fields)
    billable = {name for name in vendor_fields.keys() & BILLABLE_FIELDS if vendor_fields[name]}
    return RouteRequest(
        task=Task.EMBEDDING,
        prompt=count_texts(texts),
        pinned=pinned,
        preferred=preferred,
        features_with_unbounded_cost=for_gateways | billable,
        gateway_fields=for_gateways,
        max_cost_usd=max_cost,
        context_tokens=max(minimum_tokens_of_longest_text(texts), context_tokens),
        dimensions=dimensions,
        space=space,
        used_features=frozenset(vendor_fields),
        longest_input=max(range(len(texts)), key=lambda index: len(texts[index]), default=None),
    )


def pinned_embedding_model(model: str | None, bridge: Bridge) -> str | None:
    """Returns the only model allowed, or None. Raises `ModelNotFound`, and `InvalidRequest` for a chat's task."""
    pinned, task_of_name = resolve_model(model, bridge.catalog)
    if task_of_name not in {None, Task.EMBEDDING}:
        raise InvalidRequest(f"model: {model} gives no vectors", param="model")
    return pinned

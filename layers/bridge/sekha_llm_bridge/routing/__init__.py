"""Which models answer a request, in which order, and why the others do not: pure, no I/O."""

from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel
from sekha_llm_bridge.routing.model_refs import ModelRef
from sekha_llm_bridge.routing.plan import Candidate, ConsideredModel, Exclusion, ExclusionKind
from sekha_llm_bridge.routing.planner import RoutePlan, plan
from sekha_llm_bridge.routing.route_request import ImageNeeds, RouteRequest, RoutingContext
from sekha_llm_bridge.routing.token_counts import models_to_count

__all__ = [
    "Candidate",
    "Catalog",
    "CatalogModel",
    "ConsideredModel",
    "Exclusion",
    "ExclusionKind",
    "ImageNeeds",
    "ModelRef",
    "RoutePlan",
    "RouteRequest",
    "RoutingContext",
    "models_to_count",
    "plan",
]

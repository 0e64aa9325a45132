"""Which models answer a request, in which order, and why the others do not: pure, no I/O."""

from sekha_llm_bridge.routing.catalog import Catalog, CatalogModel
from sekha_llm_bridge.routing.plan import Barrier, Candidate, Exclusion, Listing
from sekha_llm_bridge.routing.planner import RoutePlan, plan
from sekha_llm_bridge.routing.request import ImageNeeds, Limits, RouteRequest

__all__ = [
    "Barrier",
    "Candidate",
    "Catalog",
    "CatalogModel",
    "Exclusion",
    "ImageNeeds",
    "Limits",
    "Listing",
    "RoutePlan",
    "RouteRequest",
    "plan",
]

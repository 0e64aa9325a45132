"""Where the order is otherwise equal, the model goes first that has answered a request with the same beginning."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.routing import Catalog, CatalogModel, ModelRef, RouteRequest, RoutingContext, plan
from sekha_llm_bridge.routing.cost_quotes import estimate_usd
from tests.fakes.settings import chat_model, make_settings, provider

REQUEST = RouteRequest(None, TokenCount(estimate=1000, bound=1000, minimum=1000))


def ranked(
    *providers: dict[str, Any],
    served: tuple[str, str] | None,
    request: RouteRequest = REQUEST,
    context: RoutingContext | None = None,
    **sections: Any,
) -> list[CatalogModel]:
    catalog = Catalog.of(make_settings(*providers, **sections), PriceBook())
    return list(plan(request, catalog, replace(context or RoutingContext(), served_before=served)).ranked)


def ids(entries: list[CatalogModel]) -> list[str]:
    return [entry.provider.id for entry in entries]


def pair(**second: Any) -> list[dict[str, Any]]:
    """Two providers of one model, of which the second differs in some fields."""
    model = {"price": (1, 2), **second.pop("model", {})}
    return [
        provider("a", chat_model("m"), base_url="http://h/v1", priority=1),
        provider("b", chat_model("m", **model), **{"base_url": "http://h/v1", "priority": 1, **second}),
    ]


def test_an_equal_model_that_has_served_the_beginning_goes_first() -> None:
    assert ids(ranked(*pair(), served=None)) == ["a", "b"]
    assert ids(ranked(*pair(), served=("b", "m"))) == ["b", "a"]


def test_the_reason_says_so() -> None:
    catalog = Catalog.of(make_settings(*pair()), PriceBook())
    reasons = [
        plan(REQUEST, catalog, RoutingContext(served_before=served)).reason for served in (None, ("b", "m"), ("a", "m"))
    ]
    assert [" lately " in reason for reason in reasons] == [False, True, True]


@pytest.mark.parametrize(
    "second", [{"priority": 2}, {"model": {"price": (1.1, 2)}}, {"model": {"price": None}}], ids=str
)
def test_one_with_another_priority_or_cost_keeps_its_place(second: dict[str, Any]) -> None:
    assert ids(ranked(*pair(**second), served=("b", "m"))) == ["a", "b"]


def test_models_whose_prices_are_not_known_keep_their_order() -> None:
    unknown = [provider(name, chat_model("m", price=None), base_url="http://h/v1") for name in ("a", "b")]
    assert ids(ranked(*unknown, served=("b", "m"))) == ["a", "b"]


def test_without_cost_aware_routing_the_order_is_that_of_the_file() -> None:
    context = RoutingContext(cost_aware=False)
    assert ids(ranked(*pair(), served=("b", "m"), context=context)) == ["a", "b"]


def test_it_counts_more_than_the_default_model_and_less_than_a_preferred_one() -> None:
    models = chat_model("default"), chat_model("other")
    both = provider("p", *models, base_url="http://h/v1")
    defaults = {"chat_fast": "default"}
    names = [entry.model_id for entry in ranked(both, served=("p", "other"), default_models=defaults)]
    assert names == ["other", "default"]
    preferring = replace(REQUEST, preferred=(ModelRef("default"),))
    entries = ranked(both, served=("p", "other"), default_models=defaults, request=preferring)
    assert [entry.model_id for entry in entries] == ["default", "other"]


prices = st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2))
fleets = st.lists(
    st.tuples(st.integers(1, 2), st.lists(st.tuples(st.sampled_from("xyz"), prices), min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)


@given(fleets, st.integers(0, 3), st.sampled_from("xyz"), st.booleans())
def test_it_never_changes_the_order_of_models_with_another_priority_or_cost(
    fleet: list[tuple[int, list[tuple[str, tuple[int, int] | None]]]],
    number: int,
    name: str,
    cost_aware: bool,  # noqa: FBT001 — drawn
) -> None:
    providers = [
        provider(
            f"p{i}", *(chat_model(one, price=price) for one, price in models), priority=rank, base_url="http://h/v1"
        )
        for i, (rank, models) in enumerate(fleet)
    ]
    context = RoutingContext(cost_aware=cost_aware)
    before = ranked(*providers, served=None, context=context)
    after = ranked(*providers, served=(f"p{number}", name), context=context)
    assert sorted(entry.position for entry in after) == sorted(entry.position for entry in before)
    places = {entry.position: place for place, entry in enumerate(after)}
    for first, later in combinations(before, 2):
        if _rank(first) != _rank(later):
            assert places[first.position] < places[later.position]


def _rank(entry: CatalogModel) -> tuple[int, object]:
    return entry.provider.priority, estimate_usd(entry, REQUEST)

"""Which models' prompts are counted, and what the plan makes of a count."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.resilience import Availability, BreakerState, BreakerView
from sekha_llm_bridge.routing import Catalog, ModelRef, RoutePlan, RouteRequest, RoutingContext, models_to_count, plan
from tests.fakes.settings import chat_model, make_settings, provider

PROMPT = TokenCount(estimate=10_000, bound=50_000, minimum=9_000)
BY_COUNT_ONLY = Decimal("0.02")


def planned(*models: dict[str, Any], context: RoutingContext | None = None, **wanted: Any) -> RoutePlan:
    settings = make_settings(provider("p", *models, provider_type="anthropic", api_key="k"))
    request = RouteRequest(**{"task": None, "prompt": PROMPT, "output_tokens": 100, **wanted})
    return plan(request, Catalog.of(settings, PriceBook()), context or RoutingContext())


def counted(the_plan: RoutePlan) -> list[str]:
    return [entry.model_id for entry in models_to_count(the_plan)]


def claude(name: str = "claude-a", **fields: Any) -> dict[str, Any]:
    model = chat_model(name, **{"context_window": 200_000, **fields})
    if "pricing" in model:
        model["pricing"]["cache_write_usd_per_mtok"] = model["pricing"]["input_usd_per_mtok"]
    return model


def test_a_model_that_only_the_bound_excludes_is_counted() -> None:
    assert counted(planned(claude(), max_cost_usd=BY_COUNT_ONLY)) == ["claude-a"]


def test_nothing_is_counted_where_no_count_can_help() -> None:
    assert counted(planned(claude())) == []
    assert counted(planned(claude(), max_cost_usd=Decimal("0.001"))) == []
    assert counted(planned(claude(context_window=2_000))) == []
    assert counted(planned(claude(price=None), max_cost_usd=BY_COUNT_ONLY)) == []
    assert counted(planned(claude(), max_cost_usd=BY_COUNT_ONLY, needs_vision=True)) == []
    assert counted(planned(claude(), max_cost_usd=BY_COUNT_ONLY, named=(ModelRef("other"),))) == []


def test_a_model_behind_an_open_breaker_or_in_cool_down_is_not_counted() -> None:
    for availability in Availability:
        view = BreakerView(BreakerState.OPEN, availability)
        context = RoutingContext(breakers={"p": view})
        assert counted(planned(claude(), max_cost_usd=BY_COUNT_ONLY, context=context)) == []
    cooling = RoutingContext(cooldowns_s={("p", "claude-a"): 5.0})
    assert counted(planned(claude(), max_cost_usd=BY_COUNT_ONLY, context=cooling)) == []


def test_the_margin_is_for_the_cost_and_not_for_the_window() -> None:
    exact = {("p", "claude-a"): 9_900}
    fits = planned(claude(context_window=10_000), exact_prompt_tokens=exact)
    assert [candidate.entry.model_id for candidate in fits.candidates] == ["claude-a"]
    (candidate,) = planned(claude(), exact_prompt_tokens=exact, max_cost_usd=BY_COUNT_ONLY).candidates
    assert candidate.quote.bound_usd == Decimal(9_900 + 198 + 32 + 200) / 1_000_000


models = st.builds(
    lambda i, price, window, cap: claude(f"claude-{i}", price=price, context_window=window, max_output_tokens=cap),
    st.integers(0, 3),
    st.none() | st.tuples(st.integers(0, 50), st.integers(0, 50)),
    st.sampled_from([4_096, 12_000, 200_000]),
    st.none() | st.integers(1, 64_000),
)
wishes = st.fixed_dictionaries(
    {
        "output_tokens": st.none() | st.integers(1, 5_000),
        "n_choices": st.integers(1, 3),
        "max_cost_usd": st.none() | st.decimals(0, 1, places=6),
        "task": st.none() | st.just(Task.CHAT_SMALL),
    }
)


@given(st.lists(models, min_size=1, max_size=4), wishes, st.lists(st.integers(1, 300_000), min_size=2, max_size=2))
def test_a_plan_with_counts_never_exceeds_the_limit(
    configured: list[dict[str, Any]], wanted: dict[str, Any], numbers: list[int]
) -> None:
    before = planned(*configured, **wanted)
    asked = models_to_count(before)
    assert len({entry.key for entry in asked}) == len(asked) <= 2
    exact = {entry.key: number for entry, number in zip(asked, numbers, strict=False)}
    after = plan(replace(before.request, exact_prompt_tokens=exact), before.catalog, before.context)
    limit_usd = after.limit_usd
    for candidate in after.candidates if limit_usd is not None else ():
        assert limit_usd is not None
        assert candidate.quote.bound_usd is not None
        assert candidate.quote.bound_usd <= limit_usd
        if candidate.entry.key in exact:
            assert candidate.quote.prompt_tokens >= exact[candidate.entry.key]
            assert exact[candidate.entry.key] <= candidate.entry.window

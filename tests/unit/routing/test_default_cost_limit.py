"""The cost limit that applies where nobody has set one: it must not refuse what costs less."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.access.caller import BudgetLimit
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.routing import Candidate, Catalog, RoutePlan, RouteRequest, RoutingContext, plan
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

ONE_USD = RoutingContext(default_max_cost_usd=Decimal(1))
SMALL = TokenCount(estimate=100, bound=400, minimum=100)


def planned(*models: dict[str, Any], context: RoutingContext = ONE_USD, **wanted: Any) -> RoutePlan:
    settings = make_settings(provider("p", *models))
    request = RouteRequest(**{"task": None, "prompt": SMALL, **wanted})
    return plan(request, Catalog.of(settings, PriceBook()), context)


def names(result: RoutePlan) -> list[str]:
    return [candidate.entry.model_id for candidate in result.candidates]


def test_it_excludes_no_model_without_a_known_price() -> None:
    assert names(planned(chat_model("unknown", price=None), chat_model("known"))) == ["known", "unknown"]


def test_it_excludes_no_feature_whose_cost_cannot_be_bounded() -> None:
    assert names(planned(chat_model("m"), features_with_unbounded_cost=frozenset({"plugins"}))) == ["m"]


@pytest.mark.parametrize(
    "limit",
    [
        {"max_cost_usd": Decimal(5)},
        {"context": replace(ONE_USD, max_cost_usd=Decimal(5))},
        {"context": replace(ONE_USD, budget=BudgetLimit(Decimal(5), "the bridge", {}))},
    ],
    ids=["of the request", "of the configuration or the key", "of a budget"],
)
def test_beside_a_limit_that_somebody_has_set_it_is_as_strict(limit: dict[str, Any]) -> None:
    result = planned(chat_model("unknown", price=None), chat_model("known"), **limit)
    assert names(result) == ["known"]
    assert result.limit_usd == 1


def test_it_goes_by_the_estimate_of_a_prompt_whose_upper_bound_would_be_too_much() -> None:
    model = chat_model("m", price=(1, 1), context_window=4_000_000)
    allowed = planned(model, prompt=TokenCount(estimate=900_000, bound=3_600_000, minimum=800_000))
    assert names(allowed) == ["m"]
    refused = planned(model, prompt=TokenCount(estimate=1_000_000, bound=1_000_000, minimum=800_000))
    assert names(refused) == []
    (row,) = refused.considered_models
    assert row.exclusion is not None
    assert "over the limit of $1" in row.exclusion.reason


def test_the_bound_of_the_quote_stays_an_upper_bound() -> None:
    model = chat_model("m", price=(1, 1), context_window=4_000_000, max_output_tokens=1000)
    result = planned(model, prompt=TokenCount(estimate=900_000, bound=3_600_000, minimum=800_000))
    assert result.candidates[0].quote.bound_usd == Decimal("3.601")


@pytest.mark.parametrize(
    ("output_usd_per_mtok", "cap"),
    [
        (10, None),  # 100,000 tokens: more than the model may be able to give, so that number is not sent
        (1000, 999),  # of 100 prompt tokens at $1 for a million, $0.9999 are left
    ],
)
def test_it_limits_an_answer_of_unknown_length_only_below_what_models_accept(
    output_usd_per_mtok: float, cap: int | None
) -> None:
    (candidate,) = planned(chat_model("m", price=(1, output_usd_per_mtok), context_window=128_000)).candidates
    assert candidate.output_cap == cap
    assert candidate.price_ceiling is None


def test_it_limits_an_answer_whose_length_is_known() -> None:
    model = chat_model("m", price=(0, 100), context_window=64_000, max_output_tokens=20_000)
    (candidate,) = planned(model, output_tokens=15_000).candidates
    assert candidate.output_cap == 10_000


def test_after_a_failure_that_may_be_billed_a_fallback_is_still_tried() -> None:
    result = planned(chat_model("m", price=(1, 10), context_window=1_000_000))
    (entry,) = result.ranked
    (candidate,) = result.candidates
    assert candidate.quote.bound_usd is not None
    assert candidate.quote.bound_usd > 1
    assert isinstance(result.candidate_for(entry, spent_usd=candidate.quote.bound_usd), Candidate)
    assert not isinstance(result.candidate_for(entry, spent_usd=Decimal(1), billed_usd=Decimal(1)), Candidate)


def test_what_earlier_calls_of_the_request_were_billed_is_subtracted() -> None:
    model = chat_model("m", price=(0, 100))
    assert names(planned(model, spent_usd=Decimal(9), billed_usd=Decimal("0.5"))) == ["m"]
    assert names(planned(model, spent_usd=Decimal(9), billed_usd=Decimal("0.999"))) == []


PRICES = st.one_of(st.none(), st.tuples(st.sampled_from([0, 0.1, 3, 60]), st.sampled_from([0, 0.4, 15, 600])))


@given(
    st.lists(
        st.tuples(PRICES, st.sampled_from([8192, 128_000, 1_000_000]), st.sampled_from([None, 4096, 64_000])),
        min_size=1,
    ),
    st.integers(1, 20_000),
    st.one_of(st.none(), st.integers(1, 4096)),
)
def test_a_request_that_is_expected_to_cost_less_is_planned_as_without_a_limit(
    models: list[tuple[tuple[float, float] | None, int, int | None]], tokens: int, output: int | None
) -> None:
    rows = [
        chat_model(f"m{i}", price=price, context_window=window, max_output_tokens=most)
        for i, (price, window, most) in enumerate(models)
    ]
    wanted: dict[str, Any] = {
        "prompt": TokenCount(estimate=tokens, bound=4 * tokens, minimum=tokens // 2),
        "output_tokens": output,
    }
    limited, free = planned(*rows, **wanted), planned(*rows, context=RoutingContext(), **wanted)
    cheap = {
        one.entry.key
        for one in free.candidates
        if one.entry.price is None
        or one.entry.price.bound_usd(prompt_tokens=tokens, completion_tokens=min(one.quote.output_cap, 64_000)) <= 1
    }
    kept = {one.entry.key: one.output_cap for one in limited.candidates}
    assert {one.entry.key: one.output_cap for one in free.candidates if one.entry.key in cheap} == {
        key: cap for key, cap in kept.items() if key in cheap
    }


def test_a_configured_maximum_of_output_tokens_lowers_what_is_asked_for_with_a_note() -> None:
    context = RoutingContext(max_output_tokens=1000)
    result = planned(chat_model("m", context_window=6000), context=context, output_tokens=5000)
    assert result.candidates[0].output_cap == 1000
    assert result.candidates[0].quote.output_cap == 1000
    assert result.notes == ("at most 1000 of the 5000 output tokens that were asked for: the limit of this bridge",)


def test_a_lowered_output_needs_a_smaller_context_window() -> None:
    small = chat_model("small", context_window=4000)
    assert names(planned(small, context=RoutingContext(), output_tokens=5000)) == []
    assert names(planned(small, context=RoutingContext(max_output_tokens=1000), output_tokens=5000)) == ["small"]


def test_a_configured_maximum_of_output_tokens_is_sent_where_the_request_says_none() -> None:
    context = RoutingContext(max_output_tokens=1000)
    result = planned(chat_model("m"), chat_model("short", max_output_tokens=100), context=context)
    assert {one.entry.model_id: one.output_cap for one in result.candidates} == {"m": 1000, "short": 100}
    assert result.notes == ()


@pytest.mark.parametrize("asked", [10, 1000])
def test_a_request_within_the_configured_maximum_is_not_changed(asked: int) -> None:
    result = planned(chat_model("m"), context=RoutingContext(max_output_tokens=1000), output_tokens=asked)
    assert (result.candidates[0].output_cap, result.notes) == (None, ())


def test_embeddings_have_no_output_to_limit() -> None:
    settings = make_settings(provider("p", embedding_model("e")))
    request = RouteRequest(task=settings.providers[0].models[0].configured_tasks[0], prompt=SMALL)
    context = RoutingContext(max_output_tokens=1, default_max_cost_usd=Decimal(1))
    (candidate,) = plan(request, Catalog.of(settings, PriceBook()), context).candidates
    assert (candidate.output_cap, candidate.quote.output_cap) == (None, 0)

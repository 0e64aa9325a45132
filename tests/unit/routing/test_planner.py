"""The planner: who may answer, in which order, and the reason for everyone else."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig, Task
from sekha_llm_bridge.pricing import Price, PriceBook, TokenCount
from sekha_llm_bridge.pricing.price import Rates, Tier
from sekha_llm_bridge.providers import RequestedFeature, RequestFeature
from sekha_llm_bridge.resilience import Availability, BreakerState, BreakerView
from sekha_llm_bridge.routing import (
    Catalog,
    ImageNeeds,
    ModelRef,
    RoutePlan,
    RouteRequest,
    RoutingContext,
    models_to_count,
    plan,
)
from sekha_llm_bridge.routing.plan import ExclusionKind
from tests.fakes.openai_format import count
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

PROMPT = TokenCount(estimate=100, bound=400, minimum=100)


def planned(
    *providers: dict[str, Any],
    defaults: dict[str, str] | None = None,
    limits: RoutingContext | None = None,
    **wanted: Any,
) -> RoutePlan:
    settings = make_settings(*providers, default_models=defaults or {})
    request = RouteRequest(**{"task": None, "prompt": PROMPT, **wanted})
    return plan(request, Catalog.of(settings, PriceBook()), limits or RoutingContext())


def order(the_plan: RoutePlan) -> list[str]:
    return [f"{c.entry.provider.id}/{c.entry.model.model_id}" for c in the_plan.candidates]


def why_not(the_plan: RoutePlan, model_id: str) -> str:
    return next(
        row.exclusion.reason
        for row in the_plan.considered_models
        if row.entry.model.model_id == model_id and row.exclusion
    )


def test_lower_priority_number_is_tried_first_whatever_it_costs() -> None:
    result = planned(
        provider("cheap", chat_model("a", price=(0, 0)), priority=2),
        provider("dear", chat_model("b", price=(9, 9)), priority=1),
    )
    assert order(result) == ["dear/b", "cheap/a"]


def test_among_equal_priorities_the_cheaper_is_tried_first() -> None:
    result = planned(provider("p", chat_model("dear", price=(9, 9)), chat_model("cheap", price=(1, 1))))
    assert order(result) == ["p/cheap", "p/dear"]


def test_without_cost_awareness_the_default_model_then_the_files_order_decides() -> None:
    models = [chat_model("one", price=(9, 9)), chat_model("two", price=(1, 1)), chat_model("three", price=(5, 5))]
    result = planned(provider("p", *models), defaults={"chat_fast": "three"}, limits=RoutingContext(cost_aware=False))
    assert order(result) == ["p/three", "p/one", "p/two"]


def test_an_unknown_price_ranks_behind_every_known_one() -> None:
    result = planned(provider("p", chat_model("unknown", price=None), chat_model("known", price=(99, 99))))
    assert order(result) == ["p/known", "p/unknown"]


def test_the_preferred_model_is_first_and_the_others_follow() -> None:
    result = planned(
        provider("p", chat_model("a"), priority=1),
        provider("q", chat_model("b"), priority=2),
        preferred=(ModelRef("b"),),
    )
    assert order(result) == ["q/b", "p/a"]
    assert result.reason == "The preferred model"


def test_preferred_model_never_overrides_the_task() -> None:
    result = planned(
        provider("p", chat_model("a"), embedding_model("e")), preferred=(ModelRef("e"),), task=Task.CHAT_SMALL
    )
    assert order(result) == ["p/a"]
    assert result.notes == ("preferred_model e was not used: not for chat_small, but for embedding",)


def test_an_unknown_preferred_model_is_skipped_with_a_note() -> None:
    result = planned(provider("p", chat_model("a")), preferred=(ModelRef("ghost"),))
    assert order(result) == ["p/a"]
    assert result.notes == ("preferred_model ghost is not configured and was ignored",)


def test_a_pinned_model_is_the_only_one_tried_at_every_provider_that_has_it() -> None:
    result = planned(
        provider("p", chat_model("a"), chat_model("b"), priority=1),
        provider("q", chat_model("a"), priority=2),
        named=(ModelRef("a"),),
    )
    assert order(result) == ["p/a", "q/a"]


def test_no_task_means_any_chat_model_and_never_an_embedding_model() -> None:
    result = planned(provider("p", chat_model("a"), chat_model("s", task="chat_smart"), embedding_model("e")))
    assert sorted(order(result)) == ["p/a", "p/s"]


def test_a_chat_model_with_vision_serves_the_task_vision() -> None:
    result = planned(provider("p", chat_model("blind"), chat_model("sees", supports_vision=True)), task=Task.VISION)
    assert order(result) == ["p/sees"]


def test_images_exclude_models_without_vision() -> None:
    result = planned(provider("p", chat_model("blind"), chat_model("sees", supports_vision=True)), needs_vision=True)
    assert order(result) == ["p/sees"]
    assert why_not(result, "blind") == "cannot see images"


def test_image_count_format_and_size_are_compared_with_the_models_capabilities() -> None:
    can = {"max_images": 1, "supported_formats": ["jpg"], "max_image_size_mb": 1}
    one = provider("p", chat_model("m", supports_vision=True, vision_capabilities=can))
    assert order(planned(one, needs_vision=True, images=ImageNeeds(1, frozenset({"jpeg"}), 1000))) == ["p/m"]
    assert why_not(planned(one, images=ImageNeeds(2)), "m") == "takes 1 images, not 2"
    assert why_not(planned(one, images=ImageNeeds(1, frozenset({"png"}))), "m") == "takes no png images"
    assert why_not(planned(one, images=ImageNeeds(1, largest_bytes=2_000_000)), "m") == "takes images of up to 1 MB"


def test_an_image_by_url_does_not_exclude_ollama_because_the_bridge_fetches_it() -> None:
    local = provider("o", chat_model("llava", supports_vision=True), provider_type="ollama")
    assert order(planned(local, needs_vision=True, images=ImageNeeds(1, by_url=True))) == ["o/llava"]


def test_tools_exclude_only_models_known_not_to_call_them() -> None:
    models = [chat_model(str(can), supports_function_calling=can) for can in (None, True, False)]
    result = planned(provider("p", *models), needs_tools=True)
    assert order(result) == ["p/None", "p/True"]


def test_fields_that_ollama_does_not_support_exclude_it_with_the_reason() -> None:
    result = planned(
        provider("o", chat_model("m"), provider_type="ollama"),
        requested_features=frozenset({RequestedFeature(RequestFeature.LOGIT_BIAS)}),
    )
    assert why_not(result, "m") == "ollama has no logit_bias"


def test_prompt_and_answer_must_fit_the_context_window() -> None:
    models = [chat_model("small", context_window=200), chat_model("large", context_window=2000)]
    result = planned(provider("p", *models), output_tokens=150)
    assert order(result) == ["p/large"]
    assert (
        why_not(result, "small")
        == "its context window of 200 tokens is less than the 250 needed, the 150 of output that are asked for included"
    )


def test_a_window_needs_room_only_for_the_output_that_its_model_can_write() -> None:
    """Kimi Code asks for as much output as the whole window has tokens."""
    models = [chat_model("brief", context_window=200, max_output_tokens=50), chat_model("other", context_window=200)]
    result = planned(provider("p", *models), output_tokens=200)
    assert order(result) == ["p/brief"]


def test_an_open_breaker_excludes_its_provider() -> None:
    limits = RoutingContext(breakers={"p": BreakerView(BreakerState.OPEN, retry_after_s=7)})
    result = planned(provider("p", chat_model("a")), provider("q", chat_model("b")), limits=limits)
    assert order(result) == ["q/b"]
    assert len(result.excluded_by(ExclusionKind.BREAKER)) == 1


def test_a_model_that_one_provider_lists_for_two_tasks_is_tried_once() -> None:
    result = planned(provider("p", chat_model("a"), chat_model("a", task="chat_smart")))
    assert order(result) == ["p/a"]


def test_vectors_stay_in_the_space_of_the_default_embedding_model() -> None:
    models = [embedding_model("first"), embedding_model("default"), embedding_model("twin", embedding_space="default")]
    result = planned(provider("p", *models), task=Task.EMBEDDING, defaults={"embedding": "default"})
    assert order(result) == ["p/default", "p/twin"]
    assert why_not(result, "first") == "its vectors are of the space first, not default"


def test_a_provider_that_another_instance_probes_is_excluded_with_the_reason() -> None:
    limits = RoutingContext(breakers={"p": BreakerView(BreakerState.HALF_OPEN, retry_after_s=3, cause="timeout")})
    result = planned(provider("p", chat_model("a")), limits=limits)
    assert result.considered_models[0].breaker is BreakerState.HALF_OPEN
    assert why_not(result, "a") == (
        "its provider's circuit breaker is half-open, and another instance is probing it (timeout)"
    )


def test_a_half_open_provider_with_health_checks_is_ranked_last_regardless_of_its_priority() -> None:
    fleet = [provider(f"p{i}", chat_model(f"m{i}"), priority=i + 1) for i in range(3)]
    limits = RoutingContext(breakers={"p0": BreakerView(BreakerState.OPEN, Availability.LAST_RESORT)})
    result = planned(*fleet, limits=limits)
    assert order(result) == ["p1/m1", "p2/m2", "p0/m0"]
    assert result.considered_models[-1].breaker is BreakerState.OPEN
    (note,) = result.notes
    assert note == "p0 comes last: its circuit breaker is open, and the scheduled checks probe it"
    assert result.blocked_providers == frozenset()


LAST_RESORT = {"p0": BreakerView(BreakerState.OPEN, Availability.LAST_RESORT)}


@pytest.mark.parametrize(("breakers", "counted"), [({}, ["p0/claude"]), (LAST_RESORT, [])], ids=["closed", "open"])
def test_a_provider_that_is_ranked_last_is_not_asked_to_count(
    breakers: dict[str, BreakerView], counted: list[str]
) -> None:
    fleet = [
        provider("p0", chat_model("claude"), provider_type="anthropic", api_key="k", priority=1),
        provider("p1", chat_model("free", price=(0, 0)), priority=2),
    ]
    limits = RoutingContext(breakers=breakers)
    prompt = TokenCount(estimate=1_000, bound=50_000, minimum=1_000)
    result = planned(*fleet, limits=limits, prompt=prompt, max_cost_usd=Decimal("0.02"), output_tokens=100)
    assert ["/".join(entry.key) for entry in models_to_count(result)] == counted
    assert order(result) == ["p1/free"]


def test_a_provider_without_health_checks_is_probed_at_its_usual_rank() -> None:
    fleet = [provider(f"p{i}", chat_model(f"m{i}"), priority=i + 1) for i in range(2)]
    limits = RoutingContext(breakers={"p0": BreakerView(BreakerState.OPEN, Availability.PROBE_DUE)})
    assert order(planned(*fleet, limits=limits)) == ["p0/m0", "p1/m1"]


def test_only_models_excluded_by_a_breaker_alone_count_as_rejected_by_breakers() -> None:
    blind = provider("blind", chat_model("a"))
    sees = provider("sees", chat_model("b", supports_vision=True))
    limits = RoutingContext(
        breakers={name: BreakerView(BreakerState.OPEN, retry_after_s=7) for name in ("blind", "sees")}
    )
    assert planned(blind, sees, needs_vision=True, limits=limits).blocked_providers == {"sees"}


def test_an_open_breaker_does_not_move_embeddings_into_another_space() -> None:
    result = planned(
        provider("p", embedding_model("a"), priority=1),
        provider("q", embedding_model("b"), priority=2),
        task=Task.EMBEDDING,
        limits=RoutingContext(breakers={"p": BreakerView(BreakerState.OPEN, retry_after_s=7)}),
    )
    assert order(result) == []


def test_a_cost_limit_excludes_a_model_with_unknown_price() -> None:
    result = planned(provider("p", chat_model("m", price=None)), max_cost_usd=Decimal(1))
    assert why_not(result, "m").startswith("its price is unknown")


def test_the_lower_of_the_two_limits_applies() -> None:
    for asked, configured in (
        (Decimal(5), Decimal(3)),
        (Decimal(3), Decimal(5)),
        (Decimal(3), None),
        (None, Decimal(3)),
    ):
        result = planned(
            provider("p", chat_model("m")), max_cost_usd=asked, limits=RoutingContext(max_cost_usd=configured)
        )
        assert result.limit_usd == Decimal(3)


def test_under_a_limit_the_output_is_capped_so_that_the_bound_fits() -> None:
    # 400 prompt tokens at $1 and 300 output tokens at $2 per million: 0.0004 + 0.0006 = 0.001.
    result = planned(provider("p", chat_model("m", price=(1, 2))), max_cost_usd=Decimal("0.001"))
    assert result.candidates[0].output_cap == 300
    assert result.candidates[0].quote.bound_usd == Decimal("0.001")


def test_under_a_limit_the_output_limit_is_sent_even_if_the_model_or_its_window_would_limit_it() -> None:
    one = provider("p", chat_model("m", price=(1, 2), max_output_tokens=100))
    (candidate,) = planned(one, max_cost_usd=Decimal(1)).candidates
    assert (candidate.output_cap, candidate.quote.output_cap) == (100, 100)


@pytest.mark.parametrize(
    ("window", "most", "estimate", "cap"),
    [
        (128_000, None, 100, 4096),  # any current model takes as much
        (128_000, 16_384, 100, 16_384),
        (8192, None, 100, 4046),  # half of what is likely left
        (8192, 4096, 5000, 1596),
        (8192, None, 8000, 96),
    ],
)
def test_the_cap_is_a_number_that_a_provider_accepts(window: int, most: int | None, estimate: int, cap: int) -> None:
    one = provider("p", chat_model("m", price=(0, 0.001), context_window=window, max_output_tokens=most))
    prompt = TokenCount(estimate=estimate, bound=4 * window, minimum=estimate // 2)
    (candidate,) = planned(one, prompt=prompt, max_cost_usd=Decimal(1)).candidates
    assert candidate.output_cap == cap


def test_without_a_limit_the_output_is_capped_only_if_configured() -> None:
    one = provider("p", chat_model("free"), chat_model("short", max_output_tokens=100))
    assert {c.entry.model.model_id: c.output_cap for c in planned(one).candidates} == {"free": None, "short": 100}


def test_a_text_that_is_too_long_for_the_default_model_is_not_embedded_in_another_space() -> None:
    models = [embedding_model("small", context_window=10), embedding_model("big", context_window=9999)]
    defaults = {"embedding": "small"}
    wanted: dict[str, Any] = {"task": Task.EMBEDDING, "defaults": defaults}
    assert order(planned(provider("p", *models), context_tokens=5, **wanted)) == ["p/small"]
    assert order(planned(provider("p", *models), context_tokens=50, **wanted)) == []
    assert order(planned(provider("p", *models), context_tokens=50, preferred=(ModelRef("big"),), **wanted)) == [
        "p/big"
    ]


def test_a_preferred_embedding_model_that_cannot_take_the_text_is_skipped() -> None:
    models = [embedding_model("big", context_window=9999), embedding_model("small", context_window=10)]
    result = planned(provider("p", *models), context_tokens=50, preferred=(ModelRef("small"),), task=Task.EMBEDDING)
    assert order(result) == ["p/big"]
    assert "was not used" in result.notes[0]


def test_a_requested_output_limit_above_the_models_is_lowered() -> None:
    one = provider("p", chat_model("m", max_output_tokens=100))
    assert planned(one, output_tokens=5000).candidates[0].output_cap == 100


def test_a_request_without_a_bound_excludes_paid_models_under_a_limit() -> None:
    paid, free = (
        provider("p", chat_model("paid")),
        provider("o", chat_model("free", price=None), provider_type="ollama"),
    )
    result = planned(paid, free, features_with_unbounded_cost=frozenset({"prediction"}), max_cost_usd=Decimal(1))
    assert order(result) == ["o/free"]
    assert why_not(result, "paid") == "the cost of prediction cannot be bounded beforehand"
    assert order(planned(paid, features_with_unbounded_cost=frozenset({"prediction"}))) == ["p/paid"]


def test_images_are_billed_as_the_model_bills_them() -> None:
    seeing = TokenCount(estimate=0, bound=0, minimum=0, images=1)
    models = [chat_model(name, price=(1, 0), supports_vision=True) for name in ("gpt-4o", "gpt-4o-mini")]
    bounds = {
        row.entry.model.model_id: row.quote.bound_usd
        for row in planned(provider("p", *models), prompt=seeing).considered_models
    }
    # eight tiles of 170 and 85 more; the smaller model is billed 33 times as many tokens for the same picture
    assert bounds == {"gpt-4o": Decimal("0.001445"), "gpt-4o-mini": Decimal("0.048169")}


def test_more_dimensions_than_a_model_has_exclude_it() -> None:
    result = planned(provider("p", embedding_model("e")), task=Task.EMBEDDING, dimensions=9)
    assert why_not(result, "e") == "its vectors have 8 dimensions, fewer than 9"


def test_a_request_that_fits_anyway_keeps_its_own_limit() -> None:
    result = planned(provider("p", chat_model("m", price=(1, 2))), output_tokens=10, max_cost_usd=Decimal(1))
    assert result.candidates[0].output_cap is None


def test_a_model_whose_shortest_useful_answer_exceeds_the_limit_is_excluded() -> None:
    result = planned(provider("p", chat_model("m", price=(1, 2))), max_cost_usd=Decimal("0.0005"))
    assert why_not(result, "m") == "a useful answer may cost $0.000528, over the limit of $0.0005"


def test_a_requested_short_answer_counts_as_useful() -> None:
    result = planned(provider("p", chat_model("m", price=(1, 2))), output_tokens=10, max_cost_usd=Decimal("0.0005"))
    assert order(result) == ["p/m"]


def test_several_answers_share_the_limit() -> None:
    result = planned(provider("p", chat_model("m", price=(1, 2))), n_choices=3, max_cost_usd=Decimal("0.001"))
    assert result.candidates[0].output_cap == 100


def test_a_free_local_model_says_so() -> None:
    result = planned(provider("o", chat_model("m", price=None), provider_type="ollama"))
    assert result.reason == "Local model available, free"


class Listed(PriceBook):
    """The same price for every model, of a kind that the configuration cannot say."""

    def __init__(self, price: Price) -> None:
        self.the_price = price

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        return self.the_price


def listed(price: Price, **wanted: Any) -> RoutePlan:
    settings = make_settings(provider("p", chat_model("m", context_window=10**9)))
    return plan(
        RouteRequest(**{"task": None, "prompt": PROMPT, **wanted}),
        Catalog.of(settings, Listed(price)),
        RoutingContext(),
    )


ONE, FOUR = (Rates(*[Decimal(amount)] * 4) for amount in (1, 4))


def test_a_limit_uses_the_highest_tier_that_the_prompts_bound_reaches() -> None:
    tiered = Price(ONE, "listed", (Tier(399, FOUR),))
    # 400 tokens of the prompt at most and 64 of the answer: at $4 that is $0.001856, at $1 a quarter.
    assert order(listed(tiered, max_cost_usd=Decimal("0.001856"))) == ["p/m"]
    assert order(listed(tiered, max_cost_usd=Decimal("0.001855"))) == []
    assert order(listed(Price(ONE, "listed", (Tier(400, FOUR),)), max_cost_usd=Decimal("0.000464"))) == ["p/m"]


def test_a_fee_for_each_request_counts() -> None:
    fee = Price(ONE, "listed", (), Decimal("0.005"))
    assert order(listed(fee, max_cost_usd=Decimal("0.005464"))) == ["p/m"]
    assert order(listed(fee, max_cost_usd=Decimal("0.005463"))) == []


def test_a_price_below_the_smallest_number_is_not_free() -> None:
    tiny = Price(Rates(*[Decimal("0.0000004")] * 4), "listed")
    long = TokenCount(estimate=1, bound=10**9, minimum=1)
    assert order(listed(tiny, prompt=long, max_cost_usd=Decimal("0.0003"))) == []


def test_all_requested_answers_together_must_fit_the_limit() -> None:
    # $0.0004 for the prompt, and 3 × 64 × $2 per million for the answers: $0.000784
    one = provider("p", chat_model("m", price=(1, 2)))
    assert order(planned(one, n_choices=3, max_cost_usd=Decimal("0.000784"))) == ["p/m"]
    assert order(planned(one, n_choices=3, max_cost_usd=Decimal("0.000783"))) == []


def at_openai(*models: dict[str, Any]) -> dict[str, Any]:
    return provider("openai", *models, base_url="https://api.openai.com/v1", api_key="k")


def test_a_prompt_is_counted_exactly_when_a_limit_depends_on_it() -> None:
    prompt = count({"messages": [{"role": "user", "content": "Once upon a time there was a king. " * 1000}]})
    known, unknown = (at_openai(chat_model(name, price=(2, 0), context_window=10**5)) for name in ("gpt-4o", "other"))
    limit = Decimal("0.03")  # 9,000 tokens, but 35,000 bytes
    assert order(planned(known, prompt=prompt, max_cost_usd=limit)) == ["openai/gpt-4o"]
    assert order(planned(unknown, prompt=prompt, max_cost_usd=limit)) == []


def test_images_are_added_to_an_exactly_counted_prompt() -> None:
    text = [{"role": "user", "content": [{"type": "text", "text": "Once upon a time there was a king. " * 1000}]}]
    text[0]["content"] += [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}] * 5  # type: ignore[operator]  # a list it is
    one = at_openai(chat_model("gpt-4o", price=(2, 0), context_window=10**5, supports_vision=True))
    (row,) = planned(one, prompt=count({"messages": text}), max_cost_usd=Decimal("0.05")).considered_models
    # Five images of at most 1,445 tokens; the text has more than 8,000.
    assert row.quote.bound_usd is not None
    assert row.quote.bound_usd > Decimal(2) * (5 * 1445 + 8000) / 1_000_000


def test_models_are_ranked_by_the_estimated_cost_of_all_answers() -> None:
    talker, listener = chat_model("talker", price=(1, 2)), chat_model("listener", price=(12, 1))
    assert order(planned(provider("p", listener, talker), output_tokens=500)) == ["p/talker", "p/listener"]
    assert order(planned(provider("p", talker, listener), output_tokens=500, n_choices=3)) == ["p/listener", "p/talker"]


def test_the_default_models_space_is_used_even_if_another_model_ranks_first() -> None:
    first, default = (
        provider(f"p{i}", embedding_model(name), priority=i) for i, name in ((1, "first"), (2, "default"))
    )
    wanted: dict[str, Any] = {"task": Task.EMBEDDING, "defaults": {"embedding": "default"}}
    assert order(planned(first, default, **wanted)) == ["p2/default"]
    assert order(planned(first, default, named=(ModelRef("first"),), **wanted)) == ["p1/first"]


models = st.builds(
    lambda i, price, window, sees, tools: chat_model(
        f"m{i}", price=price, context_window=window, supports_vision=sees, supports_function_calling=tools
    ),
    st.integers(0, 5),
    st.none() | st.tuples(st.integers(0, 50), st.integers(0, 50)),
    st.sampled_from([64, 4096, 128_000]),
    st.booleans(),
    st.sampled_from([None, True, False]),
)
fleets = st.lists(
    st.tuples(
        st.sampled_from(["openai", "ollama", "bedrock"]), st.integers(1, 3), st.lists(models, min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=5,
).map(
    lambda rows: [provider(f"p{i}", *ms, provider_type=kind, priority=rank) for i, (kind, rank, ms) in enumerate(rows)]
)
requests = st.fixed_dictionaries(
    {
        "needs_vision": st.booleans(),
        "needs_tools": st.booleans(),
        "preferred": st.sampled_from([(), *((ModelRef(name),) for name in ("m0", "m1", "ghost"))]),
        "output_tokens": st.none() | st.integers(1, 5000),
        "n_choices": st.integers(1, 3),
        "max_cost_usd": st.none() | st.decimals(0, 1, places=6),
    }
)


@given(fleets, requests)
def test_the_same_request_gets_the_same_plan(fleet: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    first, second = planned(*fleet, **wanted), planned(*fleet, **wanted)
    assert first.candidates == second.candidates
    assert (first.considered_models, first.notes, first.limit_usd) == (
        second.considered_models,
        second.notes,
        second.limit_usd,
    )


@given(fleets, requests)
def test_every_configured_model_is_listed_once_as_candidate_or_with_a_reason(
    fleet: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    result = planned(*fleet, **wanted)
    assert len(result.considered_models) == sum(len(p["models"]) for p in fleet)
    kept = [row.entry for row in result.considered_models if row.exclusion is None]
    assert kept == [candidate.entry for candidate in result.candidates]
    assert len({(entry.provider.id, entry.model.model_id) for entry in kept}) == len(kept)


@given(fleets, requests)
def test_no_incapable_model_is_ever_a_candidate(fleet: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    for candidate in planned(*fleet, **wanted).candidates:
        model = candidate.entry.model
        assert model.has_vision or not wanted["needs_vision"]
        assert not (wanted["needs_tools"] and model.supports_function_calling is False)
        assert PROMPT.estimate + (wanted["output_tokens"] or 1) <= model.context_window


@given(fleets, requests)
def test_the_bound_of_every_candidate_fits_the_limit(fleet: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    limit = wanted["max_cost_usd"]
    for candidate in planned(*fleet, **wanted).candidates if limit is not None else ():
        assert candidate.quote.bound_usd is not None
        assert candidate.quote.bound_usd <= limit


@given(fleets, requests)
def test_removing_a_provider_keeps_the_order_of_the_others(fleet: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    before = order(planned(*fleet, **wanted))
    for gone in fleet if len(fleet) > 1 else ():
        left = [config for config in fleet if config is not gone]
        assert order(planned(*left, **wanted)) == [name for name in before if not name.startswith(f"{gone['id']}/")]

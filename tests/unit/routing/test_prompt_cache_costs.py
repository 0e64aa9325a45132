"""What a request costs whose prompt is marked for a provider's cache: the estimate, the bound, and the limit."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.access.caller import BudgetLimit
from sekha_llm_bridge.conversation import CacheLifetime, CacheMarks
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.pricing.tokens import PromptPrefix
from sekha_llm_bridge.routing import Catalog, RoutePlan, RouteRequest, RoutingContext, plan
from tests.fakes.settings import chat_model, make_settings, provider

NONE, MINUTES, HOUR, OTHER = CacheLifetime
CLAUDE = chat_model("claude-sonnet-4-5", price=(3, 15), max_output_tokens=1000, context_window=200_000)
OTHERS = chat_model("m", price=(3, 15), max_output_tokens=1000, context_window=200_000)
WITH_HOUR = {**OTHERS, "pricing": {**OTHERS["pricing"], "hour_cache_write_usd_per_mtok": 4}}
NO_LIMIT = RoutingContext()


def prompt(lifetime: CacheLifetime = NONE, *, tokens: int = 10_000, marked: int = 0, prefix: int = 0) -> TokenCount:
    """A prompt whose tokens are known to the token."""
    marks = CacheMarks(lifetime)
    return TokenCount(tokens, tokens, tokens, cache_marks=marks, marked=marked, prefix=PromptPrefix(lambda: prefix))


def planned(
    count: TokenCount,
    *models: dict[str, Any],
    kind: str = "anthropic",
    context: RoutingContext = NO_LIMIT,
    routing: dict[str, Any] | None = None,
    **fields: Any,
) -> RoutePlan:
    configured = provider("p", *models, provider_type=kind, base_url="http://localhost/v1", **fields)
    settings = make_settings(configured, routing=routing or {})
    return plan(RouteRequest(None, count, output_tokens=1000), Catalog.of(settings, PriceBook()), context)


@pytest.mark.parametrize(
    ("lifetime", "input_usd_per_mtok"), [(NONE, "3.75"), (MINUTES, "3.75"), (HOUR, "6")], ids=["none", "5 min", "1 h"]
)
def test_the_bound_assumes_that_the_whole_prompt_is_written_for_as_long_as_it_is_marked(
    lifetime: CacheLifetime, input_usd_per_mtok: str
) -> None:
    (candidate,) = planned(prompt(lifetime, marked=100), CLAUDE).candidates
    assert candidate.quote.bound_usd == (10_000 * Decimal(input_usd_per_mtok) + 1000 * 15) / 1_000_000


@pytest.mark.parametrize(
    ("lifetime", "write_usd_per_mtok"), [(MINUTES, "3.75"), (HOUR, "6")], ids=["5 minutes", "an hour"]
)
def test_the_estimate_has_the_marked_tokens_as_written_and_the_others_as_input(
    lifetime: CacheLifetime, write_usd_per_mtok: str
) -> None:
    (candidate,) = planned(prompt(lifetime, marked=8_000), CLAUDE).candidates
    expected = 2_000 * Decimal(3) + 8_000 * Decimal(write_usd_per_mtok) + 500 * 15
    assert candidate.quote.estimate_usd == expected / 1_000_000


@pytest.mark.parametrize("kind", ["ollama", "gemini", "azure_openai"])
def test_a_provider_that_is_sent_no_marks_costs_the_same_with_them(kind: str) -> None:
    plain, marked = (planned(prompt(one, marked=9_000), CLAUDE, kind=kind) for one in (NONE, HOUR))
    assert marked.candidates[0].quote == plain.candidates[0].quote


def test_a_cheaper_model_that_has_to_write_may_come_after_one_that_has_not() -> None:
    dear = chat_model("dear", price=(3.3, 15), max_output_tokens=1000, context_window=200_000)
    settings = make_settings(
        provider("anthropic", CLAUDE, provider_type="anthropic", priority=1),
        provider("gemini", dear, provider_type="gemini", priority=1),
    )
    firsts = []
    for lifetime in (NONE, MINUTES):
        request = RouteRequest(None, prompt(lifetime, marked=10_000))
        firsts.append(plan(request, Catalog.of(settings, PriceBook()), NO_LIMIT).ranked[0].provider.id)
    assert firsts == ["anthropic", "gemini"]


@pytest.mark.parametrize("limit", ["of the request", "of a budget"])
def test_a_limit_holds_with_a_prompt_that_is_kept_for_an_hour(limit: str) -> None:
    """10,000 tokens at $6 for a million are $0.06; the least useful answer, 64 tokens at $15, is $0.00096."""
    for usd, is_enough in (("0.06096", True), ("0.06095", False)):
        budget = BudgetLimit(Decimal(usd), "the bridge", {})
        context = RoutingContext(budget=budget) if limit == "of a budget" else RoutingContext(max_cost_usd=Decimal(usd))
        result = planned(prompt(HOUR, marked=10_000), CLAUDE, context=context)
        assert [one.quote.bound_usd for one in result.candidates] == ([Decimal("0.06096")] if is_enough else [])


@pytest.mark.parametrize(
    ("model", "lifetime", "is_priced"),
    [
        (CLAUDE, HOUR, True),
        (WITH_HOUR, HOUR, True),
        (OTHERS, MINUTES, True),
        (OTHERS, HOUR, False),
        (WITH_HOUR, OTHER, False),
        (CLAUDE, OTHER, False),
        ({**OTHERS, "pricing": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}}, OTHER, True),
    ],
    ids=["Claude", "configured", "5 minutes", "unknown", "unknown time", "Claude for an unknown time", "free"],
)
def test_under_a_limit_only_a_lifetime_without_a_known_price_excludes_a_model(
    model: dict[str, Any], lifetime: CacheLifetime, *, is_priced: bool
) -> None:
    result = planned(prompt(lifetime, marked=9_000), model, context=RoutingContext(max_cost_usd=Decimal(1)))
    assert bool(result.candidates) is is_priced
    (row,) = result.considered_models
    assert is_priced or "hour_cache_write_usd_per_mtok" in (row.exclusion.reason if row.exclusion else "")
    assert planned(prompt(lifetime, marked=9_000), model).candidates


def test_a_default_limit_excludes_no_model_for_a_lifetime() -> None:
    context = RoutingContext(default_max_cost_usd=Decimal(1))
    assert planned(prompt(OTHER, marked=9_000), OTHERS, context=context).candidates


@given(st.sampled_from([NONE, MINUTES, HOUR]), st.integers(1, 20_000), st.integers(0, 20_000), st.booleans())
def test_the_estimate_never_exceeds_the_bound(
    lifetime: CacheLifetime,
    tokens: int,
    marked: int,
    is_auto: bool,  # noqa: FBT001 — drawn
) -> None:
    count = prompt(lifetime, tokens=tokens, marked=min(marked, tokens), prefix=min(marked, tokens))
    fields: dict[str, Any] = {"prompt_cache": "auto"} if is_auto else {}
    (candidate,) = planned(count, CLAUDE, **fields).candidates
    quote = candidate.quote
    assert quote.estimate_usd is not None
    assert quote.bound_usd is not None
    assert quote.estimate_usd <= quote.bound_usd


@pytest.mark.parametrize(
    ("routing", "own", "is_marked"),
    [
        ({}, {}, False),
        ({"prompt_cache": "auto"}, {}, True),
        ({"prompt_cache": "auto"}, {"prompt_cache": "off"}, False),
        ({"prompt_cache": "off"}, {"prompt_cache": "auto"}, True),
        ({}, {"prompt_cache": "auto"}, True),
    ],
)
def test_a_prefix_is_marked_where_the_provider_says_so_or_else_the_routing(
    routing: dict[str, Any], own: dict[str, Any], *, is_marked: bool
) -> None:
    result = planned(prompt(prefix=5_000), CLAUDE, routing=routing, **own)
    assert [one.marks_prefix for one in result.candidates] == [is_marked]


@pytest.mark.parametrize(("prefix", "is_marked"), [(1023, False), (1024, True)])
def test_a_prefix_is_marked_only_if_it_is_long_enough_to_be_cached(prefix: int, *, is_marked: bool) -> None:
    (candidate,) = planned(prompt(prefix=prefix), CLAUDE, prompt_cache="auto").candidates
    assert candidate.marks_prefix is is_marked
    written = prefix if is_marked else 0
    expected = (10_000 - written) * Decimal(3) + written * Decimal("3.75") + 500 * 15
    assert candidate.quote.estimate_usd == expected / 1_000_000


def test_a_request_with_a_mark_of_its_own_gets_no_other() -> None:
    (candidate,) = planned(prompt(MINUTES, marked=10, prefix=5_000), CLAUDE, prompt_cache="auto").candidates
    assert not candidate.marks_prefix


@pytest.mark.parametrize("kind", ["ollama", "gemini", "azure_openai"])
def test_a_provider_that_caches_by_itself_is_sent_no_mark(kind: str) -> None:
    (candidate,) = planned(prompt(prefix=5_000), CLAUDE, kind=kind, prompt_cache="auto").candidates
    assert not candidate.marks_prefix

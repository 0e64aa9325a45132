"""Prices in exact decimals, and token counts that bound."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig
from sekha_llm_bridge.pricing import Price, PriceBook, count_texts
from sekha_llm_bridge.pricing.price import FREE, Rates, Tier
from sekha_llm_bridge.usage import Usage
from tests.fakes.openai_format import count
from tests.fakes.settings import chat_model, embedding_model, provider

PRICE = Price(Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal(6)), "list")
DEARER = Price(PRICE.rates, "list", (Tier(1000, Rates(Decimal(6), Decimal(30), Decimal("0.6"), Decimal(12))),))


def priced(kind: str, **fields: object) -> Price | None:
    config = ProviderConfig.model_validate(provider("p", chat_model("m", price=None, **fields), provider_type=kind))
    return PriceBook().price(config, config.models[0])


@pytest.mark.parametrize(("model_id", "written"), [("m", 1), ("us.anthropic.claude-x", Decimal("1.25"))])
def test_a_configured_price_without_a_rate_for_cache_writes_has_that_of_the_vendor(
    model_id: str, written: Decimal
) -> None:
    config = ProviderConfig.model_validate(provider("p", chat_model(model_id)))
    price = PriceBook().price(config, config.models[0])
    assert price is not None
    assert price.rates.cache_write_usd_per_mtok == written


def test_tokens_that_are_cached_for_an_hour_cost_twice_the_input_rate() -> None:
    usage = Usage(1000, 0, cache_write_tokens=1000, hour_cache_write_tokens=400)
    rates = Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))
    assert Price(rates, "x").cost_usd(usage) == (600 * Decimal("3.75") + 400 * 6) / 1_000_000


def test_cost_is_exact_to_the_last_decimal() -> None:
    # (1000 - 400 - 100) × 3 + 400 × 0.3 + 100 × 6 + 10 × 15 = 2370 per million
    assert PRICE.cost_usd(Usage(1000, 10, cached_tokens=400, cache_write_tokens=100)) == Decimal("0.00237")


def test_more_cached_than_prompt_tokens_never_makes_a_negative_bill() -> None:
    assert PRICE.cost_usd(Usage(10, cached_tokens=99, cache_write_tokens=99)) == Decimal("0.000003")


def test_a_longer_prompt_is_billed_at_its_tier_from_the_first_token() -> None:
    assert DEARER.cost_usd(Usage(1000, 1)) == Decimal("0.003015")
    assert DEARER.cost_usd(Usage(1001, 1)) == Decimal("0.006036")


def test_of_several_requests_to_a_model_the_longest_prompt_chooses_the_tier() -> None:
    assert DEARER.cost_usd(Usage(1600, 1, largest_prompt_tokens=1000)) == Decimal("0.004815")
    assert DEARER.cost_usd(Usage(1600, 1, largest_prompt_tokens=1001)) == Decimal("0.00963")


def test_a_search_costs_a_cent_with_a_paid_model() -> None:
    assert PRICE.cost_usd(Usage(10, web_searches=3)) == Decimal("0.03003")
    assert FREE.cost_usd(Usage(10, web_searches=3)) == 0


def test_a_fee_per_request_is_billed() -> None:
    price = Price(PRICE.rates, "list", request_usd=Decimal("0.012"))
    assert price.cost_usd(Usage(1)) == Decimal("0.012003")
    assert price.bound_usd(prompt_tokens=1, completion_tokens=0) == Decimal("0.012006")
    assert not Price(Rates(*[Decimal(0)] * 4), "list", request_usd=Decimal(1)).is_free


def test_an_ollama_model_without_pricing_is_free_and_any_other_unlisted_model_has_no_price() -> None:
    local = priced("ollama")
    assert local is not None
    assert local.is_free
    assert priced("openai") is None
    assert priced("litellm") is None


@pytest.mark.parametrize(("kind", "is_free"), [("openrouter", True), ("litellm", False)])
def test_a_model_that_openrouter_lists_with_price_zero_is_free(kind: str, is_free: bool) -> None:  # noqa: FBT001 — a column of the table
    fields = provider("p", chat_model("x/y:free", price=None), provider_type=kind, base_url="https://h")
    config = ProviderConfig.model_validate(fields)
    price = PriceBook().price(config, config.models[0])
    assert (price is not None and price.is_free) is is_free


def test_configured_pricing_also_overrides_the_free_price_of_ollama() -> None:
    price = priced("ollama", pricing={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2})
    assert price is not None
    assert (price.rates, price.source) == (Rates(Decimal(1), Decimal(2), Decimal(1), Decimal(1)), "config")


def test_cached_input_without_a_price_costs_as_much_as_input() -> None:
    price = priced("openai", pricing={"input_usd_per_mtok": 4, "output_usd_per_mtok": 2})
    assert price is not None
    assert price.rates.cached_input_usd_per_mtok == 4


def test_only_an_embedding_model_needs_no_output_price() -> None:
    pricing = {"input_usd_per_mtok": 1}
    assert ModelConfig.model_validate(embedding_model(pricing=pricing)).pricing is not None
    with pytest.raises(ValueError, match="output_usd_per_mtok"):
        ModelConfig.model_validate(chat_model(price=None, pricing=pricing))


@given(st.lists(st.text(), min_size=1))
def test_a_bound_is_never_below_the_bytes_nor_the_estimate(texts: list[str]) -> None:
    count = count_texts(texts)
    assert count.bound >= sum(len(text.encode()) for text in texts)
    assert count.bound >= count.estimate


@given(st.text(), st.integers(0, 3))
def test_images_tools_and_tool_calls_count(text: str, images: int) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    plain = count({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]})
    full = count(
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}, *[image] * images]}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        }
    )
    assert full.bound > plain.bound
    assert full.images == images
    assert plain.minimum <= plain.estimate <= plain.bound

"""The committed price list: what it knows, what it leaves out, and that its bounds hold."""

import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data import providers as their_sellers
from genai_prices.types import ModelInfo
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given
from hypothesis import strategies as st

from price_snapshot.document import document, text_of
from price_snapshot.rates import prices_from
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.pricing import Price, PriceBook
from sekha_llm_bridge.pricing.snapshot import FILE, Document, ListedModel, Snapshot, price_of
from sekha_llm_bridge.usage import Usage
from tests.fakes.settings import chat_model, embedding_model, provider

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT: Document = json.loads(FILE.read_text())
DAY = date.fromisoformat(DOCUMENT["date"])
NOON = datetime.combine(DAY, time(12), UTC)
BOOK = PriceBook()
PRICED = {
    (seller["id"], model["id"]): price_of(model, "")
    for seller in DOCUMENT["sellers"]
    for model in seller["models"]
    if "usd" in model
}
THEIRS = {(seller.id, model.id.lower()): model for seller in their_sellers for model in seller.models}

OPENAI = "https://api.openai.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
AZURE = "https://mine.openai.azure.com"
OPENROUTER = "https://openrouter.ai/api/v1"


def of(model_id: str, base_url: str | None, provider_type: str = "openai", *, embeds: bool = False) -> Price | None:
    """The price of a model without `pricing`, as a configuration would have it."""
    model = embedding_model(model_id, pricing=None) if embeds else chat_model(model_id, price=None)
    config = ProviderConfig.model_validate(provider("p", model, provider_type=provider_type, base_url=base_url))
    return BOOK.price(config, config.models[0])


def by_them(model: ModelInfo, usage: Usage, moment: datetime = NOON) -> Decimal:
    """The same usage by genai-prices' own calculation."""
    theirs = TheirUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.hour_cache_write_tokens,
    )
    return model.get_prices(moment).calc_price(theirs)["total_price"]


def test_the_file_equals_the_snapshot_of_the_locked_genai_prices_for_its_date() -> None:
    assert text_of(document(their_sellers, DAY)) == FILE.read_text()


def test_the_file_is_in_the_wheel_and_in_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = FILE.relative_to(FILE.parents[2])
    wheel = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert str(name) in wheel
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = spec_from_file_location("layer", ROOT / "infra" / "build" / "layer.py")
    assert spec
    assert spec.loader
    layer: Any = module_from_spec(spec)
    spec.loader.exec_module(layer)
    layer.add_bridge(tmp_path)
    assert (tmp_path / "python" / name).read_bytes() == FILE.read_bytes()


def test_the_file_is_read_when_the_first_model_needs_it_and_once() -> None:
    loads: list[None] = []

    def load() -> Snapshot:
        loads.append(None)
        return Snapshot.load()

    book = PriceBook(load)
    models = (chat_model("gpt-4o"), chat_model("gpt-4o", price=None), chat_model("gpt-4.1", price=None))
    local = ProviderConfig.model_validate(provider("l", models[1], provider_type="ollama"))
    cloud = ProviderConfig.model_validate(provider("c", *models))
    assert book.price(local, local.models[0])
    assert book.price(cloud, cloud.models[0])
    assert loads == []
    assert book.price(cloud, cloud.models[1])
    assert book.price(cloud, cloud.models[2])
    assert loads == [None]


def test_a_price_names_the_list_and_its_date() -> None:
    price = of("gpt-4o", None)
    assert price is not None
    assert price.source == f"genai-prices {DAY.isoformat()}"


WELL_KNOWN = [
    ("openai", None, "gpt-4o-mini", "openai"),
    ("openai", None, "GPT-4o", "openai"),
    ("openai", None, "gpt-5.2-20251211", "openai"),
    ("openai", None, "gpt-5.5", "openai"),
    ("openai", None, "gpt-6-sol", "openai"),
    ("openai", "https://api.anthropic.com/v1", "claude-haiku-5-5", "anthropic"),
    ("anthropic", None, "claude-sonnet-4-5-20250929", "anthropic"),
    ("gemini", None, "gemini-2.5-flash", "google"),
    ("gemini", None, "gemini-2.5-pro", "google"),
    ("openrouter", None, "openai/gpt-6-sol", "openrouter"),
    ("openrouter", None, "anthropic/claude-sonnet-4.5", "openrouter"),
    ("azure_openai", AZURE, "gpt-4o", "azure"),
    ("azure_openai", AZURE, "o1", "azure"),
    ("openai", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "groq"),
    ("openai", "https://api.mistral.ai/v1", "mistral-large-2512", "mistral"),
    ("openai", "https://api.together.xyz/v1", "openai/gpt-oss-120b", "together"),
    ("openai", "https://api.deepseek.com", "deepseek-v3.2", "deepseek"),
    ("openai", "https://api.x.ai/v1", "grok-4.5", "x-ai"),
    ("openai", "https://api.z.ai/api/paas/v4", "glm-4.6", "zai"),
    ("openai", "https://api.cloudflare.com/client/v4/accounts/abc/ai/v1", "@cf/openai/gpt-oss-120b", "cloudflare"),
    ("openai", "https://api.perplexity.ai", "sonar-pro", "perplexity"),
    ("openai", "https://api.moonshot.ai/v1", "kimi-k3", "moonshotai"),
    ("bedrock", None, "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
    ("openai", "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1", "global.openai.gpt-6-sol", "aws"),
]
USAGES = [
    Usage(0),
    Usage(1_000, 500),
    Usage(1_000, 500, cached_tokens=400),
    Usage(90_001, 7, cached_tokens=1, cache_write_tokens=90_000),
    Usage(200_000, 10),
    Usage(272_001, 1_234, cached_tokens=100_000, cache_write_tokens=1),
]


@pytest.mark.parametrize(("provider_type", "base_url", "model_id", "seller"), WELL_KNOWN)
def test_a_well_known_model_costs_what_genai_prices_calculates(
    provider_type: str, base_url: str | None, model_id: str, seller: str
) -> None:
    price = of(model_id, base_url, provider_type)
    assert price is not None
    for usage in USAGES:
        theirs = calc_price(TheirUsage(), model_id, provider_id=seller, genai_request_timestamp=NOON).model
        assert price.cost_usd(usage) == by_them(theirs, usage)


def test_every_price_equals_that_of_genai_prices_or_exceeds_it() -> None:
    """It is higher if the price will rise, if a cache write costs less than input and is added to it, and if the list
    lacks the cache writes of a model of Claude, which cost more than input.
    """
    for key, price in PRICED.items():
        lasts = len(prices_from(THEIRS[key], DAY)) == 1
        for usage in USAGES:
            ours, theirs = price.cost_usd(usage), by_them(THEIRS[key], usage)
            is_same = not (has_cheap_writes(THEIRS[key]) or (usage.cache_write_tokens and lacks_writes(key)))
            assert ours == theirs if lasts and is_same else ours >= theirs, key


def lacks_writes(key: tuple[str, str]) -> bool:
    """Whether it is a model of Claude of which genai-prices has no rate of cache writes."""
    prices = prices_from(THEIRS[key], DAY)
    return "claude" in key[1] and all(price.cache_write_mtok is None for price in prices)


def test_an_hour_in_the_cache_costs_for_every_model_of_claude_what_genai_prices_says() -> None:
    compared = 0
    for key, price in PRICED.items():
        theirs = prices_from(THEIRS[key], DAY)
        if "claude" in key[1] and len(theirs) == 1 and theirs[0].cache_write_1h_mtok is not None:
            usage = Usage(90_000, cache_write_tokens=90_000, hour_cache_write_tokens=80_000)
            assert price.cost_usd(usage) == by_them(THEIRS[key], usage), key
            compared += 1
    assert compared > 50


@pytest.mark.parametrize("key", [("aws", "regional.anthropic.claude-3-haiku-20240307-v1:0"), ("openai", "gpt-4o")])
def test_only_of_claudes_models_is_the_rate_of_an_hour_known(key: tuple[str, str]) -> None:
    assert PRICED[key].has_hour_cache_rate is ("claude" in key[1])


def has_cheap_writes(model: ModelInfo) -> bool:
    """Whether by genai-prices' figures a token that is written to the cache costs less than another."""
    plain, written = Usage(300_000), Usage(300_000, cache_write_tokens=300_000)
    return by_them(model, written) < by_them(model, plain)


def test_a_price_holds_at_any_hour_of_any_later_day() -> None:
    moments = [
        datetime.combine(day, time(hour), UTC)
        for day in (DAY, date(2027, 1, 1), date(2100, 1, 1))
        for hour in range(24)
    ]
    for key, price in PRICED.items():
        if len(prices_from(THEIRS[key], DAY)) > 1:
            worst = max(
                by_them(THEIRS[key], usage, moment) - price.cost_usd(usage) for usage in USAGES for moment in moments
            )
            assert worst <= 0, key


tokens = st.integers(0, 3_000_000)


@given(st.sampled_from(sorted(PRICED)), tokens, tokens, st.data())
def test_no_usage_costs_more_than_its_bound(
    key: tuple[str, str], prompt: int, output: int, data: st.DataObject
) -> None:
    price = PRICED[key]
    used = data.draw(st.integers(0, prompt))
    cached = data.draw(st.integers(0, used))
    written = data.draw(st.integers(0, used - cached))
    usage = Usage(used, data.draw(st.integers(0, output)), cached, written)
    bound_usd = price.bound_usd(prompt_tokens=prompt, completion_tokens=output)
    assert bound_usd >= price.cost_usd(usage)
    for_an_hour = replace(usage, hour_cache_write_tokens=data.draw(st.integers(0, written)))
    hour_bound_usd = price.bound_usd(prompt_tokens=prompt, completion_tokens=output, is_hour_cache=True)
    assert hour_bound_usd >= max(bound_usd, price.cost_usd(for_an_hour))


@pytest.mark.parametrize("suffix", ["", "-latest", "-20250929", "-20251399", "-2025-09-29", ":free", "-image", "-x"])
def test_model_names_match_as_in_genai_prices(suffix: str) -> None:
    snapshot = Snapshot.load()
    for theirs in their_sellers:
        seller = snapshot.sellers.get(theirs.id)
        for model in theirs.models if seller else ():
            assert seller
            name = f"{model.id}{suffix}"
            listed, known = snapshot.find(seller, name), theirs.find_model(name)
            if known or theirs.id != "azure":  # whose other models are found at openai
                assert (listed and listed["id"]) == (known and known.id.lower()), (theirs.id, name)


@pytest.mark.parametrize(
    ("model_id", "base_url"),
    [
        ("gpt-7", OPENAI),  # an unknown model
        ("gpt-4o", "http://localhost:8080/v1"),
        ("gpt-4o", "https://litellm.example/v1"),
        ("gpt-4o", "https://eu.api.openai.com/v1"),  # it costs more there
        ("gpt-4o-mini-search-preview", OPENAI),  # searches unasked, and is listed as gpt-4o-mini
        ("o3-deep-research", OPENAI),
        ("gpt-image-1", OPENAI),
        ("gpt-realtime", OPENAI),
        ("tts-1", OPENAI),  # by characters
        ("whisper-1", OPENAI),  # by hours
        ("gpt-oss-120b", OPENAI),  # OpenRouter's price
        ("gemini-2.5-flash-image", GOOGLE),
        ("gemini-omni-1.1-flash", GOOGLE),
        ("gemma-3", GOOGLE),  # no price given
        ("openai/gpt-4o:online", OPENROUTER),
        ("openai/gpt-5-image", OPENROUTER),
        ("perplexity/sonar", OPENROUTER),  # a fee per request that is not listed
        ("mistralai/mistral-large-4-0", OPENROUTER),  # it costs more in Europe
        ("deepseek/deepseek-r1:free", OPENROUTER),  # no price given is not a price of nothing
        ("sonar-deep-research", "https://api.perplexity.ai"),
        ("glm-5", "https://open.bigmodel.cn/api/paas/v4"),  # in CNY
        ("gpt-4o", "https://gateway.azure-api.net"),  # anybody's gateway
        ("deepseek-chat", AZURE),  # DeepSeek's own price is not Azure's
        ("text-embedding-3-small", OPENAI),  # as a chat model: what would its output cost?
    ],
)
def test_models_that_cannot_be_priced_safely_have_no_price(model_id: str, base_url: str) -> None:
    assert of(model_id, base_url) is None


def test_a_bedrock_model_without_a_known_region_has_no_price() -> None:
    assert of("amazon.nova-lite-v1:0", None, "bedrock") is None


def test_a_provider_type_without_a_known_seller_has_no_prices() -> None:
    assert of("gpt-4o", None, "litellm") is None


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com@evil.example/v1",
        "https://evil.example/https://api.openai.com/v1",
        "https://api-openai.com/v1",
        "https://xapi.openai.com/v1",
        "http://api.openai.com/v1",
        "https://mine.openai.azure.com.evil.example/openai/v1",
        "https://evil.example/mine.openai.azure.com/openai/v1",
        "https://evil/mine.openai.azure.com/openai/v1",
        "https://openrouter.ai.evil.example/api/v1",
        "https://apiXopenrouter.ai/api/v1",
    ],
)
@pytest.mark.parametrize("model_id", ["gpt-4o", "openai/gpt-4o"])
def test_a_host_that_only_looks_alike_is_unknown(base_url: str, model_id: str) -> None:
    assert of(model_id, base_url) is None


@pytest.mark.parametrize(
    "base_url",
    [
        "https://evil.example/https://x.googleapis.com/v1",
        "https://googleapis.com.evil.example/v1",
        "https://storage.googleapis.com/v1",
        "https://europe-west1-aiplatform.googleapis.com/v1",
    ],
)
def test_of_googles_hosts_only_the_one_of_gemini_is_known(base_url: str) -> None:
    assert of("gemini-2.5-flash", base_url) is None
    assert of("gemini-2.5-flash", GOOGLE) is not None


@pytest.mark.parametrize("seller", DOCUMENT["sellers"], ids=lambda seller: seller["id"])
def test_no_address_matches_inside_another(seller: dict[str, Any]) -> None:
    """Also not those that a later list adds: what stands in a path, before or behind the host is no host."""
    example = seller.get("at") or EXAMPLES[seller["id"]]
    host, _, path = example.removeprefix("https://").partition("/")
    for wrong in (
        f"https://evil.example/{example}",
        f"https://evil/{host}/{path}",
        f"https://{host}.evil.example/{path}",
    ):
        assert sold_at(wrong) is None
    assert sold_at(example) == sold_at(f"{example}/v1") == seller["id"]
    assert sold_at(f"{example}x") is None


EXAMPLES = {
    "aws": "https://bedrock-runtime.us-east-1.amazonaws.com",
    "azure": "https://mine.openai.azure.com",
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/abc/ai",
    "cohere": "https://api.cohere.ai",
    "openrouter": "https://openrouter.ai",
}


def sold_at(base_url: str) -> str | None:
    seller = Snapshot.load().seller_at(base_url)
    return seller.listed["id"] if seller else None


def test_an_embedding_model_needs_no_price_for_output() -> None:
    price = of("text-embedding-3-small", OPENAI, embeds=True)
    assert price is not None
    assert price.cost_usd(Usage(1_000_000)) == Decimal("0.02")
    assert of("gemini-embedding-2", GOOGLE, embeds=True) is not None


def listing(*models: ListedModel) -> Snapshot:
    return Snapshot.of(
        {"date": "2026-01-02", "sellers": [{"id": "s", "at": "https://s.example", "models": list(models)}]}
    )


def listed_price(snapshot: Snapshot, model_id: str = "m") -> Price | None:
    config = ProviderConfig.model_validate(
        provider("p", chat_model(model_id, price=None), base_url="https://s.example")
    )
    return PriceBook(lambda: snapshot).price(config, config.models[0])


def test_only_a_price_of_zero_is_free() -> None:
    free = listed_price(listing({"id": "m", "usd": ["0", "0"]}))
    assert free is not None
    assert free.is_free
    assert listed_price(listing({"id": "m", "unpriced": "no price"})) is None
    assert listed_price(listing({"id": "m", "usd": ["0"]})) is None
    assert not any(price.is_free for price in PRICED.values())


def test_the_first_matching_rule_is_used_even_if_its_model_has_no_price() -> None:
    loose: ListedModel = {"id": "l", "match": {"starts": "m"}, "usd": ["1", "1"]}
    assert listed_price(listing({"id": "m", "unpriced": "bills sound"}, loose)) is None
    assert listed_price(listing({"id": "m", "unpriced": "bills sound"}, loose), "m2") is not None
    assert listed_price(listing(loose, {"id": "m", "unpriced": "bills sound"})) is not None


def test_a_list_with_an_unknown_kind_of_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        listed_price(listing({"id": "m", "match": {"sounds_like": "em"}, "usd": ["1", "1"]}))

"""How the price list is made: what stays out of it, which of several prices counts, and what a refresh says and writes."""

import json
import os
import subprocess
import sys
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from price_snapshot.__main__ import refresh
from price_snapshot.document import document, text_of
from price_snapshot.models import listed
from price_snapshot.rules import rule_of
from price_snapshot.sellers import Address, address
from sekha_llm_bridge.pricing.snapshot import FILE

ROOT = Path(__file__).resolve().parents[3]
DAY = date(2026, 6, 1)
TEXT = {"input_mtok": "2", "output_mtok": "8"}

Rate = str | TieredPrices


def costs(**rates: Rate) -> ModelPrice:
    return ModelPrice(**{meter: Decimal(rate) if isinstance(rate, str) else rate for meter, rate in rates.items()})


def model(prices: ModelPrice | list[ConditionalPrice], model_id: str = "m", **fields: Any) -> ModelInfo:
    return ModelInfo(id=model_id, match=ClauseEquals(model_id), prices=prices, **fields)


def seller(*models: ModelInfo, seller_id: str = "s", pattern: str = r"https://s\.example") -> Provider:
    return Provider(id=seller_id, name=seller_id, api_pattern=pattern, models=list(models))


def steps(base: str, *tiers: tuple[int, str]) -> TieredPrices:
    return TieredPrices(Decimal(base), [Tier(start, Decimal(price)) for start, price in tiers])


def since(year: int, month: int, **rates: Rate) -> ConditionalPrice:
    return ConditionalPrice(StartDateConstraint(date(year, month, 1)), prices=costs(**rates))


def daily(start: int, end: int, **rates: Rate) -> ConditionalPrice:
    return ConditionalPrice(TimeOfDateConstraint(time(start), time(end)), prices=costs(**rates))


def test_input_output_cache_and_request_prices_are_copied() -> None:
    price = costs(**TEXT, cache_read_mtok="0.20", cache_write_mtok="2.5", requests_kcount="5")
    assert listed(model(price), DAY) == {"id": "m", "usd": ["2", "8", "0.2", "2.5"], "request": "0.005"}


def test_missing_rates_equal_the_input_rate() -> None:
    assert listed(model(costs(**TEXT)), DAY)["usd"] == ["2", "8"]
    assert listed(model(costs(**TEXT, cache_write_mtok="3")), DAY)["usd"] == ["2", "8", None, "3"]


def test_the_highest_rate_of_a_cache_write_of_five_minutes_is_used() -> None:
    price = costs(**TEXT, cache_write_mtok="2.5", cache_write_5m_mtok="2.6", cache_write_1h_mtok="4")
    assert listed(model(price), DAY)["usd"] == ["2", "8", None, "2.6"]


def test_a_cache_write_rate_below_the_input_rate_is_added_to_it() -> None:
    assert listed(model(costs(**TEXT, cache_write_mtok="0.1")), DAY)["usd"] == ["2", "8", None, "2.1"]


def test_every_tier_has_all_rates() -> None:
    price = costs(
        input_mtok=steps("2", (100, "4"), (200, "6")), output_mtok=steps("8", (200, "9")), cache_read_mtok="1"
    )
    assert listed(model(price), DAY) == {
        "id": "m",
        "usd": ["2", "8", "1"],
        "tiers": [(100, ["4", "8", "1"]), (200, ["6", "9", "1"])],
    }


def test_a_price_of_the_past_is_ignored() -> None:
    prices = [ConditionalPrice(prices=costs(input_mtok="9", output_mtok="9")), since(2026, 5, **TEXT)]
    assert listed(model(prices), DAY)["usd"] == ["2", "8"]


def test_the_highest_rate_of_each_kind_from_the_day_on_is_used() -> None:
    prices = [ConditionalPrice(prices=costs(**TEXT)), since(2026, 7, input_mtok="1", output_mtok="9")]
    assert listed(model(prices), DAY)["usd"] == ["2", "9"]


def test_the_highest_rate_of_all_hours_is_used() -> None:
    prices = [ConditionalPrice(prices=costs(**TEXT)), daily(1, 4, input_mtok="3", output_mtok="12")]
    assert listed(model(prices), DAY)["usd"] == ["3", "12"]


def test_a_price_that_is_never_the_highest_is_ignored() -> None:
    prices = [daily(1, 4, input_mtok="3", output_mtok="12"), since(2026, 5, **TEXT)]
    assert listed(model(prices), DAY)["usd"] == ["2", "8"]


def test_future_tiers_are_merged_with_current_ones() -> None:
    now = costs(input_mtok=steps("2", (100, "4")), output_mtok="8")
    prices = [ConditionalPrice(prices=now), since(2026, 7, input_mtok=steps("3", (50, "3.5")), output_mtok="7")]
    entry = listed(model(prices), DAY)
    assert entry["usd"] == ["3", "8"]
    assert entry["tiers"] == [(50, ["3.5", "8"]), (100, ["4", "8"])]


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (costs(), "no price"),
        (costs(output_mtok="1"), "no input price"),
        (costs(**TEXT, output_reasoning_mtok="3"), "output_reasoning_mtok"),
        (costs(**TEXT, output_image_mtok="30"), "output_image_mtok"),
        (costs(**TEXT, input_image_mtok="3"), "input_image_mtok"),
        (costs(**TEXT, output_video_mtok="3"), "output_video_mtok"),
        (costs(**TEXT, code_executions_kcount="3"), "code_executions_kcount"),
        (costs(**TEXT, a_new_meter="3"), "a_new_meter"),
        (costs(input_mchars="3"), "no input price"),
        (costs(**TEXT, requests_kcount=steps("1", (5, "2"))), "a fee per request with tiers"),
    ],
)
def test_a_model_billed_for_more_than_text_has_no_rates(price: ModelPrice, reason: str) -> None:
    assert listed(model(price), DAY) == {"id": "m", "unpriced": reason}


def test_a_model_without_a_price_in_some_periods_has_no_rates() -> None:
    prices = [ConditionalPrice(prices=costs(**TEXT)), since(2026, 7, input_mtok="2")]
    assert listed(model(prices), DAY)["unpriced"] == "no output price in some periods"
    prices = [ConditionalPrice(prices=costs(**TEXT)), since(2026, 7)]
    assert listed(model(prices), DAY)["unpriced"] == "no input price"


@pytest.mark.parametrize("meter", ["input_audio_mtok", "output_audio_mtok", "web_searches_kcount", "audio_hours"])
def test_prices_of_features_that_a_cost_limit_excludes_do_not_matter(meter: str) -> None:
    assert listed(model(costs(**TEXT, **{meter: "99"})), DAY)["usd"] == ["2", "8"]


def test_the_image_price_of_an_embedding_model_is_ignored() -> None:
    assert listed(model(costs(input_mtok="2", input_image_mtok="9")), DAY) == {"id": "m", "usd": ["2"]}


def test_a_model_whose_price_depends_on_unknown_conditions_has_no_rates() -> None:
    asked = PriceVariant({"service_tier": "priority"}, costs(input_mtok="9"))
    unasked = PriceVariant({"route": "far"}, costs(input_mtok="9"))
    assert listed(model(costs(**TEXT), price_variants=[asked]), DAY)["usd"] == ["2", "8"]
    assert listed(model(costs(**TEXT), price_variants=[asked, unasked]), DAY)["unpriced"] == "depends on route"


def test_a_model_with_a_guessed_price_has_no_rates_until_it_is_confirmed() -> None:
    guessed = "Imported from OpenRouter pricing; verify against Acme."
    assert listed(model(costs(**TEXT), price_comments=guessed), DAY)["unpriced"] == "guessed from another seller"
    assert "usd" in listed(model(costs(**TEXT), price_comments=f"{guessed} Verified against Acme on 1 May."), DAY)


@pytest.mark.parametrize(
    "name", ["gpt-search-preview", "x-deep-research", "sonar-pro", "gpt-image", "grok-multi-agent"]
)
def test_a_model_whose_name_implies_other_fees_has_rates_only_with_a_fee_per_request(name: str) -> None:
    assert listed(model(costs(**TEXT), name), DAY)["unpriced"] == "bills more than tokens"
    assert "usd" in listed(model(costs(**TEXT, requests_kcount="5"), name), DAY)
    assert "usd" in listed(model(costs(**TEXT), "nousresearch/hermes-4-70b"), DAY)


@pytest.mark.parametrize(
    ("clause", "rule"),
    [
        (ClauseEquals("GPT"), "gpt"),
        (ClauseStartsWith("GPT"), {"starts": "gpt"}),
        (ClauseEndsWith("GPT"), {"ends": "gpt"}),
        (ClauseContains("GPT"), {"contains": "gpt"}),
        (ClauseRegex(r"^GPT-\D$"), {"regex": r"^GPT-\D$"}),
        (ClauseAnd([ClauseEquals("a"), ClauseEquals("b")]), {"all": ["a", "b"]}),
        (ClauseOr([ClauseEquals("a"), ClauseOr([ClauseEquals("b"), ClauseEquals("A")])]), ["a", "b"]),
        (ClauseOr([ClauseEquals("a"), ClauseEquals("A")]), "a"),
    ],
)
def test_all_rules_but_regular_expressions_match_in_lower_case(clause: MatchLogic, rule: object) -> None:
    assert rule_of(clause) == rule


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"https://api\.s\.example", Address("https://api.s.example", is_expression=False)),
        (r"https://api\.s\.example/v1(?:/|$)", Address("https://api.s.example/v1", is_expression=False)),
        (r"https://(api\.)?s\.example(/|$)", Address(r"https://(api\.)?s\.example", is_expression=True)),
        (r"https://s\d\.example", Address(r"https://s\d\.example", is_expression=True)),
        ("https://s.example", Address("https://s.example", is_expression=True)),
    ],
)
def test_an_address_without_wildcards_is_plain_text(pattern: str, found: Address) -> None:
    assert address(seller(pattern=pattern)) == found


def test_only_bedrock_models_of_all_regions_have_a_price() -> None:
    models = [model(costs(**TEXT), name) for name in ("global.m", "regional.m", "m")]
    (entry,) = document([seller(*models, seller_id="aws")], DAY)["sellers"]
    assert ["usd" in listing for listing in entry["models"]] == [True, True, False]


def test_a_seller_with_higher_prices_in_some_regions_is_left_out() -> None:
    assert document([seller(model(costs(**TEXT)), seller_id="databricks")], DAY)["sellers"] == []


def test_each_model_is_one_line_of_the_file() -> None:
    text = text_of(document([seller(model(costs(**TEXT), "a"), model(costs(), "b"))], DAY))
    assert '{"id":"a","usd":["2","8"]},\n{"id":"b","unpriced":"no price"}\n' in text
    assert json.loads(text)["date"] == "2026-06-01"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list of one model, made on 1 June."""
    path = tmp_path / "prices.json"
    refresh(path, [seller(model(costs(**TEXT)))], DAY)
    return path


def test_a_refresh_on_another_day_leaves_an_equal_list_as_it_is(file: Path) -> None:
    before = file.read_bytes()
    assert refresh(file, [seller(model(costs(**TEXT)))], date(2026, 9, 1)) == []
    assert file.read_bytes() == before


def test_a_price_that_changes_with_the_date_is_listed_and_written(tmp_path: Path) -> None:
    sellers = [seller(model([ConditionalPrice(prices=costs(input_mtok="9", output_mtok="9")), since(2026, 7, **TEXT)]))]
    file = tmp_path / "prices.json"
    refresh(file, sellers, DAY)
    assert refresh(file, sellers, date(2026, 8, 1))[1] == "  ~ m: input 9 → 2, output 9 → 8"
    assert date_of(file) == "2026-08-01"


def test_a_list_that_differs_from_the_one_for_its_own_date_is_written_even_with_equal_prices(file: Path) -> None:
    """The newer data know of a price that ended in July; on 1 June that one would have counted."""
    known = [ConditionalPrice(prices=costs(input_mtok="9", output_mtok="9")), since(2026, 7, **TEXT)]
    assert refresh(file, [seller(model(known))], date(2026, 8, 1)) == []
    assert date_of(file) == "2026-08-01"


def date_of(file: Path) -> str:
    return str(json.loads(file.read_text())["date"])


def test_a_refresh_lists_new_removed_and_changed_models_by_seller_and_in_total(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    old = [
        seller(
            model(costs(**TEXT), "gone"), model(costs(**TEXT), "dearer"), model(costs(**TEXT), "lost"), seller_id="a"
        ),
        seller(model(costs(**TEXT), "same"), seller_id="b"),
    ]
    new = [
        seller(
            model(costs(input_mtok=steps("2", (5, "3")), output_mtok="9", requests_kcount="1"), "dearer"),
            model(costs(), "lost"),
            model(costs(**TEXT), "new"),
            seller_id="a",
        ),
        seller(ModelInfo(id="same", match=ClauseStartsWith("same"), prices=costs(**TEXT)), seller_id="b"),
        seller(model(costs(**TEXT), "first"), seller_id="c"),
    ]
    refresh(file, old, DAY)
    assert refresh(file, new, DAY) == [
        "a: 1 new, 1 removed, 2 changed",
        "  + new",
        "  - gone",
        "  ~ dearer: output 8 → 9, input above 5 none → 3, output above 5 none → 9, a request none → 0.001",
        "  ~ lost: input 2 → none, output 8 → none, unpriced none → no price",
        "b: 0 new, 0 removed, 1 changed",
        "  ~ same: other match rule",
        "c: 1 new, 0 removed, 0 changed",
        "  + first",
        "total: 2 new, 1 removed, 3 changed; 4 of 5 models of 3 sellers have a price",
    ]


def test_a_long_list_of_new_models_is_shortened(file: Path) -> None:
    many = [model(costs(**TEXT), f"model-{number:03}") for number in range(100)]
    lines = refresh(file, [seller(*many)], DAY)
    assert len(lines) < 12
    assert "and 60 more" in "\n".join(lines)


def test_the_command_makes_the_list_of_that_day_and_then_finds_no_difference(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "infra" / "prices")}
    day, file = json.loads(FILE.read_text())["date"], tmp_path / "prices.json"
    command = [sys.executable, "-m", "price_snapshot", day, str(file)]
    answers = [subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout for _ in range(2)]
    assert answers[0].splitlines()[-1].startswith("total: ")
    assert answers[1] == "no difference\n"
    assert file.read_bytes() == FILE.read_bytes()

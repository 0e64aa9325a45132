"""Names of models in requests: what each stands for, and in which order its models are tried."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.loaded import DisabledProvider
from sekha_llm_bridge.config.models import NamedModels, ProviderConfig, Task
from sekha_llm_bridge.errors import ModelNotFound
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.routing import Catalog, ModelRef, RoutePlan, RouteRequest, RoutingContext, plan
from sekha_llm_bridge.routing.names import own_names, resolve_model, resolve_preferred
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

PROVIDERS = (
    provider("local", chat_model("llama3.1:70b"), chat_model("small"), provider_type="ollama", priority=1),
    provider("cloud", chat_model("gpt-4o"), chat_model("small"), embedding_model("e"), priority=2),
    provider("router", chat_model("cloud/gpt-4o"), chat_model("smart", task="chat_smart"), priority=3),
)
ALIASES = {
    "claude-sonnet-4-5": "chat_smart",
    "gpt-4o": ["gpt-4o", "llama3.1:70b"],
    "fast": "small",
    "only-cloud": ["cloud/small"],
    "large": "chat_large",
}
KEY_MISSING = "${KEY} has no value: set the variable KEY"


def catalog(named_models: str = "pinned", aliases: dict[str, Any] | None = None) -> Catalog:
    settings = make_settings(
        *PROVIDERS, aliases=ALIASES if aliases is None else aliases, routing={"named_models": named_models}
    )
    off = provider("off", chat_model("gpt-5"), chat_model("gpt-4o"), api_key="k")
    disabled = DisabledProvider(ProviderConfig.model_validate(off), KEY_MISSING)
    return Catalog.of(replace(settings, disabled=(disabled,)), PriceBook())


def planned(name: str | None, the_catalog: Catalog, *, preferred: str | None = None) -> RoutePlan:
    target = resolve_model(name, the_catalog)
    request = RouteRequest(
        target.task,
        TokenCount(10, 10, 10),
        named=target.models,
        is_pinned=target.is_pinned,
        preferred=resolve_preferred(preferred, the_catalog),
    )
    return plan(request, the_catalog, RoutingContext())


def order(the_plan: RoutePlan) -> list[str]:
    return ["/".join(entry.key) for entry in the_plan.ranked]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", ["local/small", "cloud/small"]),
        ("cloud/small", ["cloud/small"]),
        ("only-cloud", ["cloud/small"]),
        ("fast", ["local/small", "cloud/small"]),
        ("gpt-4o", ["cloud/gpt-4o", "local/llama3.1:70b"]),
        ("cloud/gpt-4o", ["router/cloud/gpt-4o"]),
        ("router/cloud/gpt-4o", ["router/cloud/gpt-4o"]),
        ("claude-sonnet-4-5", ["router/smart"]),
        ("chat_smart", ["router/smart"]),
        ("large", []),
    ],
)
def test_a_name_stands_for_these_models_in_this_order(name: str, expected: list[str]) -> None:
    assert order(planned(name, catalog())) == expected


@pytest.mark.parametrize("name", ["auto", "", None])
def test_auto_and_no_name_stand_for_every_chat_model(name: str | None) -> None:
    assert len(order(planned(name, catalog()))) == 6


def test_a_model_whose_id_looks_like_another_providers_model_wins() -> None:
    """`cloud/gpt-4o` is a model of `router`, and also gpt-4o of `cloud`."""
    assert resolve_model("cloud/gpt-4o", catalog()).models == (ModelRef("cloud/gpt-4o"),)


def test_where_names_are_preferred_the_named_models_are_first_and_all_others_follow() -> None:
    the_plan = planned("gpt-4o", catalog("preferred"))
    assert order(the_plan)[:2] == ["cloud/gpt-4o", "local/llama3.1:70b"]
    assert len(order(the_plan)) == 6
    assert the_plan.reason == "The model that the request names"


def test_preferred_model_goes_before_a_preferred_name() -> None:
    assert order(planned("gpt-4o", catalog("preferred"), preferred="smart"))[:2] == ["router/smart", "cloud/gpt-4o"]


def test_preferred_model_orders_the_models_that_a_pinned_name_allows() -> None:
    assert order(planned("gpt-4o", catalog(), preferred="llama3.1:70b")) == ["local/llama3.1:70b", "cloud/gpt-4o"]


@pytest.mark.parametrize(("preferred", "first"), [("cloud/small", "cloud/small"), ("gpt-4o", "cloud/gpt-4o")])
def test_preferred_model_may_be_an_alias_or_a_model_of_one_provider(preferred: str, first: str) -> None:
    the_plan = planned(None, catalog(), preferred=preferred)
    assert (order(the_plan)[0], len(order(the_plan))) == (first, 6)


PATTERNS = {"claude-*": "auto", "claude-opus-*": ["gpt-4o"], "gpt-*": "small", "claude-opus-4": "cloud/small"}


@pytest.mark.parametrize(
    ("name", "first", "n_models"),
    [
        ("claude-haiku-4-5-20251001", "local/llama3.1:70b", 6),
        ("claude-opus-4-5", "cloud/gpt-4o", 1),
        ("claude-opus-4", "cloud/small", 1),
        ("gpt-4o", "cloud/gpt-4o", 1),
    ],
)
def test_an_alias_with_a_star_stands_for_every_other_name_that_begins_so(name: str, first: str, n_models: int) -> None:
    """The longest one counts; an exact alias and the name of a model come before it."""
    found = order(planned(name, catalog(aliases=PATTERNS)))
    assert (found[0], len(found)) == (first, n_models)
    preferred = order(planned(None, catalog(aliases=PATTERNS), preferred=name))
    assert n_models > 1 or preferred[0] == first


def test_an_alias_with_a_star_is_no_name_to_choose_from() -> None:
    assert not any("*" in name for name in own_names(catalog(aliases=PATTERNS)))


@pytest.mark.parametrize("mode", list(NamedModels))
def test_an_unknown_name_is_an_error_also_where_names_are_preferred(mode: str) -> None:
    with pytest.raises(ModelNotFound, match=r"'gpt-6' is not configured; there are: .*small.*claude-sonnet-4-5.*auto"):
        resolve_model("gpt-6", catalog(mode))


@pytest.mark.parametrize("name", ["gpt-5", "off/gpt-5", "off/gpt-4o", "newest"])
def test_a_model_of_a_disabled_provider_says_why_it_cannot_be_used(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve_model(name, catalog(aliases={"newest": "gpt-5"}))
    expected = f"the model {name!r} is configured, but cannot be used: provider off is disabled: {KEY_MISSING}"
    assert caught.value.message == expected


def test_a_disabled_model_of_an_alias_is_left_out() -> None:
    assert order(planned("best", catalog(aliases={"best": ["gpt-5", "smart"]}))) == ["router/smart"]


def test_a_disabled_model_of_an_alias_is_noted() -> None:
    notes = planned("best", catalog(aliases={"best": ["gpt-5", "smart"]})).notes
    assert notes == (f"model gpt-5 was not used: its provider is disabled: {KEY_MISSING}",)


@pytest.mark.parametrize("name", ["chat_smart", "auto"])
def test_a_preferred_name_that_stands_for_a_task_is_noted(name: str) -> None:
    notes = planned(None, catalog(), preferred=name).notes
    assert notes == (f"preferred_model {name} names a task, not a model, and was ignored",)


def test_auto_is_listed_although_a_model_has_that_name() -> None:
    settings = make_settings(provider("p", chat_model("auto"), chat_model("b")))
    the_catalog = Catalog.of(settings, PriceBook())
    assert [entry.model_id for entry in own_names(the_catalog)["auto"]] == ["auto", "b"]


def test_a_disabled_preferred_model_is_passed_over_with_the_reason() -> None:
    notes = planned(None, catalog(), preferred="gpt-5").notes
    assert notes == (f"preferred_model gpt-5 was not used: its provider is disabled: {KEY_MISSING}",)


def test_a_preferred_name_that_does_not_qualify_is_noted() -> None:
    notes = planned("e", catalog("preferred")).notes
    assert notes == ("model e was not used: not a chat model, but for embedding",)


NAMES = ["llama3.1:70b", "small", "gpt-4o", "cloud/small", "only-cloud", "claude-sonnet-4-5", "cloud/gpt-4o", "smart"]


@given(st.sampled_from(NAMES), st.sampled_from([None, *NAMES, "ghost"]))
def test_a_pinned_name_is_answered_by_no_other_model_whatever_is_preferred(name: str, preferred: str | None) -> None:
    the_plan = planned(name, catalog(), preferred=preferred)
    assert set(order(the_plan)) == set(order(planned(name, catalog())))


@given(st.sampled_from(NAMES), st.sampled_from([None, *NAMES, "ghost"]))
def test_a_preferred_name_changes_the_order_only(name: str, preferred: str | None) -> None:
    the_catalog = catalog("preferred")
    the_plan = planned(name, the_catalog, preferred=preferred)
    task = resolve_model(name, the_catalog).task
    assert set(order(the_plan)) == {"/".join(entry.key) for entry in the_catalog.usable[task]}


def test_the_own_names_are_the_aliases_auto_and_the_default_names_that_have_models() -> None:
    names = own_names(catalog())
    assert list(names) == [
        "claude-sonnet-4-5",
        "gpt-4o",
        "fast",
        "only-cloud",
        "auto",
        "embedding",
        "chat_fast",
        "chat_smart",
    ]
    assert ["/".join(entry.key) for entry in names["gpt-4o"]] == ["cloud/gpt-4o", "local/llama3.1:70b"]


def test_a_task_stands_behind_an_alias_only_where_it_names_no_model() -> None:
    settings = make_settings(provider("p", chat_model("vision")), aliases={"eyes": "vision"})
    target = resolve_model("eyes", Catalog.of(settings, PriceBook()))
    assert (target.models, target.task) == ((ModelRef("vision"),), None)
    assert resolve_model("claude-sonnet-4-5", catalog()).task is Task.CHAT_SMART

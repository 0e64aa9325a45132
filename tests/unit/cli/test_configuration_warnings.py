"""The warnings that check-config adds to those of the loader."""

import pytest

from sekha_llm_bridge.routing.configuration_warnings import configuration_warnings, cost_limit_summary
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider


def test_models_without_a_price_give_one_warning_per_provider() -> None:
    settings = make_settings(
        provider("p", chat_model("x", price=None), chat_model("y", price=None, task="chat_smart"), base_url="http://h"),
        routing={"max_cost_per_request": "0.5"},
    )
    assert list(configuration_warnings(settings)) == [
        "p: no price is known of x, y: the cost limit of $0.5 excludes what has none; give it in `pricing`"
    ]


def test_a_paid_chat_model_without_an_output_limit_gives_a_warning_with_the_assumed_limit() -> None:
    models = (chat_model("paid"), chat_model("free", price=(0, 0)), chat_model("told", max_output_tokens=100))
    limited = make_settings(provider("p", *models, base_url="http://h"), routing={"max_cost_per_request": "0.5"})
    end = "under a cost limit its answers end at 4096 tokens"
    assert list(configuration_warnings(limited)) == [f"p: no `max_output_tokens` is given for paid: {end}"]
    assert list(configuration_warnings(make_settings(provider("p", *models, base_url="http://h")))) == []


def test_names_that_only_an_ollama_may_have_are_a_warning_and_configured_ones_are_not() -> None:
    home = {"id": "home", "provider_type": "ollama", "models": ["auto", chat_model("llama3.1:8b")]}
    cloud = provider("cloud", chat_model("gpt"), base_url="http://h")
    names = {"default_models": {"embedding": "nomic-embed-text", "chat_fast": "llama3.1:8b"}}
    aliases = {
        "aliases": {"one": ["cloud/gpt", "home/llama3.1:8b", "qwen3", "phi4"], "two": "chat_smart", "gpt-*": "auto"}
    }
    can_be_used = "is not configured, and can be used while home has it (models: auto)"
    assert list(configuration_warnings(make_settings(home, cloud, **names, **aliases))) == [
        f"default_models.embedding: nomic-embed-text {can_be_used}",
        f"aliases.one: qwen3 {can_be_used}",
        f"aliases.one: phi4 {can_be_used}",
    ]


def test_a_file_without_a_cost_limit_has_the_default_which_names_what_it_does_not_limit() -> None:
    models = (
        chat_model("unknown", price=None),
        chat_model("endless", price=(1, 10), context_window=200_000),
        chat_model("told", price=(1, 10), context_window=200_000, max_output_tokens=4096),
        chat_model("short", price=(1, 10)),
        chat_model("free", price=(0, 0), context_window=200_000),
        embedding_model("e"),
    )
    summary = cost_limit_summary(make_settings(provider("p", *models, base_url="http://h")))
    assert list(summary.sentences()) == [
        "cost limit: $1.00 for one request (the default: the file has no max_cost_per_request)",
        "it does not limit p/unknown: its price is not known; give it in `pricing`",
        "it does not limit p/endless: the length of its answers is not known; give `max_output_tokens`",
    ]


def test_a_limit_on_output_limits_models_whose_answers_have_no_known_length() -> None:
    endless = chat_model("endless", price=(1, 10), context_window=200_000)
    settings = make_settings(provider("p", endless, base_url="http://h"), routing={"max_output_tokens": 1000})
    assert cost_limit_summary(settings).unlimited_models == {}


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ("0.5", "cost limit: $0.5 for one request (from the file)"),
        (
            None,
            (
                "cost limit: none, because max_cost_per_request is null: one request may cost as much as its model's"
                " context window and its `n` allow"
            ),
        ),
    ],
)
def test_a_written_limit_and_null_say_what_they_mean(limit: str | None, sentence: str) -> None:
    unknown = provider("p", chat_model("unknown", price=None), base_url="http://h")
    settings = make_settings(unknown, routing={"max_cost_per_request": limit})
    assert list(cost_limit_summary(settings).sentences()) == [sentence]


def test_allowed_fields_with_addresses_or_without_effect_give_a_warning() -> None:
    fields = ["plugins", "api_base", "extra_body.api_key"]
    settings = make_settings(
        provider("g", chat_model(), provider_type="litellm", base_url="http://h", allow_fields=fields),
        provider("o", chat_model(), provider_type="ollama", allow_fields=["plugins"]),
    )
    assert list(configuration_warnings(settings)) == [
        "g: allow_fields lets callers decide where its requests go, or with which key: api_base, extra_body.api_key",
        "o: allow_fields has no effect, because an Ollama is never sent fields that it does not have",
    ]

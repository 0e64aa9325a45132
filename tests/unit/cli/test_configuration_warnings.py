"""The warnings that check-config adds to those of the loader."""

from sekha_llm_bridge.routing.configuration_warnings import configuration_warnings
from tests.fakes.settings import chat_model, make_settings, provider


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

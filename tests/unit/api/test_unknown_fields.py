"""Fields that the bridge does not know: a typo in one of its own is refused, a gateway's are refused, others pass."""

from typing import Any, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams

from sekha_llm_bridge.api.chat import request as chat_request
from sekha_llm_bridge.api.conversations.options import OPTION_FIELDS
from sekha_llm_bridge.api.embeddings import request as embedding_request
from sekha_llm_bridge.api.unknown_fields import edit_distance, nearest_own_name
from sekha_llm_bridge.api.vendor_fields import BILLABLE_FIELDS, BOUNDED_FIELDS
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import ask, error, function

TYPOS = [
    *[("max_costs", "max_cost"), ("max_cots", "max_cost"), ("maxCost", "max_cost"), ("max-cost", "max_cost")],
    *[("max_cost_usd", "max_cost"), ("max_cost_per_request", "max_cost"), ("mx_cost", "max_cost")],
    *[("preferd_model", "preferred_model"), ("prefered_model", "preferred_model"), ("tasks", "task")],
    *[("require_visions", "require_vision"), ("requires_vision", "require_vision")],
    *[("allow_fallbacks", "allow_fallback"), ("allow_falback", "allow_fallback")],
]


@pytest.mark.parametrize(("typo", "meant"), TYPOS)
def test_a_near_miss_of_the_bridges_own_field_is_a_400_that_names_the_right_one(
    chat: Function, fake: FakeProvider, typo: str, meant: str
) -> None:
    answer = ask(chat, **{typo: 0.001})
    found = error(answer)
    assert (answer.status, found["code"], found["param"]) == (400, "invalid_request", typo)
    assert found["message"] == f"{typo}: did you mean {meant}?"
    assert fake.received == []


@pytest.mark.parametrize("typo", ["collecton", "collection_name", "metadatass", "stores", "id", "max_costs"])
def test_near_misses_of_embeddings_own_fields_are_found(typo: str) -> None:
    assert nearest_own_name(typo, embedding_request.EXTENSIONS) is not None


OTHERS = {
    *("input_type", "truncate", "truncation", "task", "task_type", "title", "output_dimension", "output_dtype"),
    *("embedding_types", "normalized", "late_chunking", "prompt", "prompt_name", "truncate_prompt_tokens", "priority"),
    *("mask", "score", "stop", "stream", "texts", "images", "model", "max_tokens", "response_format", "seed"),
}


def _vendors_fields() -> set[str]:
    openai = {*get_type_hints(CompletionCreateParamsNonStreaming), *get_type_hints(EmbeddingCreateParams)}
    return openai | BOUNDED_FIELDS | BILLABLE_FIELDS | OTHERS


@pytest.mark.parametrize("name", sorted(_vendors_fields()))
def test_no_field_of_a_vendor_is_taken_for_a_typo(name: str) -> None:
    chats_own, embeddings_own = OPTION_FIELDS, embedding_request.EXTENSIONS
    known = {"task", "metadata", "store"}  # a field of both, or known to be a vendor's, and so not compared
    assert name in known or nearest_own_name(name, chats_own | embeddings_own) is None


def test_metadata_of_an_embedding_is_not_a_typo_but_noted(fake: FakeProvider) -> None:
    from tests.unit.api.embeddings.test_embeddings import bridge

    answer = Function("embeddings", bridge(fake))("POST", "/v1/embeddings", {"input": "a", "metadata": {"a": "b"}})
    assert "passed on, unknown to the bridge: metadata" in answer.json()["bridge"]["notes"]


def test_every_field_of_openais_chat_api_is_known_and_not_noted() -> None:
    openai = set(get_type_hints(CompletionCreateParamsNonStreaming))
    assert openai <= chat_request.KNOWN_FIELDS | BILLABLE_FIELDS


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("ab", "abcd", 2), ("abc", "xyz", 3), ("a", "abcde", 3)],
)
def test_edit_distance_counts_inserted_removed_replaced_and_swapped_letters(
    one: str, other: str, distance: int
) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == distance


def test_many_long_unknown_names_make_a_short_note(chat: Function) -> None:
    fields = {f"f{i:02}{'x' * 500}\n": 1 for i in range(40)}
    (note,) = ask(chat, model="gpt", **fields).json()["bridge"]["notes"]
    assert note.endswith(" and 30 more")
    assert len(note) < 1_000
    assert "\n" not in note


def test_a_streamed_answer_has_the_note_too(chat: Function) -> None:
    text = ask(chat, model="gpt", stream=True, brand_new=1).text
    assert "passed on, unknown to the bridge: brand_new" in text


def test_with_refuse_unknown_fields_are_a_400_that_names_them(fake: FakeProvider) -> None:
    chat = function(provider("p", chat_model(), base_url=f"{fake.url}/v1"), routing={"unknown_fields": "refuse"})
    answer = ask(chat, brand_new=1, another=2)
    assert (answer.status, error(answer)["param"]) == (400, "another")
    assert "unknown to the bridge: another, brand_new" in error(answer)["message"]
    assert fake.received == []
    assert ask(chat, top_k=5, logit_bias={}).status == 200


def test_with_refuse_the_allowed_fields_of_a_provider_pass_without_a_note(fake: FakeProvider) -> None:
    chat = function(
        provider("p", chat_model(), base_url=f"{fake.url}/v1", allow_fields=["brand_new"]),
        routing={"unknown_fields": "refuse"},
    )
    answer = ask(chat, brand_new=1)
    assert (answer.status, answer.json()["bridge"]["notes"]) == (200, [])


def test_with_the_guides_cost_limit_an_unknown_vendor_field_is_no_402(fake: FakeProvider) -> None:
    chat = function(provider("p", chat_model(), base_url=f"{fake.url}/v1"), routing={"max_cost_per_request": "0.10"})
    answer = ask(chat, brand_new={"a": 1})
    assert (answer.status, fake.received[0].body["brand_new"]) == (200, {"a": 1})


GATEWAYS_OWN: list[tuple[str, dict[str, Any]]] = [
    *[(kind, {"api_base": "http://evil"}) for kind in ("litellm", "openrouter", "openai")],
    *[(kind, {"extra_body": {"api_key": "sk-mine"}}) for kind in ("litellm", "openrouter", "openai")],
    *[(kind, {"models": ["dear/one"]}) for kind in ("litellm", "openrouter")],
    *[(kind, {"plugins": [{"id": "web"}]}) for kind in ("litellm", "openrouter")],
    ("litellm", {"user_config": {"model_list": []}}),
    ("litellm", {"fallbacks": ["gpt-4"]}),
    ("litellm", {"context_window_fallback_dict": {"a": "b"}}),
    ("litellm", {"aws_sts_endpoint": "http://evil"}),
    ("litellm", {"input_cost_per_token": 0}),
    ("litellm", {"guardrails": ["off"]}),
    ("litellm", {"mock_response": "free"}),
    ("litellm", {"metadata": {"langfuse_host": "http://evil"}}),
    ("litellm", {"tools": [{"type": "function", "function": {"name": "f"}, "api_base": "http://evil"}]}),
    ("openrouter", {"route": "fallback"}),
    ("openrouter", {"preset": "mine"}),
]


@pytest.mark.parametrize(("kind", "fields"), GATEWAYS_OWN, ids=str)
def test_a_field_that_would_use_the_bridges_key_otherwise_is_refused(
    fake: FakeProvider, kind: str, fields: dict[str, Any]
) -> None:
    answer = ask(function(provider("g", chat_model(), provider_type=kind, base_url=f"{fake.url}/v1")), **fields)
    assert (answer.status, error(answer)["code"]) == (400, "no_capable_model")
    assert f"it is not sent {next(iter(fields))}" in error(answer)["message"]
    assert fake.received == []


@pytest.mark.parametrize(("kind", "fields"), GATEWAYS_OWN, ids=str)
def test_a_request_with_such_a_field_goes_to_a_provider_that_does_not_take_it(
    fake: FakeProvider, second: FakeProvider, kind: str, fields: dict[str, Any]
) -> None:
    gateway = provider("g", chat_model(), provider_type=kind, base_url=f"{fake.url}/v1", priority=1)
    local = provider("local", chat_model("llama"), provider_type="ollama", base_url=second.url, priority=2)
    answer = ask(function(gateway, local), **fields)
    assert (answer.json()["bridge"]["provider_id"], fake.received) == ("local", [])


def test_allow_fields_lets_a_field_through_but_a_cost_limit_still_excludes_it(fake: FakeProvider) -> None:
    chat = function(
        provider("g", chat_model(), provider_type="openrouter", base_url=f"{fake.url}/v1", allow_fields=["plugins"])
    )
    assert ask(chat, plugins=[{"id": "web"}]).json()["bridge"]["notes"] == []
    assert fake.received[0].body["plugins"] == [{"id": "web"}]
    assert ask(chat, plugins=[{"id": "web"}], models=["dear/one"]).status == 400
    assert ask(chat, plugins=[{"id": "web"}], max_cost=1).status == 402


@pytest.mark.parametrize(
    "fields",
    [
        {"models": None, "plugins": [], "fallbacks": {}, "api_key": "", "guardrails": False},
        {"metadata": {"models": "a", "headers": "b", "route": "c", "tags": "d"}},
        {"litellm_session_id": "s", "litellm_metadata": {"tags": ["a"]}, "tags": ["a"]},
        {"provider": {"order": ["a"]}, "transforms": ["middle-out"], "reasoning": {"effort": "low"}},
    ],
    ids=str,
)
def test_fields_without_a_value_and_ordinary_fields_are_no_gateway_fields(
    fake: FakeProvider, fields: dict[str, Any]
) -> None:
    for kind in ("litellm", "openrouter"):
        chat = function(provider("g", chat_model(), provider_type=kind, base_url=f"{fake.url}/v1"))
        assert ask(chat, **fields).status == 200


def test_an_openrouter_that_is_configured_as_openai_is_recognised_by_its_address() -> None:
    chat = function(provider("g", chat_model(), base_url="https://openrouter.ai/api/v1"))
    assert error(ask(chat, plugins=[{"id": "web"}]))["code"] == "no_capable_model"


def test_embeddings_refuse_a_gateways_fields_and_bill_for_billable_ones(fake: FakeProvider) -> None:
    from sekha_llm_bridge.bootstrap import make_bridge
    from tests.fakes.settings import embedding_model, make_settings

    settings = make_settings(provider("g", embedding_model(), provider_type="litellm", base_url=f"{fake.url}/v1"))
    embeddings = Function("embeddings", make_bridge(settings))
    refused = embeddings("POST", "/v1/embeddings", {"input": "a", "api_base": "http://evil"})
    assert (refused.status, "api_base" in refused.json()["error"]["message"]) == (400, True)
    assert embeddings("POST", "/v1/embeddings", {"input": "a", "search": True, "max_cost": 1}).status == 402
    assert fake.received == []


def test_a_callers_key_is_in_no_error(fake: FakeProvider) -> None:
    answer = ask(
        function(provider("g", chat_model(), provider_type="litellm", base_url=f"{fake.url}/v1")), api_key="sk-secret"
    )
    assert "sk-secret" not in answer.text

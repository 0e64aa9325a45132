"""Names of models as a caller sees them: aliases, `provider/model`, pinned and preferred names, disabled models."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.models import ProviderConfig
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
HI = [{"role": "user", "content": "Hello"}]
REASON = "${OPENAI_API_KEY} has no value: set the variable OPENAI_API_KEY, or write a default with `:-`"


@pytest.fixture
def down() -> Iterator[FakeProvider]:
    """A provider that answers every chat with a 500."""
    with FakeProvider() as failing:
        failing.always(CHAT, Reply(500, {}))
        failing.always(EMBEDDINGS, Reply(500, {}))
        yield failing


def settings(fake: FakeProvider, down: FakeProvider, *, named_models: str = "pinned") -> Settings:
    made = make_settings(
        provider("first", chat_model("gpt-4o"), embedding_model("e"), base_url=f"{down.url}/v1", priority=1),
        provider(
            "second",
            chat_model("llama", max_output_tokens=100),
            chat_model("gpt-4o-mini"),
            embedding_model("e2", embedding_space="e"),
            embedding_model("other", dimension=4),
            base_url=f"{fake.url}/v1",
            priority=2,
        ),
        aliases={"claude": ["gpt-4o", "llama"], "quick": "chat_fast", "gpt-4o-mini": ["gpt-4o", "second/gpt-4o-mini"]},
        routing={"named_models": named_models},
        chroma={"default_collection": None},
    )
    off = provider("cloud", chat_model("gpt-5"), api_key="k")
    return replace(made, disabled=(DisabledProvider(ProviderConfig.model_validate(off), REASON),))


@pytest.fixture
def bridge(fake: FakeProvider, down: FakeProvider) -> Bridge:
    return make_bridge(settings(fake, down))


@pytest.fixture
def preferring(fake: FakeProvider, down: FakeProvider) -> Bridge:
    return make_bridge(settings(fake, down, named_models="preferred"))


def ask(bridge: Bridge | Function, model: str | None, **fields: Any) -> FunctionResponse:
    function = bridge if isinstance(bridge, Function) else Function("chat_completions", bridge)
    return function("POST", CHAT, {"model": model, "messages": HI, **fields})


def served(answer: FunctionResponse) -> str:
    receipt = answer.json()["bridge"]
    return f"{receipt['provider_id']}/{receipt['model_id']}"


def test_an_alias_for_a_list_fails_over_within_the_list(bridge: Bridge) -> None:
    answer = ask(bridge, "claude")
    assert served(answer) == "second/llama"
    assert answer.json()["model"] == "llama"
    assert [attempt["model_id"] for attempt in answer.json()["bridge"]["attempts"]] == ["gpt-4o", "llama"]


def test_an_alias_with_the_name_of_a_model_gives_it_others_for_its_failover(bridge: Bridge) -> None:
    assert served(ask(bridge, "gpt-4o-mini")) == "second/gpt-4o-mini"


def test_a_model_is_named_with_its_provider_as_in_the_errors_of_the_bridge(bridge: Bridge) -> None:
    chat = Function("chat_completions", bridge)
    assert served(ask(chat, "second/llama")) == "second/llama"
    assert served(ask(chat, None, preferred_model="second/llama")) == "second/llama"


def test_a_pinned_name_has_no_failover_and_its_error_speaks_of_that_model_only(bridge: Bridge) -> None:
    answer = ask(bridge, "gpt-4o")
    message = answer.json()["error"]["message"]
    assert answer.status == 502
    assert message.startswith("every provider of the model gpt-4o failed")
    assert "llama" not in message


def test_a_preferred_name_fails_over_to_any_model(preferring: Bridge) -> None:
    answer = ask(preferring, "gpt-4o")
    assert served(answer).startswith("second/")


def test_the_published_proxy_fails_over_where_names_are_preferred(preferring: Bridge) -> None:
    """It asks `/route`, then names the model that it was told."""
    question = {"task": "chat_small", "preferred_model": None, "require_vision": False, "max_cost": None}
    told = Function("route", preferring)("POST", "/api/v1/route", question).json()["model_id"]
    assert told == "gpt-4o"
    assert served(ask(preferring, told, temperature=0.7, max_tokens=None, stream=False)).startswith("second/")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"require_vision": True}, 400, "the model gpt-4o cannot do this: first/gpt-4o: cannot see images"),
        ({"task": "chat_smart"}, 400, "the model gpt-4o cannot do this: first/gpt-4o: not for chat_smart"),
        ({"max_cost": 0.0000001}, 402, "the model gpt-4o cannot answer within the cost limit of $0.0000001"),
    ],
)
def test_errors_for_a_pinned_name_speak_of_that_model_only(
    bridge: Bridge, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = ask(bridge, "gpt-4o", **fields)
    error = answer.json()["error"]
    assert (answer.status, error["message"].startswith(message)) == (status, True), error["message"]
    assert "llama" not in error["message"]
    assert "mini" not in error["message"]


def test_the_error_for_an_open_breaker_speaks_of_the_pinned_model_only(bridge: Bridge) -> None:
    chat = Function("chat_completions", bridge)
    for _ in range(5):
        ask(chat, "gpt-4o")
    answer = ask(chat, "gpt-4o")
    message = answer.json()["error"]["message"]
    assert answer.status == 503
    assert message.startswith("every provider of the model gpt-4o has an open circuit breaker (first/gpt-4o: ")
    assert "llama" not in message


@pytest.mark.parametrize("name", ["gpt-5", "cloud/gpt-5"])
def test_a_disabled_model_says_so_and_why(bridge: Bridge, name: str) -> None:
    answer = ask(bridge, name)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["message"] == (
        f"the model '{name}' is configured, but cannot be used: provider cloud is disabled: {REASON}"
    )
    assert Function("models", bridge)("GET", f"/v1/models/{name}").json()["error"]["message"] == error["message"]


def test_without_an_enabled_provider_the_error_says_why(fake: FakeProvider, down: FakeProvider) -> None:
    nothing = replace(settings(fake, down), providers=(), aliases={})
    message = ask(make_bridge(nothing), None).json()["error"]["message"]
    assert message == (f"no configured model can do this: no model is configured; provider cloud is disabled: {REASON}")


def test_the_list_of_models_has_aliases_auto_and_default_names_each_once(bridge: Bridge) -> None:
    rows = Function("models", bridge)("GET", "/v1/models").json()["data"]
    names = [row["id"] for row in rows]
    assert names == [
        *("gpt-4o", "e", "llama", "e2", "other"),
        *("claude", "quick", "gpt-4o-mini", "auto", "embedding", "chat_fast"),
    ]
    assert next(row for row in rows if row["id"] == "claude")["providers"] == ["first", "second"]


@pytest.mark.parametrize("name", ["auto", "claude", "quick", "chat_fast", "gpt-4o", "second/llama", "gpt-4o-mini"])
def test_every_name_can_be_retrieved(bridge: Bridge, name: str) -> None:
    answer = Function("models", bridge)("GET", f"/v1/models/{name}")
    assert (answer.status, answer.json()["id"], answer.json()["object"]) == (200, name, "model")
    assert Function("models", bridge)("GET", f"/v1/models/{name}:latest").status == 200  # as Ollama's list names it


def test_a_named_embedding_model_is_only_replaced_within_its_space(preferring: Bridge) -> None:
    """Vectors of another space would be useless to a caller that named a model."""
    function = Function("embeddings", preferring)
    answer = function("POST", EMBEDDINGS, {"input": "a text", "model": "e"})
    assert served(answer) == "second/e2"
    route = Function("route", preferring)("POST", "/api/v1/route", {"task": "embedding", "model": "e", "input": "a"})
    reasons = {row["model_id"]: row["excluded"] for row in route.json()["candidates"]}
    assert reasons["other"] == "its vectors are of the space other, not e"


def test_the_vectors_of_an_alias_are_of_one_space_whatever_the_text(fake: FakeProvider, down: FakeProvider) -> None:
    made = make_settings(
        provider(
            "p",
            embedding_model("small"),
            embedding_model("large", context_window=8192),
            chat_model("gpt"),
            base_url=f"{fake.url}/v1",
        ),
        aliases={"vectors": ["gpt", "small", "large"]},
        chroma={"default_collection": None},
    )
    function = Function("embeddings", make_bridge(made))
    assert served(function("POST", EMBEDDINGS, {"input": "short", "model": "vectors"})) == "p/small"
    long = function("POST", EMBEDDINGS, {"input": "word " * 3000, "model": "vectors"})
    assert (long.status, long.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_disabled_alias_says_why_where_it_is_retrieved(fake: FakeProvider, down: FakeProvider) -> None:
    made = replace(settings(fake, down), aliases={"newest": ("gpt-5",)})
    message = Function("models", make_bridge(made))("GET", "/v1/models/newest").json()["error"]["message"]
    assert message == f"the model 'newest' is configured, but cannot be used: provider cloud is disabled: {REASON}"


def test_an_alias_for_a_chat_gives_no_vectors(bridge: Bridge) -> None:
    answer = Function("embeddings", bridge)("POST", EMBEDDINGS, {"input": "a text", "model": "quick"})
    assert (answer.status, answer.json()["error"]["message"]) == (400, "model: quick gives no vectors")


def test_route_explains_an_alias(bridge: Bridge) -> None:
    body = Function("route", bridge)("POST", "/api/v1/route", {"model": "claude", "task": "chat_small"}).json()
    assert (body["model_id"], body["reason"]) == ("gpt-4o", "The model that the request names")
    assert [row["model_id"] for row in body["candidates"] if row["excluded"] is None] == ["gpt-4o", "llama"]

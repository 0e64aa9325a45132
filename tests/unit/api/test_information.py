"""The endpoints that report: route, models, tasks, health, and the scheduled check that health is based on."""

import asyncio
import re
import threading
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.api.health.endpoint import _status
from sekha_llm_bridge.api.paths import PATHS
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.jobs.health_check import check_all
from sekha_llm_bridge.resilience import Breaker, BreakerState, CheckResult, ProviderRecord, StoreUnavailable
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from tests.fakes.functions import Function
from tests.fakes.openai_format import count
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider


@pytest.fixture
def bridge(fake: FakeProvider) -> Bridge:
    return make_bridge(
        make_settings(
            provider(
                "local",
                chat_model("llama", price=None),
                chat_model("big", price=None, task="chat_smart"),
                provider_type="ollama",
                base_url=fake.url,
                priority=1,
            ),
            provider(
                "cloud",
                chat_model("org/gpt", supports_vision=True),
                embedding_model("e"),
                base_url="http://127.0.0.1:9/v1",
                priority=2,
            ),
            default_models={"chat_fast": "llama"},
        )
    )


def route(bridge: Bridge, **question: Any) -> Any:
    return Function("route", bridge)("POST", "/api/v1/route", question)


def test_route_answers_as_the_guide_shows(bridge: Bridge) -> None:
    body = route(bridge, task="chat_smart", require_vision=False, max_cost=0.05).json()
    assert {name: body[name] for name in ("provider_id", "model_id", "estimated_cost", "reason", "provider_type")} == {
        "provider_id": "local",
        "model_id": "big",
        "estimated_cost": 0.0,
        "reason": "Local model available, free",
        "provider_type": "ollama",
    }


def test_route_lists_every_configured_model_with_its_place_or_its_reason(bridge: Bridge) -> None:
    rows = route(bridge, task="chat_fast").json()["candidates"]
    assert [(row["model_id"], row["excluded"]) for row in rows] == [
        ("llama", None),
        ("org/gpt", None),
        ("big", "not for chat_small, but for chat_smart"),
        ("e", "not for chat_small, but for embedding"),
    ]


def test_route_prices_a_default_request_when_it_gets_none(bridge: Bridge) -> None:
    # 1000 × $1 + 500 × $2 per million tokens
    assert route(bridge, task="chat_small", preferred_model="org/gpt").json()["estimated_cost"] == 0.002


def test_route_prices_the_real_request_when_it_gets_one(bridge: Bridge) -> None:
    messages = [{"role": "user", "content": "Tell me a story. " * 200}]
    body = route(bridge, task="chat_small", preferred_model="org/gpt", messages=messages, max_tokens=10).json()
    # $1 for a million tokens of the prompt, $2 for one of the answer
    assert body["estimated_cost"] == (count({"messages": messages}).estimate + 10 * 2) / 1_000_000
    assert body["estimated_cost"] > 0.0007


def test_route_takes_a_chats_own_request_as_it_is(bridge: Bridge) -> None:
    body = route(bridge, model="org/gpt", messages=[{"role": "user", "content": "hi"}]).json()
    assert (body["model_id"], body["reason"]) == ("org/gpt", "The model that the request names")


def test_route_lists_every_model_also_where_none_is_capable(bridge: Bridge) -> None:
    error = route(bridge, task="chat_small", context_size=10**9).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["candidates"]
    assert all(row["excluded"] for row in error["candidates"])


def test_route_compares_context_size_with_the_windows_also_with_a_request(bridge: Bridge) -> None:
    answer = route(bridge, task="chat_small", context_size=100_000, messages=[{"role": "user", "content": "hi"}])
    assert (answer.status, "context window" in answer.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(("task", "model"), [("embedding", "chat_fast"), ("chat_small", "embedding")])
def test_route_refuses_a_model_name_that_the_request_itself_would_refuse(bridge: Bridge, task: str, model: str) -> None:
    answer = route(bridge, task=task, model=model)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "model")


def test_route_compares_context_size_with_the_windows(bridge: Bridge) -> None:
    answer = route(bridge, task="chat_small", context_size=100_000)
    assert answer.status == 400
    assert "context window" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("question", "param"), [({}, "task"), ({"task": "fly"}, "task"), ({"task": "vision", "max_cost": -1}, "max_cost")]
)
def test_an_invalid_route_request_is_a_400_with_its_path(bridge: Bridge, question: dict[str, Any], param: str) -> None:
    answer = route(bridge, **question)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param


def test_a_chat_does_what_route_explains(bridge: Bridge) -> None:
    asked = {
        "task": "chat_fast",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "stream": False,
    }
    explained = route(bridge, **asked).json()
    done = Function("chat_completions", bridge)("POST", "/v1/chat/completions", asked).json()
    first = explained["candidates"][0]
    assert (done["bridge"]["cost_bound"], done["bridge"]["estimated_cost"]) == (
        first["cost_bound"],
        first["estimated_cost"],
    )
    assert (done["bridge"]["provider_id"], done["bridge"]["model_id"]) == (
        explained["provider_id"],
        explained["model_id"],
    )


def test_embeddings_refuse_the_texts_that_route_refuses(bridge: Bridge, fake: FakeProvider) -> None:
    long = "word " * 1000
    explained = route(bridge, task="embedding", input=long)
    done = Function("embeddings", bridge)("POST", "/v1/embeddings", {"input": long})
    assert explained.status == done.status == 400
    assert explained.json()["error"]["code"] == done.json()["error"]["code"] == "context_length_exceeded"


def test_models_are_a_bare_array_with_the_fields_of_strict_parsers(bridge: Bridge) -> None:
    rows = Function("models", bridge)("GET", "/api/v1/models").json()
    assert [row["model_id"] for row in rows] == ["llama", "big", "org/gpt", "e"]
    needed = {
        "model_id": str,
        "provider_id": str,
        "task": str,
        "context_window": int,
        "supports_vision": bool,
        "supports_audio": bool,
    }
    assert all(isinstance(row[name], kind) for row in rows for name, kind in needed.items())
    assert rows[3]["dimension"] == 8


def test_openais_list_and_one_model_of_it(bridge: Bridge) -> None:
    models = Function("models", bridge)
    listed = models("GET", "/v1/models").json()
    assert listed["object"] == "list"
    own = ["auto", "embedding", "chat_fast", "chat_smart", "chat_vision"]
    assert [row["id"] for row in listed["data"]] == ["llama", "big", "org/gpt", "e", *own]
    assert models("GET", "/v1/models/org/gpt").json() == listed["data"][2]
    assert models("GET", "/v1/models/ghost").json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/llama", "/api/v1/models", "/api/v1/tasks"])
def test_head_is_answered_where_get_is(bridge: Bridge, path: str) -> None:
    models = Function("models", bridge)
    assert (models("HEAD", path).status, models("GET", path).status) == (200, 200)
    assert set(models("POST", path, {}).headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_every_listed_name_can_be_retrieved_and_used(bridge: Bridge) -> None:
    models, route_function = Function("models", bridge), Function("route", bridge)
    for row in models("GET", "/v1/models").json()["data"]:
        assert models("GET", f"/v1/models/{row['id']}").json() == row
        task = "embedding" if row["id"] in {"e", "embedding"} else None
        question = {"model": row["id"], "task": task, "messages": [{"role": "user", "content": "hi"}]}
        assert route_function("POST", "/api/v1/route", question).status == 200, row["id"]


def test_a_default_name_without_a_model_is_not_listed(fake: FakeProvider) -> None:
    settings = make_settings(provider("p", chat_model("chat_fast"), base_url=f"{fake.url}/v1"))
    models = Function("models", make_bridge(settings))
    assert [row["id"] for row in models("GET", "/v1/models").json()["data"]] == ["chat_fast", "auto"]
    assert models("GET", "/v1/models/chat_vision").status == 404


@pytest.mark.parametrize(
    ("name", "path", "meant"),
    [
        ("chat_completions", "/chat/completions", "/v1/chat/completions"),
        ("chat_completions", "/v1/chat/completion", "/v1/chat/completions"),
        ("chat_completions", "/v1/v1/chat/completions", "/v1/chat/completions"),
        ("embeddings", "/v1/embedding", "/v1/embeddings"),
        ("models", "/models", "/v1/models"),
        ("search", "/search", "/api/v1/search"),
    ],
)
def test_a_wrong_path_names_the_right_one(bridge: Bridge, name: str, path: str, meant: str) -> None:
    answer = Function(name, bridge)("POST", path, {})
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (404, "not_found")
    assert error["message"] == f"there is no {path} here; did you mean {meant}?"


def test_a_path_that_is_like_no_other_has_no_hint(bridge: Bridge) -> None:
    message = Function("models", bridge)("GET", "/nothing/here").json()["error"]["message"]
    assert message == "there is no /nothing/here here"


def test_the_hints_name_every_path_of_the_template() -> None:
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    routes = set(re.findall(r"\bPath: \"?(/[a-z0-9_/]+[a-z0-9])", template))
    assert routes == set(PATHS)


def test_route_refuses_a_misspelt_field(bridge: Bridge) -> None:
    answer = route(bridge, task="chat_small", max_costs=0.1)
    assert (answer.status, answer.json()["error"]["message"]) == (400, "max_costs: did you mean max_cost?")


@pytest.mark.parametrize(
    ("breaker", "status"),
    [(Breaker(BreakerState.OPEN, failure_count=5), "unhealthy"), (Breaker(BreakerState.HALF_OPEN), "degraded")],
)
def test_a_provider_whose_breaker_is_not_closed_is_not_healthy_whatever_the_check_says(
    breaker: Breaker, status: str
) -> None:
    now = datetime.now(UTC)
    check = CheckResult("p", is_healthy=True, checked_at=now, latency_ms=1)
    assert _status(ProviderRecord(breaker=breaker, check=check), check) == status


def test_tasks_are_those_with_a_configured_model(bridge: Bridge) -> None:
    rows = Function("models", bridge)("GET", "/api/v1/tasks").json()
    assert [(row["task"], row["default_model"], row["models"]) for row in rows] == [
        ("chat_small", "llama", ["llama", "org/gpt"]),
        ("chat_smart", None, ["big"]),
        ("vision", None, ["org/gpt"]),
        ("embedding", None, ["e"]),
    ]


def test_health_is_unknown_before_the_first_check(bridge: Bridge) -> None:
    body = Function("health", bridge)("GET", "/api/v1/health").json()
    assert body["status"] == "healthy"
    assert body["version"] == "2.0.0"
    assert body["providers"]["local"] == {
        "status": "unknown",
        "models_count": 2,
        "circuit_breaker": {"state": "closed", "failure_count": 0, "last_failure": None},
        "latency_ms": None,
        "last_checked": None,
        "error": None,
    }


def test_health_shows_the_results_of_the_scheduled_check(bridge: Bridge) -> None:
    found = asyncio.run(check_all(bridge))
    assert (found["local"]["status"], found["cloud"]["status"], found["cloud"]["error"]) == (
        "healthy",
        "unhealthy",
        "connect_failed",
    )
    body = Function("health", bridge)("GET", "/api/v1/health").json()
    assert body["status"] == "degraded"
    assert body["providers"]["local"]["status"] == "healthy"
    assert isinstance(body["providers"]["local"]["latency_ms"], int)
    assert body["providers"]["local"]["last_checked"].endswith("+00:00")
    assert body["providers"]["cloud"]["latency_ms"] is None


def test_health_is_a_503_when_every_provider_is_down(bridge: Bridge, fake: FakeProvider) -> None:
    fake.always("/api/tags", Reply(500, {}))
    asyncio.run(check_all(bridge))
    answer = Function("health", bridge)("GET", "/api/v1/health")
    assert (answer.status, answer.json()["status"]) == (503, "unhealthy")


def test_the_old_health_redirects_below_any_prefix_with_the_same_body(bridge: Bridge) -> None:
    health = Function("health", bridge)
    answer = health("GET", "/health")
    assert (answer.status, answer.headers["location"]) == (307, "api/v1/health")
    assert answer.json() == health("GET", "/api/v1/health").json()


@pytest.mark.parametrize(("tags", "status"), [({"models": []}, 200), (None, 503)])
def test_the_old_health_answers_by_itself_where_the_configuration_says_so(
    fake: FakeProvider, tags: object, status: int
) -> None:
    """Sekha's proxy 0.2 takes anything but a 200 as a failure."""
    fake.always("/api/tags", Reply(200 if tags else 500, tags))
    local = provider("local", chat_model(price=None), provider_type="ollama", base_url=fake.url)
    bridge = make_bridge(make_settings(local, health={"redirect": False}))
    asyncio.run(check_all(bridge))
    health = Function("health", bridge)
    answer, new = health("GET", "/health"), health("GET", "/api/v1/health")
    assert (answer.status, answer.json()) == (status, new.json())
    assert "location" not in answer.headers


def test_health_names_the_models_where_clients_of_v1_look_for_them(bridge: Bridge) -> None:
    body = Function("health", bridge)("GET", "/api/v1/health").json()
    assert body["models_loaded"] == ["llama", "big", "org/gpt", "e"]


def test_health_of_providers_has_totals(bridge: Bridge) -> None:
    asyncio.run(check_all(bridge))
    body = Function("health", bridge)("GET", "/api/v1/health/providers").json()
    assert (body["total_providers"], body["healthy_providers"], body["total_models"]) == (2, 1, 4)
    assert set(body["providers"]) == {"local", "cloud"}


def test_a_provider_that_cannot_be_called_does_not_affect_the_others(fake: FakeProvider) -> None:
    bad = provider("bad", chat_model(), base_url="http://☃.invalid/v1")
    found = asyncio.run(
        check_all(make_bridge(make_settings(bad, provider("p", chat_model(), base_url=f"{fake.url}/v1"))))
    )
    assert (found["bad"]["status"], found["p"]["status"]) == ("unhealthy", "healthy")


class HangingStore(MemoryProviderStore):
    """A store that does not answer."""

    async def record_check(self, result: CheckResult) -> None:
        raise StoreUnavailable("no answer")


def test_a_check_that_cannot_be_recorded_is_a_warning(fake: FakeProvider, log: StringIO) -> None:
    settings = make_settings(provider("p", chat_model(), base_url=f"{fake.url}/v1"))
    found = asyncio.run(check_all(make_bridge(settings, store=HangingStore())))
    assert found["p"]["status"] == "healthy"
    assert "state table unavailable" in log.getvalue()


def test_health_answers_head_requests(bridge: Bridge) -> None:
    assert Function("health", bridge)("HEAD", "/api/v1/health").status == 200


def test_all_providers_are_checked_at_the_same_time(fake: FakeProvider) -> None:
    everyone = threading.Barrier(5)  # no request is answered before all have arrived
    fake.script("/v1/models", *[Reply(body={}, barrier=everyone)] * 5)
    providers = [provider(f"p{i}", chat_model(), base_url=f"{fake.url}/v1") for i in range(5)]
    found = asyncio.run(check_all(make_bridge(make_settings(*providers))))
    assert [row["status"] for row in found.values()] == ["healthy"] * 5

"""What an API key may do: its models and tasks, its cost limit, its rates and its budgets, and the bridge's budget."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.quotas import Counter, Quota
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.vocabulary import Task
from tests.contract.test_quotas import CountingStore
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider
from tests.unit.api.chat_function import HI, PATH, error

# The fake provider bills 11 prompt tokens and 7 output tokens.
PRICE, COST_USD = (1.0, 2.0), Decimal("0.000025")
CLOUD_PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"messages": HI, "max_tokens": 10}


@pytest.fixture(autouse=True)
def _keys_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")


@pytest.fixture
def store() -> CountingStore:
    return CountingStore(MemoryQuotaStore())


@pytest.fixture
def paid() -> Iterator[FakeProvider]:
    with FakeProvider(text="paid") as fake:
        yield fake


@pytest.fixture
def free() -> Iterator[FakeProvider]:
    with FakeProvider(text="free") as fake:
        yield fake


def bridge(paid: FakeProvider, store: CountingStore, *more: dict[str, Any], **routing: Any) -> Bridge:
    cloud = provider(
        "cloud", chat_model("gpt", price=PRICE), embedding_model("e"), base_url=f"{paid.url}/v1", priority=1
    )
    settings = make_settings(cloud, *more, routing=routing, aliases={"best": ["gpt"], "home": ["llama"]})
    return make_bridge(settings, quota_store=store)


def local(free: FakeProvider) -> dict[str, Any]:
    return provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=free.url, priority=2)


def key(key_id: str = "key_a", **policy: Any) -> Caller:
    return Caller(key_id, {"team": "red"}, KeyPolicy(**policy))


def ask(chat: Function, caller: Caller | None, **fields: Any) -> FunctionResponse:
    return chat("POST", PATH, {**CHAT, **fields}, caller=caller)


def spent(bridge: Bridge, owner: str) -> Decimal:
    """What an owner has used today, in USD."""
    quota = Quota(owner, {Counter.DAY: 1, Counter.MONTH: 1})
    used = asyncio.new_event_loop().run_until_complete(bridge.spending_maker().quotas.read(quota)).used
    return Decimal(used.get(Counter.DAY, 0)) / 10**12


def test_a_function_is_closed_to_a_request_without_a_verified_key(paid: FakeProvider, store: CountingStore) -> None:
    answer = ask(Function("chat_completions", bridge(paid, store)), None)
    assert answer.status == 401
    assert error(answer)["code"] == "invalid_api_key"
    assert "sekha-bridge keys create" in error(answer)["message"]
    assert paid.received == []


def test_a_key_without_limits_writes_and_reads_nothing(paid: FakeProvider, store: CountingStore) -> None:
    assert ask(Function("chat_completions", bridge(paid, store)), key()).status == 200
    assert (store.reads, store.writes) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_with_a_budget_pays_what_its_receipts_say(
    paid: FakeProvider, store: CountingStore, *, stream: bool
) -> None:
    made = bridge(paid, store)
    chat, caller = Function("chat_completions", made), key(daily_usd=Decimal(1))
    ask(chat, caller, stream=stream)
    writes = store.writes
    assert ask(chat, caller, stream=stream).status == 200
    assert (store.writes - writes, store.reads) == (2, 0)
    assert spent(made, "key_a") == 2 * COST_USD


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_a_402_that_says_which_and_when_it_is_renewed(
    paid: FakeProvider, store: CountingStore, *, stream: bool
) -> None:
    chat, caller = Function("chat_completions", bridge(paid, store)), key(monthly_usd=Decimal("0.00017"))
    short: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "stream": stream}
    statuses = [chat("POST", PATH, short, caller=caller).status for _ in range(2)]
    answer = chat("POST", PATH, short, caller=caller)
    assert statuses[0] == 200
    assert answer.status == 402
    found = error(answer)
    assert (found["code"], found["type"]) == ("budget_exceeded", "cost_limit_error")
    assert (found["budget"]["of"], found["budget"]["period"]) == ("key_a", "month")
    assert found["budget"]["renews_at"].endswith("-01T00:00:00+00:00")
    assert "monthly budget of the API key key_a" in found["message"]


def test_the_route_endpoint_explains_by_what_is_left_of_a_budget(
    paid: FakeProvider, free: FakeProvider, store: CountingStore
) -> None:
    made = bridge(paid, store, local(free))
    chat, caller = Function("chat_completions", made), key(daily_usd=Decimal("0.0002"))
    route = Function("route", made)
    first = route("POST", "/api/v1/route", {**CHAT, "task": "chat_small"}, caller=caller).json()
    assert first["model_id"] == "gpt"
    while ask(chat, caller).json()["model"] == "gpt":
        pass
    answer = route("POST", "/api/v1/route", {**CHAT, "task": "chat_small"}, caller=caller).json()
    assert answer["model_id"] == "llama"
    assert "over the limit" in answer["candidates"][-1]["excluded"]
    only_paid = key(daily_usd=Decimal("0.0002"), models=("gpt",))
    refused = route("POST", "/api/v1/route", {**CHAT, "task": "chat_small"}, caller=only_paid)
    assert (refused.status, error(refused)["code"]) == (402, "budget_exceeded")
    assert error(refused)["budget"]["needed_usd"] > error(refused)["budget"]["left_usd"]


def test_free_models_go_on_when_a_budget_is_spent(paid: FakeProvider, free: FakeProvider, store: CountingStore) -> None:
    chat = Function("chat_completions", bridge(paid, store, local(free)))
    caller = key(daily_usd=Decimal("0.0002"))
    models = [ask(chat, caller).json()["model"] for _ in range(6)]
    assert models[0] == "gpt"
    assert models[-1] == "llama"


def test_the_rest_of_a_budget_is_used_by_a_shorter_answer(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store, min_output_tokens=1)
    chat, caller = Function("chat_completions", made), key(daily_usd=Decimal("0.001"))
    answer = ask(chat, caller, max_tokens=5000)
    assert answer.status == 200
    assert paid.received[-1].body["max_tokens"] < 500
    assert answer.json()["bridge"]["cost_bound"] <= 0.001
    second = ask(chat, caller, max_tokens=500)
    assert second.status == 200
    assert any("left of a budget" in note for note in second.json()["bridge"]["notes"])


def test_the_budget_of_the_bridge_holds_for_all_keys(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store, budget={"daily_usd": 0.0003})
    chat = Function("chat_completions", made)
    answers = [ask(chat, key(f"key_{n}")) for n in range(20)]
    refused = [one for one in answers if one.status != 200]
    assert refused
    assert {error(one)["budget"]["of"] for one in refused} == {"bridge"}
    assert spent(made, "bridge") == COST_USD * (20 - len(refused)) <= Decimal("0.0003")


def test_what_a_failed_attempt_may_have_cost_is_spent(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store)
    chat, caller = Function("chat_completions", made), key(daily_usd=Decimal(1))
    paid.script(CLOUD_PATH, Reply(500))
    assert ask(chat, caller).status == 502
    assert spent(made, "key_a") == 0, "an error is not billed"
    paid.script(CLOUD_PATH, Reply(reset=True))
    failed = ask(chat, caller)
    assert failed.status == 502
    assert spent(made, "key_a") == Decimal(str(error(failed)["cost_bound"])) > 0, "it may have been billed"


def test_a_model_that_a_key_may_not_use_does_not_exist_for_it(
    paid: FakeProvider, free: FakeProvider, store: CountingStore
) -> None:
    made = bridge(paid, store, local(free))
    chat, models, route = [Function(name, made) for name in ("chat_completions", "models", "route")]
    for allowed in ("llama", "local/llama", "local/*", "home"):
        caller = key(models=(allowed,))
        assert ask(chat, caller).json()["model"] == "llama"
        refused = ask(chat, caller, model="gpt")
        assert (refused.status, error(refused)["code"]) == (404, "model_not_found")
        assert ask(chat, caller, model="best").status == 404
        assert ask(chat, caller, preferred_model="gpt").json()["model"] == "llama"
        listed = [row["id"] for row in models("GET", "/v1/models", caller=caller).json()["data"]]
        assert "gpt" not in listed
        assert "best" not in listed
        assert {"llama", "auto", "home"} <= set(listed)
        assert models("GET", "/v1/models/gpt", caller=caller).status == 404
        explained = route("POST", "/api/v1/route", {"task": "chat_small"}, caller=caller).json()
        assert [row["model_id"] for row in explained["candidates"]] == ["llama"]
    assert paid.received == []


def test_a_key_that_names_no_configured_model_may_use_none(paid: FakeProvider, store: CountingStore) -> None:
    answer = ask(Function("chat_completions", bridge(paid, store)), key(models=("gone",)))
    assert (answer.status, error(answer)["code"]) == (400, "no_capable_model")


def test_a_task_that_a_key_may_not_use_is_a_403(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store)
    only_embeddings, only_chats = key(tasks=(Task.EMBEDDING,)), key(tasks=(Task.CHAT_SMALL,))
    refused = ask(Function("chat_completions", made), only_embeddings)
    assert (refused.status, error(refused)["code"]) == (403, "not_allowed_for_key")
    embed = Function("embeddings", made)
    assert embed("POST", "/v1/embeddings", {"input": "a", "store": False}, caller=only_chats).status == 403
    assert embed("POST", "/v1/embeddings", {"input": "a", "store": False}, caller=only_embeddings).status == 200
    assert ask(Function("chat_completions", bridge(paid, store)), only_chats).status == 200


def test_the_cost_limit_of_a_key_holds_beside_the_others(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store, max_cost_per_request=1)
    caller = key(max_cost_per_request_usd=Decimal("0.000001"))
    answer = ask(Function("chat_completions", made), caller, max_cost=0.5)
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")
    route = Function("route", made)("POST", "/api/v1/route", {"task": "chat_small"}, caller=caller)
    assert (route.status, error(route)["code"]) == (402, "cost_limit_exceeded")


def test_a_model_without_a_price_is_excluded_by_a_budget(paid: FakeProvider, store: CountingStore) -> None:
    unpriced = provider("other", chat_model("new", price=None), base_url=f"{paid.url}/v1")
    made = make_bridge(make_settings(unpriced), quota_store=store)
    answer = ask(Function("chat_completions", made), key(daily_usd=Decimal(1)))
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")


def test_the_rate_of_a_key_is_a_429_with_the_time_to_wait(paid: FakeProvider, store: CountingStore) -> None:
    chat, caller = Function("chat_completions", bridge(paid, store)), key(requests_per_minute=2)
    statuses = [ask(chat, caller).status for _ in range(4)]
    assert statuses.count(429) >= 1
    answer = ask(chat, caller)
    assert (answer.status, error(answer)["code"]) == (429, "key_limit_exceeded")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert ask(chat, key("key_b", requests_per_minute=2)).status == 200, "each key has its own"


def test_the_places_of_requests_at_once_are_free_again_after_each_request(
    paid: FakeProvider, store: CountingStore
) -> None:
    chat, caller = Function("chat_completions", bridge(paid, store)), key(concurrent_requests=1)
    for stream in (False, True, False):
        assert ask(chat, caller, stream=stream).status == 200
    paid.always(CLOUD_PATH, Reply(500))
    for _ in range(3):
        assert ask(chat, caller).status in {502, 503}


def test_the_table_of_the_budgets_down_is_a_503_for_paid_requests(
    paid: FakeProvider, store: CountingStore, free: FakeProvider
) -> None:
    store.is_down = True
    caller = key(daily_usd=Decimal(1))
    answer = ask(Function("chat_completions", bridge(paid, store)), caller)
    assert (answer.status, error(answer)["code"]) == (503, "access_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert ask(Function("chat_completions", bridge(paid, store, local(free))), caller, model="llama").status == 200
    opened = bridge(paid, store, budget={"fail_open": True})
    assert ask(Function("chat_completions", opened), caller).status == 200


def test_an_embedding_is_paid_from_the_budget_of_its_key(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store)
    embed = Function("embeddings", made)
    body = {"input": ["a", "b"], "store": False}
    answer = embed("POST", "/v1/embeddings", body, caller=key(daily_usd=Decimal(1)))
    assert answer.status == 200
    assert spent(made, "key_a") == Decimal(str(answer.json()["bridge"]["cost"])) > 0


def test_an_answer_without_usage_is_paid_by_its_bound(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store)
    body = {key: value for key, value in chat_completion("hi", model="gpt").items() if key != "usage"}
    paid.script(CLOUD_PATH, Reply(body=body))
    answer = ask(Function("chat_completions", made), key(daily_usd=Decimal(1))).json()["bridge"]
    assert spent(made, "key_a") == Decimal(str(answer["cost_bound"])) > Decimal(str(answer["cost"]))


def test_a_free_model_that_may_answer_soon_is_worth_a_retry_when_a_budget_is_spent(
    paid: FakeProvider, free: FakeProvider, store: CountingStore
) -> None:
    made = bridge(paid, store, local(free), circuit_breaker={"failure_threshold": 1, "timeout_secs": 60})
    chat, caller = Function("chat_completions", made), key(daily_usd=Decimal("0.0002"))
    while ask(chat, caller).json()["model"] == "gpt":
        pass
    free.always("/api/chat", Reply(500))
    ask(chat, caller)
    answer = ask(chat, caller)
    assert (answer.status, error(answer)["code"]) == (503, "no_provider_available")
    assert int(answer.headers["retry-after"]) > 0


def test_a_budget_that_is_too_small_for_a_request_is_named(paid: FakeProvider, store: CountingStore) -> None:
    made = bridge(paid, store)
    answer = ask(Function("chat_completions", made), key(daily_usd=Decimal("0.00001")))
    found = error(answer)
    assert (answer.status, found["code"]) == (402, "budget_exceeded")
    assert (found["budget"]["of"], found["budget"]["period"], found["budget"]["limit_usd"]) == ("key_a", "day", 0.00001)


def test_a_restricted_key_sees_no_name_that_it_may_not_use(
    paid: FakeProvider, free: FakeProvider, store: CountingStore
) -> None:
    cloud = provider(
        "cloud",
        chat_model("open", price=PRICE),
        {**chat_model("secret", price=PRICE), "task": "chat_smart"},
        base_url=f"{paid.url}/v1",
    )
    settings = make_settings(
        cloud,
        local(free),
        default_models={"chat_fast": "open", "chat_smart": "secret"},
        aliases={"both": ["open", "secret"], "quick": ["chat_fast"], "clever": ["chat_smart"]},
    )
    made = make_bridge(settings, quota_store=store)
    caller = key(models=("open",))
    models, health = Function("models", made), Function("health", made)
    for path in ("/v1/models", "/api/v1/models", "/api/v1/tasks"):
        text = models("GET", path, caller=caller).text
        assert "secret" not in text
        assert "clever" not in text
        assert "chat_smart" not in text
    assert "quick" in models("GET", "/v1/models", caller=caller).text
    assert set(health("GET", "/api/v1/health/providers", caller=caller).json()["providers"]) == {"cloud"}
    chat = Function("chat_completions", made)
    answer = ask(chat, caller, model="both")
    assert answer.json()["model"] == "open"
    assert "secret" not in answer.text
    assert ask(chat, caller, model="quick").json()["model"] == "open"


def test_a_task_that_a_key_may_not_use_is_not_listed(paid: FakeProvider, store: CountingStore) -> None:
    multi = {**chat_model("multi", price=PRICE), "tasks": ["chat_small", "chat_smart"]}
    multi.pop("task")
    made = make_bridge(make_settings(provider("cloud", multi, base_url=f"{paid.url}/v1")), quota_store=store)
    models = Function("models", made)
    caller = key(tasks=(Task.CHAT_SMALL,))
    assert [row["task"] for row in models("GET", "/api/v1/tasks", caller=caller).json()] == ["chat_small"]
    assert "chat_smart" not in models("GET", "/v1/models", caller=caller).text


def test_the_limit_of_a_key_or_a_budget_replaces_the_default_one(paid: FakeProvider, store: CountingStore) -> None:
    dear = provider("cloud", chat_model("gpt", price=(10_000, 20_000)), base_url=f"{paid.url}/v1")
    made = make_bridge(make_settings(dear), quota_store=store)
    chat = Function("chat_completions", made)
    policies: tuple[dict[str, Any], ...] = ({"max_cost_per_request_usd": Decimal(50)}, {"daily_usd": Decimal(100)})
    for policy in policies:
        assert ask(chat, key(**policy)).status == 200

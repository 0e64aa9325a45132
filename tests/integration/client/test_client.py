"""Both clients against the whole bridge, over HTTP."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import sekha_llm_bridge
from local_stack.testing import RunningStack
from sekha_llm_bridge import (
    AllProvidersFailed,
    BridgeError,
    CollectionNotFound,
    ContentRefused,
    CostLimitExceeded,
    InvalidRequest,
    LlmBridge,
    ModelNotFound,
    NoCapableModel,
    RateLimited,
    StreamInterrupted,
    UnknownPath,
)
from sekha_llm_bridge.client.call import get
from tests.clients.both_clients import Client
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, vector_of

pytestmark = pytest.mark.stack
CHAT = "/v1/chat/completions"

# The examples of the migration guide, "Python Client", as written.
GUIDE_V1 = """
from sekha_llm_bridge import LlmBridge

bridge = LlmBridge(base_url="http://localhost:8000")
response = bridge.chat("Hello", model="llama3.1:8b")
"""
GUIDE_V2 = """
from sekha_llm_bridge import LlmBridge

bridge = LlmBridge(base_url="http://localhost:8000")

# Auto-routing (uses cheapest available model)
response = bridge.chat("Hello")

# Preferred model with fallback
response = bridge.chat("Hello", preferred_model="llama3.1:8b")

# Vision request
response = bridge.chat_with_image(
    "What's in this image?",
    image_url="https://example.com/image.jpg"
)

# Cost-aware request
response = bridge.chat("Hello", max_cost=0.01)
"""


@pytest.mark.parametrize("example", [GUIDE_V1, GUIDE_V2], ids=["v1", "v2"])
def test_the_examples_of_the_migration_guide_run_as_written(
    stack: RunningStack, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NO_PROXY", "localhost,127.0.0.1")
    names: dict[str, Any] = {}
    exec(example.replace("http://localhost:8000", stack.base_url), names)  # noqa: S102 — the example is what is tested
    assert str(names["response"]).startswith("Hello from the")


def test_a_chat_has_a_text_a_model_a_provider_and_a_cost(client: Client, primary: FakeProvider) -> None:
    reply = client.call("chat", "Hello", system="Be brief.", temperature=0)
    assert str(reply) == reply.text == "Hello from the first."
    assert (reply.model, reply.provider_id, reply.finish_reason) == ("gpt", "paid", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (11, 7)
    assert reply.cost == Decimal("0.000025")  # 11 * $1 + 7 * $2 for a million
    assert reply.request_id
    assert reply.bridge["attempts"][0]["provider_id"] == "paid"
    sent = primary.calls(CHAT)[-1].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["temperature"] == 0


def test_a_conversation_is_continued_with_the_reply(client: Client, primary: FakeProvider) -> None:
    first = client.call("chat", "Hello")
    client.call("chat", [{"role": "user", "content": "Hello"}, first, {"role": "user", "content": "And?"}])
    contents = [message["content"] for message in primary.calls(CHAT)[-1].body["messages"]]
    assert contents == ["Hello", "Hello from the first.", "And?"]


def test_a_model_is_pinned_or_preferred(client: Client) -> None:
    assert client.call("chat", "Hello", model="llama3.1:8b").provider_id == "local"
    assert client.call("chat", "Hello", preferred_model="llama3.1:8b").provider_id == "local"
    assert client.call("chat", "Hello", task="chat_smart").model == "gpt-4o"
    assert client.call("chat", "Hello", require_vision=True).model == "gpt-4o"


def test_a_failover_is_not_seen_but_in_the_receipt(client: Client, primary: FakeProvider) -> None:
    primary.always(CHAT, Reply(500, {}))
    reply = client.call("chat", "Hello")
    assert (str(reply), reply.provider_id) == ("Hello from the second.", "local")
    assert [attempt["provider_id"] for attempt in reply.bridge["attempts"]][-1] == "local"


@pytest.mark.parametrize("amount", [0.00000001, "0.00000001", Decimal("1E-8")])
def test_a_cost_limit_in_any_form_is_a_limit(client: Client, amount: object) -> None:
    with pytest.raises(CostLimitExceeded) as caught:
        client.call("chat", "Hello", model="gpt", max_cost=amount)
    assert (caught.value.status, caught.value.attempts) == (402, ())
    assert caught.value.request_id


def test_an_image_file_reaches_the_provider_as_a_data_url(
    client: Client, primary: FakeProvider, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(png())
    reply = client.call("chat_with_image", "What is it?", image_path=tmp_path / "image", max_tokens=50)
    assert reply.model == "gpt-4o"
    (message,) = primary.calls(CHAT)[-1].body["messages"]
    assert message["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_stream_is_texts_and_then_a_reply(client: Client) -> None:
    stream = client.stream("Hello")
    assert list(stream) == ["Hello", " from", " the", " first."]
    reply = stream.reply
    assert (str(reply), reply.model, reply.provider_id, reply.finish_reason) == (
        *("Hello from the first.", "gpt", "paid"),
        "stop",
    )
    assert (reply.cost, reply.usage.total_tokens) == (Decimal("0.000025"), 18)
    assert reply.request_id


def test_a_stream_whose_provider_breaks_off_is_an_error_with_the_attempts(
    client: Client, primary: FakeProvider
) -> None:
    primary.always(CHAT, Reply(stream=Stream([chunk({"role": "assistant", "content": "Hel"})], ending="closed")))
    stream = client.stream("Hello", model="gpt")
    assert next(stream) == "Hel"
    with pytest.raises(StreamInterrupted) as caught:
        list(stream)
    assert caught.value.attempts[0]["provider_id"] == "paid"
    assert len(primary.calls(CHAT)) == 1


def test_leaving_a_stream_cancels_the_providers_answer(client: Client, primary: FakeProvider) -> None:
    silent = Stream([chunk({"role": "assistant", "content": "Hel"})], ending="silent")
    primary.always(CHAT, Reply(stream=silent))
    for text in client.stream("Hello", model="gpt"):
        assert text == "Hel"
        break
    assert silent.client_disconnected.wait(timeout=10)


def test_vectors_are_stored_and_found(client: Client, request: pytest.FixtureRequest) -> None:
    name = f"notes-{request.node.callspec.id}"
    texts = ["a cat", "a dog"]
    embedded = client.call("embed", texts, collection=name, ids=["c", "d"], metadatas=[{"n": 1}, {"n": 2}])
    assert embedded.vectors == (tuple(vector_of("a cat", 8)), tuple(vector_of("a dog", 8)))
    assert (embedded.model, embedded.provider_id, embedded.dimension) == ("mini", "paid", 8)
    assert (embedded.collection, embedded.stored, embedded.pending, embedded.ids) == (f"{name}_8", 2, 0, ("c", "d"))
    assert embedded.cost is not None
    found = client.call("search", "a cat", collection=name, n_results=2)
    assert [match.id for match in found] == ["c", "d"]
    assert (found.matches[0].document, found.matches[0].metadata, len(found)) == ("a cat", {"n": 1}, 2)
    assert found.matches[0].score > found.matches[1].score
    (match,) = client.call("search", "a cat", collection=name, where={"n": 2})
    assert (match.id, match.collection) == ("d", f"{name}_8")


def test_one_text_has_one_vector_and_need_not_be_stored(client: Client) -> None:
    embedded = client.call("embed", "a bird", store=False)
    assert list(embedded.vector) == vector_of("a bird", 8)
    assert (embedded.collection, embedded.stored) == (None, 0)


def test_a_search_in_an_unknown_collection_is_an_error(client: Client) -> None:
    with pytest.raises(CollectionNotFound) as caught:
        client.call("search", "a cat", collection="nothing-here")
    assert caught.value.param == "collection"


def test_a_route_has_every_candidate_with_its_cost_or_exclusion(client: Client, primary: FakeProvider) -> None:
    before = len(primary.received)
    route = client.call("route", "chat_smart")
    assert (route.model_id, route.provider_id, route.estimated_cost) == ("gpt-4o", "paid", Decimal("0.02"))
    excluded = {one.model_id: one.excluded for one in route.candidates}
    assert excluded["gpt-4o"] is None
    assert excluded["gpt"]
    assert client.call("route", messages=[{"role": "user", "content": "Hello"}]).model_id == "gpt"
    assert client.call("route", "embedding", input="Hello").model_id == "mini"
    assert len(primary.received) == before


def test_a_route_that_no_model_can_take_has_the_reason_for_each(client: Client) -> None:
    with pytest.raises(CostLimitExceeded) as caught:
        client.call("route", "chat_smart", max_cost="0.0001")
    assert "gpt-4o" in {row["model_id"] for row in caught.value.candidates if row["excluded"]}


def test_models_and_names_are_listed(client: Client) -> None:
    models = {model.model_id: model for model in client.call("models")}
    assert set(models) == {"gpt", "gpt-4o", "mini", "llama3.1:8b", "busy"}
    smart = models["gpt-4o"]
    assert (smart.provider_id, smart.tasks, smart.supports_vision) == ("paid", ("chat_smart", "vision"), True)
    assert (smart.input_usd_per_mtok, smart.output_usd_per_mtok) == (10, 20)
    assert {"auto", "chat_fast"} <= set(client.call("names"))


def test_health_has_every_provider(client: Client) -> None:
    health = client.call("health")
    assert (health.version, list(health.providers)) == (sekha_llm_bridge.__version__, ["paid", "local", "last"])
    assert health.providers["paid"].breaker_state == "closed"


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"model": "none"}, ModelNotFound, "model"),
        ({"temperature": 3}, InvalidRequest, "temperature"),
        ({"max_costs": 1}, InvalidRequest, "max_costs"),
        ({"task": "chat_smart", "model": "mini"}, BridgeError, None),
        ({"task": "audio"}, NoCapableModel, None),
    ],
)
def test_a_wrong_request_is_a_typed_error(client: Client, fields: Any, kind: type[BridgeError], param: str) -> None:
    with pytest.raises(kind) as caught:
        client.call("chat", "Hello", **fields)
    assert 400 <= caught.value.status < 500
    if param is not None:
        assert caught.value.param == param
    with pytest.raises(kind):
        list(client.stream("Hello", **fields))


def test_a_path_that_does_not_exist_is_a_typed_error(stack: RunningStack) -> None:
    with LlmBridge(stack.base_url, trust_env=False) as bridge, pytest.raises(UnknownPath):
        bridge.transport.run(get("/v1/nothing", lambda *_: None))


def test_refused_content_is_a_typed_error(client: Client, primary: FakeProvider) -> None:
    refusal = {"error": {"message": "no", "type": "invalid_request_error", "code": "content_policy_violation"}}
    primary.always(CHAT, Reply(400, refusal))
    with pytest.raises(ContentRefused):
        client.call("chat", "Hello")


def test_all_providers_failing_is_one_error_with_each_attempt_and_is_not_repeated(
    client: Client, primary: FakeProvider, backup: FakeProvider
) -> None:
    primary.always(CHAT, Reply(500, {}))
    backup.always("/api/chat", Reply(500, {}))
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("chat", "Hello", allow_fallback=True)
    assert {attempt["provider_id"] for attempt in caught.value.attempts} == {"paid", "local", "last"}
    assert client.waits_s == []


def test_a_limited_rate_is_a_typed_error_with_the_wait(
    client: Client, primary: FakeProvider, backup: FakeProvider
) -> None:
    primary.always(CHAT, Reply(429, {"error": {"message": "slow down"}}, {"retry-after": "1"}))
    with pytest.raises(RateLimited) as caught:
        client.call("chat", "Hello", model="busy")
    assert caught.value.retry_after_s == 1
    assert client.waits_s == [1.0, 1.0]


def test_tool_calls_are_typed(client: Client, primary: FakeProvider) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Tromsø"}'}}]
    primary.always(CHAT, Reply(body={**chat_completion(None, tool_calls=calls)}))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    (call,) = client.call("chat", "Weather?", model="gpt", tools=tools).tool_calls
    assert (call.name, call.parsed_arguments()) == ("weather", {"city": "Tromsø"})

"""A provider's own count of the prompt: asked only where a cost limit or a context window depends on it."""

from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers.registry import capabilities_for
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider

CHAT, COUNT = "/v1/chat/completions", "/v1/messages/count_tokens"
# 50,000 bytes, of which a tokenizer makes some 10,000 tokens: $0.05 by bytes at $1 per million tokens, $0.01 by a count.
LONG = [{"role": "user", "content": "word " * 10_000}]
BY_BYTES_ONLY = "0.02"
PRICING = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2, "cache_write_usd_per_mtok": 1}


def claude(fake: FakeProvider, **fields: Any) -> dict[str, Any]:
    model = chat_model("claude-sonnet-4-5", **{"context_window": 200_000, "pricing": PRICING, **fields})
    return provider("claude", model, provider_type="anthropic", trust_token_counts=True, base_url=fake.url, api_key="k")


@pytest.fixture
def chat(fake: FakeProvider) -> Function:
    return function(fake)


def function(fake: FakeProvider, *others: dict[str, Any], name: str = "chat_completions", **fields: Any) -> Function:
    return Function(name, make_bridge(make_settings(claude(fake, **fields), *others)))


def ask(chat: Function, **fields: Any) -> FunctionResponse:
    return chat("POST", CHAT, {"messages": LONG, "max_tokens": 100, "max_cost": float(BY_BYTES_ONLY), **fields})


def test_a_prompt_that_fits_the_limit_by_the_providers_count_is_answered(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    answer = ask(chat)
    assert answer.status == 200, answer.text
    # 10,000 tokens, 2 % and 32 more at $1 per million, and 100 of output at $2.
    assert answer.json()["bridge"]["cost_bound"] == pytest.approx((10_232 + 200) / 1_000_000)
    assert [request.path for request in fake.received] == [COUNT, "/v1/messages"]
    counted, sent = (request.body for request in fake.received)
    assert counted["messages"] == sent["messages"]
    assert "max_tokens" not in counted


def test_a_prompt_that_does_not_fit_by_the_count_is_a_402(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": 30_000}))
    answer = ask(chat)
    assert (answer.status, answer.json()["error"]["code"]) == (402, "cost_limit_exceeded")
    assert len(fake.received) == 1


def test_the_count_of_another_server_is_not_trusted_unless_configured(fake: FakeProvider) -> None:
    settings = make_settings({**claude(fake), "trust_token_counts": None})
    chat = Function("chat_completions", make_bridge(settings))
    assert ask(chat).status == 402
    assert fake.received == []


@pytest.mark.parametrize(
    ("kind", "base_url", "is_trusted"),
    [
        ("anthropic", None, True),
        ("anthropic", "https://api.anthropic.com/v1", True),
        ("anthropic", "https://litellm.example.com", False),
        ("anthropic", "https://api.anthropic.com.example.com", False),
        ("bedrock", None, True),
        ("bedrock", "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", True),
        ("bedrock", "https://bedrock.example.com", False),
        ("ollama", None, False),
    ],
)
def test_the_counts_of_the_vendors_themselves_are_trusted(kind: str, base_url: str | None, *, is_trusted: bool) -> None:
    fields = provider("p", chat_model(), provider_type=kind, base_url=base_url, api_key="k")
    assert capabilities_for(ProviderConfig.model_validate(fields)).counts_tokens is is_trusted


def test_without_a_limit_nothing_is_counted(chat: Function, fake: FakeProvider) -> None:
    assert ask(chat, max_cost=None).status == 200
    assert [request.path for request in fake.received] == ["/v1/messages"]


def test_a_request_that_fits_by_its_bytes_is_not_counted(chat: Function, fake: FakeProvider) -> None:
    assert ask(chat, max_cost=0.06).status == 200
    assert [request.path for request in fake.received] == ["/v1/messages"]


def test_a_request_that_cannot_fit_is_not_counted(chat: Function, fake: FakeProvider) -> None:
    assert ask(chat, max_cost=0.0001).status == 402
    assert fake.received == []


def test_an_answer_that_the_bytes_would_shorten_gets_its_whole_length(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    assert ask(chat, max_tokens=8_000, max_cost=0.06).status == 200
    assert fake.received[-1].body["max_tokens"] == 8_000


def test_the_count_shows_that_a_prompt_fits_the_context_window(fake: FakeProvider) -> None:
    chat = function(fake, context_window=7_000)
    fake.script(COUNT, Reply(body={"input_tokens": 6_000}))
    assert ask(chat, max_cost=None).status == 200
    fake.script(COUNT, Reply(body={"input_tokens": 7_500}))
    answer = ask(chat, max_cost=None)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    "reply", [Reply(500, {}), Reply(404, {}), Reply(reset=True), Reply(body={"input_tokens": "many"}), Reply(delay_s=5)]
)
def test_a_count_that_fails_changes_nothing_and_is_not_asked_again(fake: FakeProvider, reply: Reply) -> None:
    bridge = make_bridge(make_settings(claude(fake)))
    chat = Function("chat_completions", bridge)
    fake.script(COUNT, reply)
    answer = ask(chat)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error.get("attempts", [])) == (402, "cost_limit_exceeded", [])
    assert all(not record.breaker.failure_count for record in bridge.breakers.records.values())
    if reply.body != {"input_tokens": "many"}:
        assert ask(chat).status == 402
        assert len(fake.received) == 1


@pytest.mark.parametrize(("replies", "fields"), [((), {"temperature": 1.5}), ((Reply(400, {}),), {})], ids=str)
def test_a_request_that_cannot_be_counted_keeps_no_other_from_being_counted(
    chat: Function, fake: FakeProvider, replies: tuple[Reply, ...], fields: dict[str, Any]
) -> None:
    fake.script(COUNT, *replies, Reply(body={"input_tokens": 10_000}))
    assert ask(chat, **fields).status == 402
    assert ask(chat).status == 200


def test_route_explains_by_the_same_count(fake: FakeProvider) -> None:
    route = function(fake, name="route")
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    fields = {"messages": LONG, "max_tokens": 100, "max_cost": float(BY_BYTES_ONLY)}
    answer = route("POST", "/api/v1/route", fields)
    assert (answer.status, answer.json()["model_id"]) == (200, "claude-sonnet-4-5"), answer.text
    assert answer.json()["candidates"][0]["cost_bound"] == pytest.approx((10_232 + 200) / 1_000_000)


def test_a_model_behind_the_first_candidate_is_not_counted(fake: FakeProvider) -> None:
    with FakeProvider() as other:
        free = provider(
            "free", chat_model("m", price=(0, 0), context_window=200_000), base_url=f"{other.url}/v1", priority=1
        )
        chat = Function("chat_completions", make_bridge(make_settings(free, {**claude(fake), "priority": 2})))
        assert ask(chat).json()["bridge"]["provider_id"] == "free"
    assert fake.received == []


def test_a_document_is_bounded_by_the_count(chat: Function, fake: FakeProvider) -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="}}
    fake.script(COUNT, Reply(body={"input_tokens": 3_000}))
    answer = ask(chat, messages=[{"role": "user", "content": [{"type": "text", "text": "Read this."}, file]}])
    assert answer.status == 200, answer.text
    assert answer.json()["bridge"]["cost_bound"] == pytest.approx((3_092 + 200) / 1_000_000)


PDF_BY_URL = [{"file_data": "https://example.com/a.pdf"}, {"file_id": "https://example.com/a.pdf"}]


@pytest.mark.parametrize("file", PDF_BY_URL, ids=str)
def test_a_document_by_url_is_not_bounded_by_a_count(chat: Function, fake: FakeProvider, file: dict[str, Any]) -> None:
    """Its server may answer with a larger document when the request itself is sent."""
    part = {"type": "file", "file": {"filename": "a.pdf", **file}}
    answer = ask(chat, messages=[{"role": "user", "content": [{"type": "text", "text": "Read this."}, part]}])
    assert (answer.status, answer.json()["error"]["code"]) == (402, "cost_limit_exceeded")
    assert fake.received == []


def test_an_image_by_url_is_not_bounded_by_a_count(fake: FakeProvider) -> None:
    """Its server may answer with a larger image when the request itself is sent."""
    chat = function(fake, supports_vision=True)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    answer = ask(chat, messages=[*LONG, {"role": "user", "content": [image]}])
    assert (answer.status, answer.json()["error"]["code"]) == (402, "cost_limit_exceeded")
    assert fake.received == []

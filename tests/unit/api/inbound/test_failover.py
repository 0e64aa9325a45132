"""Failover, breakers and cut streams are the same through every inbound API."""

import json
from io import StringIO

import pytest

from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events, chunk
from tests.fakes.settings import chat_model, provider
from tests.unit.api.inbound.apis import Ask, Client, InboundApi

CLOUD_PATH, LOCAL_PATH = "/v1/chat/completions", "/api/chat"
BEGINNING = list(chat_events("Hello from the first"))[:3]


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 402, 403])
def test_a_failing_provider_is_followed_by_the_next(client: Client, fake: FakeProvider, ask: Ask, status: int) -> None:
    fake.always(CLOUD_PATH, Reply(status, {"error": {"message": "no"}}))
    answer = client(ask, model="auto")
    assert (answer.text, answer.model, answer.is_complete) == ("Hello from the second.", "llama", True)
    assert [attempt["provider_id"] for attempt in answer.receipt["attempts"]] == ["first", "local"]


def test_a_stream_that_breaks_before_its_first_token_is_followed_by_the_next(
    client: Client, fake: FakeProvider
) -> None:
    fake.script(CLOUD_PATH, Reply(stream=Stream([chunk({"role": "assistant", "content": ""})], ending="reset")))
    answer = client(Ask(stream=True), model="auto")
    assert (answer.text, answer.is_complete, answer.error) == ("Hello from the second.", True, None)


@pytest.mark.parametrize("ending", ["closed", "reset"])
def test_a_stream_that_is_cut_ends_with_an_error_and_not_as_a_whole_one(
    client: Client, fake: FakeProvider, second: FakeProvider, ending: str, log: StringIO
) -> None:
    fake.script(CLOUD_PATH, Reply(stream=Stream(BEGINNING, ending=ending)))  # type: ignore[arg-type]  # parametrised
    answer = client(Ask(stream=True), model="auto")
    assert answer.status == 200
    assert answer.text.startswith("Hello")
    assert not answer.is_complete
    assert answer.error is not None
    assert answer.error["code"] == "answer_broken"
    assert second.received == []
    assert json.loads(log.getvalue().splitlines()[-1])["level"] == "WARNING"


def test_a_stream_without_a_finish_reason_is_a_cut_one(client: Client, fake: FakeProvider) -> None:
    fake.script(CLOUD_PATH, Reply(stream=Stream(BEGINNING)))
    answer = client(Ask(stream=True), model="auto")
    assert not answer.is_complete
    assert answer.error is not None


def test_the_callers_own_fault_is_returned_at_once(
    client: Client, fake: FakeProvider, second: FakeProvider, ask: Ask
) -> None:
    fake.always(CLOUD_PATH, Reply(400, {"error": {"message": "messages: bad order"}}))
    answer = client(ask, model="auto")
    assert answer.status == 400
    assert answer.error is not None
    assert "bad order" in answer.error["message"]
    assert second.received == []


def test_without_fallback_the_first_failure_is_final(client: Client, fake: FakeProvider, ask: Ask) -> None:
    fake.always(CLOUD_PATH, Reply(500, {}))
    answer = client(ask, model="auto", allow_fallback=False)
    assert answer.status == 502
    assert answer.error is not None
    assert answer.error["code"] == "all_providers_failed"


def test_the_error_of_all_failing_providers_has_every_attempt(
    client: Client, fake: FakeProvider, second: FakeProvider, ask: Ask
) -> None:
    fake.always(CLOUD_PATH, Reply(500, {}))
    second.stop()
    answer = client(ask, model="auto")
    assert answer.status == 502
    assert answer.error is not None
    attempts = [(one["provider_id"], one["code"]) for one in answer.error["attempts"]]
    # A refused connection is tried again if the refusal was quick, which it may not be on a busy machine.
    assert list(dict.fromkeys(attempts)) == [("first", "provider_server_error"), ("local", "connect_failed")]
    assert answer.response.headers["x-should-retry"] == "false"


def test_a_rate_limit_everywhere_is_a_429_with_the_wait(api: InboundApi, fake: FakeProvider, ask: Ask) -> None:
    fake.always(CLOUD_PATH, Reply(429, {"error": {"message": "slow down"}}, headers={"retry-after": "7"}))
    over = api.over(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"))
    answer = over(ask, model="gpt")
    assert answer.status == 429
    assert 1 <= int(answer.response.headers["retry-after"]) <= 7


def test_failures_open_the_breaker_and_an_open_breaker_is_a_503_with_the_wait(
    api: InboundApi, fake: FakeProvider, ask: Ask
) -> None:
    fake.always(CLOUD_PATH, Reply(500, {}))
    over = api.over(
        provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"),
        routing={"circuit_breaker": {"failure_threshold": 2, "timeout_secs": 60}},
    )
    assert [over(ask, model="gpt").status for _ in range(2)] == [502, 502]
    answer = over(ask, model="gpt")
    assert answer.status == 503
    assert answer.error is not None
    assert answer.error["code"] == "no_provider_available"
    assert 0 < int(answer.response.headers["retry-after"]) <= 60
    assert len(fake.calls(CLOUD_PATH)) == 2


def test_cut_streams_open_the_breaker(api: InboundApi, fake: FakeProvider) -> None:
    fake.always(CLOUD_PATH, Reply(stream=Stream(BEGINNING, ending="reset")))
    over = api.over(
        provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"),
        routing={"circuit_breaker": {"failure_threshold": 2, "timeout_secs": 60}},
    )
    assert [over(Ask(stream=True), model="gpt").is_complete for _ in range(2)] == [False, False]
    assert over(Ask(stream=True), model="gpt").status == 503


def test_a_slow_provider_is_a_504_before_lambdas_deadline(api: InboundApi, fake: FakeProvider) -> None:
    fake.always(CLOUD_PATH, Reply(delay_s=2))
    over = api.over(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"))
    answer = over(model="gpt", remaining_ms=1300)
    assert answer.status == 504
    assert answer.error is not None
    assert answer.error["code"] == "deadline_exceeded"

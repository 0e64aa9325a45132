"""The failure table, row by row: through the function's handler, against a provider that fails over real HTTP.

The provider `first` fails, `second` would answer. What a row says of the breaker is read from the next request: an open
one is not called at all.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat_function import HI, PATH, ask, error, function


def two(fake: FakeProvider, second: FakeProvider, **first: Any) -> Function:
    return function(
        provider("first", chat_model("a"), base_url=f"{fake.url}/v1", api_key="k", **{"priority": 1, **first}),
        provider("second", chat_model("b"), base_url=f"{second.url}/v1", api_key="k", priority=2),
    )


def said(message: str = "", **fields: object) -> dict[str, object]:
    return {"error": {"message": message, **fields}}


def codes(answer: FunctionResponse) -> list[str]:
    body = answer.json()
    attempts = body["bridge"]["attempts"] if answer.status == 200 else body["error"].get("attempts", [])
    return [attempt["code"] for attempt in attempts]


UNUSABLE = chat_completion("x")
NEXT = [
    (Reply(500, {}), "provider_server_error"),
    (Reply(502, raw=b"<html>bad gateway</html>", headers={"content-type": "text/html"}), "provider_server_error"),
    (Reply(503, {}), "provider_server_error"),
    (Reply(504, {}), "timeout"),
    (Reply(529, said(type="overloaded_error")), "provider_server_error"),
    (Reply(408, {}), "provider_server_error"),
    (Reply(409, {}), "provider_server_error"),
    (Reply(reset=True), "connection_lost"),
    (Reply(body=UNUSABLE, cut_at_byte=40), "connection_lost"),
    (Reply(raw=b'{"choices": ['), "malformed_answer"),
    (Reply(raw=b""), "malformed_answer"),
    (Reply(raw=b"[]"), "malformed_answer"),
    (Reply(body={"choices": []}), "malformed_answer"),
    (Reply(body={"choices": None}), "malformed_answer"),
    (Reply(body={}), "malformed_answer"),
    (Reply(raw=b"<html>log in</html>", headers={"content-type": "text/html"}), "malformed_answer"),
    (Reply(302, {}, headers={"location": "https://elsewhere.example"}), "malformed_answer"),
    (Reply(body=said("upstream is down", code=503)), "provider_server_error"),
    (Reply(body=said("something")), "provider_server_error"),
    (Reply(429, said(type="requests")), "rate_limited"),
    (Reply(body=said("slow down", code=429)), "rate_limited"),
    (Reply(404, said(code="model_not_found")), "provider_model_not_found"),
    (Reply(400, said("no such model", code="model_not_found")), "provider_model_not_found"),
]
OPENS = [
    (Reply(401, said(code="invalid_api_key")), "credentials_rejected"),
    (Reply(403, said(code="invalid_api_key")), "credentials_rejected"),
    (Reply(403, said("Incorrect API key provided")), "credentials_rejected"),
    (Reply(400, said("API key not valid. Please pass a valid API key.")), "credentials_rejected"),
    (Reply(402, {}), "quota_exhausted"),
    (Reply(429, said(code="insufficient_quota")), "quota_exhausted"),
]
CALLERS = [
    (Reply(400, said("bad", param="messages")), 400, "invalid_request"),
    (Reply(413, {}), 413, "invalid_request"),
    (Reply(422, {}), 422, "invalid_request"),
    (Reply(400, said(code="content_filter")), 400, "content_refused"),
    (Reply(400, said(code="content_policy_violation")), 400, "content_refused"),
    (Reply(403, said("flagged by moderation")), 400, "content_refused"),
    (Reply(body=said("flagged", code=403)), 400, "content_refused"),
]


def name(value: object) -> str | None:
    return f"{value.status}" if isinstance(value, Reply) else None


@pytest.mark.parametrize(("reply", "code"), NEXT, ids=name)
def test_the_next_candidate_answers_and_the_provider_is_tried_again_next_time(
    fake: FakeProvider, second: FakeProvider, reply: Reply, code: str
) -> None:
    chat = two(fake, second)
    fake.script(PATH, reply)
    answer = ask(chat)
    assert (answer.status, answer.json()["model"], codes(answer)) == (200, "b", [code, "ok"])
    assert answer.headers["x-bridge-attempts"] == "2"
    assert (len(fake.calls(PATH)), len(second.calls(PATH))) == (1, 1)
    assert ask(chat).json()["model"] == "a"


@pytest.mark.parametrize(("reply", "code"), OPENS, ids=name)
def test_rejected_keys_and_empty_accounts_open_the_breaker_and_alert(
    fake: FakeProvider,
    second: FakeProvider,
    log: StringIO,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    code: str,
) -> None:
    chat = two(fake, second)
    fake.always(PATH, reply)
    assert codes(ask(chat)) == [code, "ok"]
    assert codes(ask(chat)) == ["ok"]
    assert len(fake.calls(PATH)) == 1
    alerts = [line for line in log.getvalue().splitlines() if "provider needs attention" in line]
    assert [json.loads(line)["provider"] for line in alerts] == ["first"]
    metric = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (metric["ProviderRejected"], metric["provider"]) == ([1.0], "first")


def test_an_open_breaker_is_explained_by_route_and_a_503_without_other_candidates(fake: FakeProvider) -> None:
    settings = make_settings(provider("first", chat_model("a"), base_url=f"{fake.url}/v1", api_key="k"))
    bridge = make_bridge(settings)
    chat, route = Function("chat_completions", bridge), Function("route", bridge)
    fake.always(PATH, Reply(401, {}))
    assert ask(chat).status == 502
    for answer in (ask(chat), route("POST", "/api/v1/route", {"task": "chat_small"})):
        assert (answer.status, error(answer)["code"]) == (503, "no_provider_available")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize(("reply", "status", "code"), CALLERS, ids=name)
def test_rejected_requests_and_refused_content_are_returned_at_once_without_failover(
    fake: FakeProvider, second: FakeProvider, reply: Reply, status: int, code: str
) -> None:
    chat = two(fake, second)
    fake.script(PATH, reply)
    answer = ask(chat)
    assert (answer.status, error(answer)["code"], codes(answer)) == (status, code, [code])
    assert answer.headers["x-bridge-attempts"] == "1"
    assert second.received == []


def test_a_refused_connection_is_retried_once_then_the_next_candidate_answers(second: FakeProvider) -> None:
    with socket.socket() as unused:  # bound and not listening: it refuses
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        chat = function(
            provider("first", chat_model("a"), base_url=url, priority=1),
            provider("second", chat_model("b"), base_url=f"{second.url}/v1", priority=2),
            clock=FakeClock(),
        )
        assert codes(ask(chat)) == ["connect_failed", "connect_failed", "ok"]


def test_a_hanging_provider_is_cancelled_at_its_timeout_and_its_connection_closed(
    fake: FakeProvider, second: FakeProvider
) -> None:
    reply = Reply(hang=True)
    fake.script(PATH, reply)
    assert codes(ask(two(fake, second, timeout_secs=1))) == ["timeout", "ok"]
    assert reply.client_disconnected.wait(5)


def test_slow_headers_are_a_timeout_too(fake: FakeProvider, second: FakeProvider) -> None:
    fake.script(PATH, Reply(body=UNUSABLE, delay_s=2))
    assert codes(ask(two(fake, second, timeout_secs=1))) == ["timeout", "ok"]


def test_lambdas_own_deadline_ends_an_attempt_and_is_a_504(fake: FakeProvider, second: FakeProvider) -> None:
    reply = Reply(hang=True)
    fake.script(PATH, reply)
    answer = two(fake, second)("POST", PATH, {"messages": HI}, remaining_ms=1300)
    assert (answer.status, error(answer)["code"], codes(answer)) == (504, "deadline_exceeded", ["timeout"])
    assert second.received == []
    assert reply.client_disconnected.wait(5)


def retry_after(form: str, seconds: int) -> Mapping[str, str]:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    return {"retry-after": date if form == "date" else str(seconds)}


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_in_both_forms_sets_a_cool_down(fake: FakeProvider, second: FakeProvider, form: str) -> None:
    chat = two(fake, second)
    fake.always(PATH, Reply(429, {}, headers=retry_after(form, 40)))
    assert codes(ask(chat)) == ["rate_limited", "ok"]
    assert codes(ask(chat)) == ["ok"]
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_rate_limited_everywhere_is_a_429_with_retry_after(fake: FakeProvider, second: FakeProvider, form: str) -> None:
    chat = two(fake, second)
    fake.always(PATH, Reply(429, {}, headers=retry_after(form, 40)))
    second.always(PATH, Reply(429, {}, headers={"retry-after": "90"}))
    for _ in range(2):
        answer = ask(chat)
        assert (answer.status, error(answer)["code"]) == (429, "rate_limit_exceeded")
        assert 35 <= int(answer.headers["retry-after"]) <= 40
    assert (len(fake.calls(PATH)), len(second.calls(PATH))) == (1, 1)


TOO_LONG_REPLY = Reply(400, said(code="context_length_exceeded"))


@dataclass
class Windows:
    """Three providers: a small window first, an equal one, a larger one last."""

    chat: Function
    fakes: list[FakeProvider]


@pytest.fixture
def windows() -> Iterator[Windows]:
    with FakeProvider() as one, FakeProvider() as two, FakeProvider() as three:
        fakes = [one, two, three]
        sizes = (8192, 8192, 32_768)
        configs = [
            provider(f"p{i}", chat_model(f"m{i}", context_window=size), base_url=f"{fake.url}/v1", priority=i + 1)
            for i, (fake, size) in enumerate(zip(fakes, sizes, strict=True))
        ]
        yield Windows(function(*configs), fakes)


TOO_LONG = [
    Reply(400, said(code="context_length_exceeded")),
    Reply(400, said("This model's maximum context length is 8192 tokens.")),
    Reply(413, said("prompt is too long: 9000 tokens > 8192 maximum")),
]


@pytest.mark.parametrize("reply", TOO_LONG, ids=["code", "words", "413"])
def test_a_too_long_prompt_is_tried_with_the_larger_window_only(windows: Windows, reply: Reply) -> None:
    windows.fakes[0].script(PATH, reply)
    answer = ask(windows.chat)
    assert (answer.json()["model"], codes(answer)) == ("m2", ["context_length_exceeded", "ok"])
    assert windows.fakes[1].received == []


def test_a_prompt_too_long_for_every_window_is_a_400(windows: Windows) -> None:
    for fake in windows.fakes:
        fake.always(PATH, TOO_LONG[0])
    answer = ask(windows.chat)
    assert (answer.status, error(answer)["code"]) == (400, "context_length_exceeded")
    assert codes(answer) == ["context_length_exceeded"] * 2


def test_x_should_retry_keeps_openais_clients_from_repeating_the_attempts(
    fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, Reply(500, {}))
    second.always(PATH, Reply(500, {}))
    assert ask(two(fake, second)).headers["x-should-retry"] == "false"
    fake.always(PATH, Reply(429, {}))
    second.always(PATH, Reply(429, {}))
    assert "x-should-retry" not in ask(two(fake, second)).headers


def test_all_failing_is_a_502_with_every_attempt_and_without_the_providers_messages(
    fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, Reply(500, said("the yellow submarine")))
    second.always(PATH, Reply(200, {"choices": []}))
    answer = ask(two(fake, second))
    assert (answer.status, error(answer)["code"]) == (502, "all_providers_failed")
    rows = [(a["provider_id"], a["model_id"], a["status"], a["code"]) for a in error(answer)["attempts"]]
    assert rows == [("first", "a", 500, "provider_server_error"), ("second", "b", 200, "malformed_answer")]
    assert all(isinstance(a["latency_ms"], int) and a["reason"] for a in error(answer)["attempts"])
    assert "submarine" not in answer.text


def test_a_billed_but_unusable_answer_is_on_the_receipt(fake: FakeProvider, second: FakeProvider) -> None:
    # 1000 × $1 + 500 × $2 = $0.002; then the second's 11 × $1 + 7 × $2 = $0.000025
    fake.script(PATH, Reply(body={"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))
    answer = ask(two(fake, second))
    receipt = answer.json()["bridge"]
    assert [attempt["cost"] for attempt in receipt["attempts"]] == [0.002, 0.000025]
    assert (receipt["cost"], answer.headers["x-bridge-cost-usd"]) == (0.002025, "0.002025")


def test_an_error_inside_a_200_may_have_been_billed_and_counts_in_full(
    fake: FakeProvider, second: FakeProvider
) -> None:
    fake.script(PATH, Reply(body=said("upstream broke", code=502)))
    receipt = ask(two(fake, second), max_cost=0.004, max_tokens=100).json()["bridge"]
    assert (receipt["attempts"][0]["cost"], receipt["attempts"][0]["cost_bound"] > 0.0002) == (None, True)
    assert receipt["cost_bound"] > 2 * 0.0002


def test_reasoning_tokens_that_only_the_total_includes_are_billed(fake: FakeProvider, second: FakeProvider) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1015}
    fake.script(PATH, Reply(body={**chat_completion("x"), "usage": usage}))
    answer = ask(two(fake, second))
    # 10 × $1 + 1,005 × $2 per million tokens
    assert answer.json()["bridge"]["cost"] == 0.00202
    assert answer.json()["usage"] == usage


def test_the_cost_of_an_answer_without_usage_is_that_of_the_estimated_usage(
    fake: FakeProvider, second: FakeProvider
) -> None:
    body = chat_completion("four words are here")
    del body["usage"]
    fake.script(PATH, Reply(body=body))
    answer = ask(two(fake, second)).json()
    tokens = answer["usage"]["prompt_tokens"] + 2 * answer["usage"]["completion_tokens"]
    assert answer["bridge"]["cost"] == pytest.approx(tokens / 1_000_000)
    assert "usage and cost are estimates" in answer["bridge"]["notes"][0]


def test_an_error_after_a_billed_attempt_has_its_cost(fake: FakeProvider, second: FakeProvider) -> None:
    fake.script(PATH, Reply(body={"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))
    second.script(PATH, Reply(400, said("bad")))
    headers = ask(two(fake, second)).headers
    assert (headers["x-bridge-attempts"], headers["x-bridge-cost-usd"]) == ("2", "0.002")


def test_a_last_candidate_cancelled_by_lambdas_deadline_is_a_504(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(hang=True))
    only = function(provider("first", chat_model("a"), base_url=f"{fake.url}/v1"))
    answer = only("POST", PATH, {"messages": HI}, remaining_ms=1300)
    assert (answer.status, codes(answer)) == (504, ["timeout"])


def test_without_fallback_the_error_says_that_no_other_may_be_tried(fake: FakeProvider, second: FakeProvider) -> None:
    fake.script(PATH, Reply(500, {}))
    answer = ask(two(fake, second), allow_fallback=False)
    assert error(answer)["message"].startswith("the first choice failed, and no other may be tried")


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        (TOO_LONG_REPLY, "shorten the prompt"),
        (Reply(400, said("bad")), "Correct the request"),
        (Reply(400, said(code="content_filter")), "Change the content"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_error_that_the_caller_can_correct_has_a_remedy(fake: FakeProvider, reply: Reply, remedy: str) -> None:
    fake.always(PATH, reply)
    answer = ask(function(provider("first", chat_model("a"), base_url=f"{fake.url}/v1")))
    assert remedy in error(answer)["message"]


def test_a_larger_window_that_costs_too_much_is_a_402_that_names_it(windows: Windows) -> None:
    windows.fakes[0].always(PATH, TOO_LONG[0])
    windows.fakes[1].always(PATH, TOO_LONG[0])
    dear = chat_model("m2", context_window=32_768, price=(900, 900))
    small = [
        provider(f"p{i}", chat_model(f"m{i}"), base_url=f"{windows.fakes[i].url}/v1", priority=i + 1) for i in (0, 1)
    ]
    chat = function(*small, provider("p2", dear, base_url=f"{windows.fakes[2].url}/v1", priority=3))
    answer = ask(chat, max_cost=0.01)
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")
    assert "p2/m2" in error(answer)["message"]


def test_a_larger_window_that_cools_down_is_a_429_with_its_end(windows: Windows) -> None:
    windows.fakes[2].always(PATH, Reply(429, {}, headers={"retry-after": "40"}))
    for fake in windows.fakes[:2]:
        fake.always(PATH, TOO_LONG[0])
    for _ in range(2):
        answer = ask(windows.chat)
        assert (answer.status, error(answer)["code"]) == (429, "rate_limit_exceeded")
        assert 35 <= int(answer.headers["retry-after"]) <= 40


def test_openrouter_gets_the_prices_on_which_the_limit_relies(fake: FakeProvider) -> None:
    config = provider("or", chat_model("a", price=(1, 2)), provider_type="openrouter", base_url=f"{fake.url}/v1")
    chat = function(config)
    ask(chat, max_cost=0.01)
    ask(chat)
    asked = [request.body.get("provider") for request in fake.calls(PATH)]
    assert asked == [{"max_price": {"prompt": 1, "completion": 2}}, None]


def test_the_next_candidate_has_what_a_billed_failure_leaves_of_the_limit(
    fake: FakeProvider, second: FakeProvider
) -> None:
    fake.script(PATH, Reply(body={"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))
    assert ask(two(fake, second), max_cost=0.003).status == 200
    caps = [calls[0].body["max_tokens"] for calls in (fake.calls(PATH), second.calls(PATH))]
    # The failed attempt took $0.002, which is 1,000 output tokens at $2 per million.
    assert caps[0] - caps[1] == 1000

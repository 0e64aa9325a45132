"""What goes wrong between the client and the bridge: which error it is, and whether the call is repeated."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sekha_llm_bridge import (
    AllProvidersFailed,
    AuthenticationFailed,
    BridgeError,
    BridgeTimeout,
    BridgeUnreachable,
    ConnectionLost,
    InvalidOption,
    LlmBridge,
    NoProviderAvailable,
    NotABridge,
    RateLimited,
    Unavailable,
)
from sekha_llm_bridge.client.call import Call, get, post
from sekha_llm_bridge.client.errors import error_of
from sekha_llm_bridge.client.retries import MAX_RETRY_WAIT_S, Fault, RetryPolicy
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.raw_server import RawServer, http
from tests.fakes.servers import free_port
from tests.unit.client.conftest import Connect

CHAT, ROUTE, MODELS, HEALTH = "/v1/chat/completions", "/api/v1/route", "/api/v1/models", "/api/v1/health"
HTML = b"<html><body>502 Bad Gateway</body></html>"


def refused(code: str, status: int, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": "no", "code": code}}, named)


def test_a_bridge_that_is_not_there_is_named_with_the_remedy(connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = connect(url)
    with pytest.raises(BridgeUnreachable, match=f"{url} cannot be reached") as caught:
        client.call("chat", "Hi")
    assert "`infra/local/up` starts it" in str(caught.value)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert client.waits_s == [0.25, 0.5]


def test_a_name_that_does_not_exist_is_unreachable(connect: Connect) -> None:
    with pytest.raises(BridgeUnreachable, match=r"http://bridge\.invalid cannot be reached") as caught:
        connect("http://bridge.invalid", trust_env=False).call("models")
    assert "check the address and the network" in str(caught.value)


@pytest.mark.parametrize("name", ["chat", "stream"])
def test_a_call_is_repeated_after_the_wait_that_the_bridge_asks_for(
    fake: FakeProvider, connect: Connect, name: str
) -> None:
    fake.script(CHAT, refused("rate_limit_exceeded", 429, retry_after="2"))
    client = connect(fake.url)
    answer = client.call("chat", "Hi", model="m") if name == "chat" else "".join(client.stream("Hi", model="m"))
    assert str(answer) == "Hello from the fake."
    assert client.waits_s == [2.0]


@pytest.mark.parametrize("name", ["chat", "models"])
def test_a_request_that_is_not_answered_in_time_is_not_repeated(connect: Connect, name: str) -> None:
    with RawServer(None) as server:
        client = connect(server.url, timeout=0.2)
        with pytest.raises(BridgeTimeout, match=server.url):
            client.call(name, *(["Hi"] if name == "chat" else []))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage that is not HTTP\r\n\r\n",
        http(b'{"choices": [', length=100),
        http(b"x", headers="content-encoding: gzip\r\n"),
    ],
)
def test_a_broken_answer_is_an_error_and_a_chat_is_not_repeated(connect: Connect, answer: bytes) -> None:
    with RawServer(answer) as server:
        with pytest.raises(BridgeError, match=server.url) as caught:
            connect(server.url).call("chat", "Hi")
        assert type(caught.value) in {ConnectionLost, NotABridge}
        assert len(server.requests) == 1


def test_a_call_that_costs_nothing_is_repeated_after_a_broken_connection(connect: Connect) -> None:
    with RawServer(b"", http(b"[]")) as server:
        client = connect(server.url)
        assert client.call("models") == ()
        assert client.waits_s == [0.25]


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "502 Bad Gateway"])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json"])
@pytest.mark.parametrize("name", ["chat", "stream"])
def test_a_page_instead_of_json_is_not_a_bridge(connect: Connect, status: str, content_type: str, name: str) -> None:
    with RawServer(http(HTML, status=status, content_type=content_type)) as server:
        client = connect(server.url)
        with pytest.raises(NotABridge, match=f"{server.url}{CHAT} answered {status[:3]} with") as caught:
            client.call("chat", "Hi") if name == "chat" else list(client.stream("Hi"))
        assert caught.value.status == int(status[:3])
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": 5}]}', b"7"])
def test_json_of_another_shape_is_not_a_bridge(connect: Connect, body: bytes) -> None:
    with RawServer(http(body)) as server, pytest.raises(NotABridge) as caught:
        connect(server.url).call("chat", "Hi")
    assert caught.value.status == 200


def test_a_redirect_names_the_address_to_give(connect: Connect) -> None:
    moved = http(b"{}", status="308 Permanent Redirect", headers="location: https://bridge.example/v1\r\n")
    with RawServer(moved) as server, pytest.raises(NotABridge, match=r"redirects to https://bridge\.example/v1: give"):
        connect(server.url).call("chat", "Hi")


def test_a_whole_answer_instead_of_a_stream_is_not_taken_for_one(connect: Connect) -> None:
    with RawServer(http(b'{"choices": []}')) as server, pytest.raises(NotABridge):
        list(connect(server.url).stream("Hi"))


def test_a_wrong_key_is_an_authentication_error(fake: FakeProvider, connect: Connect) -> None:
    fake.always(CHAT, refused("invalid_api_key", 401))
    with pytest.raises(AuthenticationFailed):
        connect(fake.url, api_key="wrong").call("chat", "Hi")
    assert len(fake.received) == 1


def test_an_unhealthy_bridge_is_a_report(fake: FakeProvider, connect: Connect) -> None:
    fake.always(HEALTH, Reply(503, {"status": "unhealthy", "providers": {"p": {"status": "unhealthy"}}}))
    health = connect(fake.url).call("health")
    assert (health.status, health.is_healthy, health.providers["p"].status) == ("unhealthy", False, "unhealthy")
    assert len(fake.received) == 1


def test_another_503_of_the_health_path_is_an_error(fake: FakeProvider, connect: Connect) -> None:
    fake.always(HEALTH, refused("internal_error", 503))
    with pytest.raises(BridgeError):
        connect(fake.url).call("health")
    assert len(fake.received) == 3


def test_attempts_that_may_be_billed_are_not_repeated(fake: FakeProvider, connect: Connect) -> None:
    fake.always(CHAT, refused("all_providers_failed", 502, x_should_retry="false"))
    with pytest.raises(AllProvidersFailed):
        connect(fake.url).call("chat", "Hi")
    assert len(fake.received) == 1


@pytest.mark.parametrize(("status", "calls"), [(502, 1), (504, 1), (503, 3), (429, 3)])
def test_a_wait_makes_a_paid_call_repeatable_only_where_it_was_refused(
    fake: FakeProvider, connect: Connect, status: int, calls: int
) -> None:
    """A 502 or a 504 may stand for a request that was carried out."""
    fake.always(CHAT, refused("all_providers_failed", status, retry_after="1"))
    with pytest.raises(BridgeError):
        connect(fake.url).call("chat", "Hi")
    assert len(fake.received) == calls


@pytest.mark.parametrize("url", ["http://☃.net", "http://xn--a", "http://h/a\x01b"])
def test_an_address_that_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidOption):
        LlmBridge(url)


@pytest.mark.parametrize("headers", [{"x": "ü"}, {"x": "a\nb"}, {"x": None}, {"ü": "x"}])
def test_headers_that_cannot_be_sent_are_refused_at_once(headers: Any) -> None:
    with LlmBridge("http://127.0.0.1:9") as client, pytest.raises(InvalidOption):
        client.with_options(headers=headers)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_refused_at_once(timeout: float) -> None:
    with pytest.raises(InvalidOption):
        LlmBridge("http://127.0.0.1:9", timeout=timeout)


def test_attempts_of_another_form_do_not_hide_the_error(fake: FakeProvider, connect: Connect) -> None:
    fake.always(CHAT, Reply(400, {"error": {"message": "no", "code": "invalid_request", "attempts": 3}}))
    with pytest.raises(BridgeError) as caught:
        connect(fake.url).call("chat", "Hi")
    assert caught.value.attempts == ()


def test_max_retries_0_never_repeats_a_call(fake: FakeProvider, connect: Connect) -> None:
    fake.always(CHAT, refused("rate_limit_exceeded", 429, retry_after="1"))
    with pytest.raises(RateLimited) as caught:
        connect(fake.url, max_retries=0).call("chat", "Hi")
    assert (len(fake.received), caught.value.retry_after_s) == (1, 1.0)


def test_a_long_wait_is_left_to_the_caller(fake: FakeProvider, connect: Connect) -> None:
    fake.always(CHAT, refused("no_provider_available", 503, retry_after=str(MAX_RETRY_WAIT_S + 1)))
    with pytest.raises(NoProviderAvailable) as caught:
        connect(fake.url).call("chat", "Hi")
    assert (len(fake.received), caught.value.retry_after_s) == (1, 31.0)


CHAT_CALL, FREE_CALL = post(CHAT, {}, lambda *_: None), get(MODELS, lambda *_: None)


def answered(status: int, code: str = "", *, should_retry: bool | None = None, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(error_of({"error": {"code": code}}, status=status, headers=named), should_retry=should_retry)


@pytest.mark.parametrize(
    ("call", "fault", "outcome"),
    [
        (CHAT_CALL, answered(429), "repeated"),
        (CHAT_CALL, answered(429, should_retry=False), "raised"),
        (CHAT_CALL, answered(429, "quota_exceeded"), "raised"),
        (CHAT_CALL, answered(503, "no_provider_available", retry_after="5"), "repeated"),
        (CHAT_CALL, answered(503, "vector_store_unavailable"), "raised"),
        (FREE_CALL, answered(503, "vector_store_unavailable"), "repeated"),
        (CHAT_CALL, answered(502, "internal_error"), "raised"),
        (FREE_CALL, answered(502, "internal_error"), "repeated"),
        (CHAT_CALL, answered(504, "deadline_exceeded"), "raised"),
        (CHAT_CALL, answered(504, "deadline_exceeded", should_retry=True), "repeated"),
        (FREE_CALL, answered(504, should_retry=False), "raised"),
        (FREE_CALL, answered(500, "internal_error", should_retry=True), "raised"),
        (CHAT_CALL, answered(402, "cost_limit_exceeded", should_retry=True), "raised"),
        (CHAT_CALL, answered(402, "cost_limit_exceeded", retry_after="1"), "raised"),
        (CHAT_CALL, Fault(Unavailable("m"), was_sent=False, cause=OSError()), "repeated"),
        (CHAT_CALL, Fault(Unavailable("m"), cause=OSError()), "raised"),
        (FREE_CALL, Fault(Unavailable("m"), cause=OSError()), "repeated"),
        (FREE_CALL, Fault(Unavailable("m"), cause=OSError(), is_timeout=True), "raised"),
    ],
)
def test_only_what_cannot_be_billed_twice_is_repeated(call: Call[Any], fault: Fault, outcome: str) -> None:
    wait_s = RetryPolicy(1, lambda: 0.0).wait_s(call, fault, 0)
    assert (wait_s is None) == (outcome == "raised")


@pytest.mark.parametrize(
    ("random", "waits_s"), [(lambda: 0.0, [0.25, 0.5, 1, 2, 4, 4]), (lambda: 1.0, [0.5, 1, 2, 4, 8, 8])]
)
def test_the_time_between_retries_grows_up_to_a_maximum(random: Callable[[], float], waits_s: list[float]) -> None:
    policy = RetryPolicy(6, random)
    assert [policy.wait_s(CHAT_CALL, answered(429), n) for n in range(6)] == waits_s
    assert policy.wait_s(CHAT_CALL, answered(429), 6) is None


def test_a_wait_that_was_asked_for_is_never_shortened() -> None:
    fractions = iter([0.0, 0.5, 1.0])
    policy = RetryPolicy(1, lambda: next(fractions))
    waits_s = [policy.wait_s(CHAT_CALL, answered(429, retry_after="4"), 0) for _ in range(3)]
    assert waits_s == [4.0, 4.5, 5.0]


def test_the_default_client_waits_by_itself(fake: FakeProvider) -> None:
    fake.script(MODELS, Reply(429, {"error": {"code": "rate_limit_exceeded"}}, {"retry-after-ms": "1"}))
    fake.always(MODELS, Reply(200, []))
    with LlmBridge(fake.url) as bridge:
        assert bridge.models() == ()

"""Tests what is sent to a provider and in which encodings an answer can be read."""

import asyncio
import base64
import gzip
import inspect
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import Coroutine, Mapping
from typing import Any

import httpcore
import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.connections import TRANSPORT_ERRORS, Connections, DecodingError, InvalidURL
from sekha_llm_bridge.providers.http import JsonHttp, translate_failure
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.wire import reply, wire

BODY = '{"a":"é"}'.encode()
READ = {"a": "é"}
_DEFLATER = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = _DEFLATER.compress(BODY) + _DEFLATER.flush()


@pytest.fixture(autouse=True)
def _without_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def get(
    url: str, headers: Mapping[str, str] | None = None, *, http: JsonHttp | None = None, timeout_s: float = 5
) -> dict[str, Any]:
    """Sends one GET request. Closes the client unless the caller passed one."""
    client = http or JsonHttp(SystemClock())
    try:
        return await client.get(url, headers=headers or {}, timeout_s=timeout_s)
    finally:
        if http is None:
            await client.aclose()


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 10))


ANSWERS = {
    "plain": reply(BODY),
    "with a byte-order mark": reply(b"\xef\xbb\xbf" + BODY),
    "gzip": reply(gzip.compress(BODY), "Content-Encoding: GZip"),
    "deflate": reply(zlib.compress(BODY), "content-encoding: deflate"),
    "deflate without zlib header": reply(RAW_DEFLATE, "content-encoding: deflate"),
    "compressed twice": reply(gzip.compress(zlib.compress(BODY)), "content-encoding: deflate, gzip"),
    "identity encoding": reply(BODY, "content-encoding: identity"),
    "in chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (BODY[:5], len(BODY) - 5, BODY[5:]),
    "after a 103 response": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + reply(BODY),
    "with a header in Latin-1": reply(BODY, "x-name: café"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read_in_every_encoding(answer: bytes) -> None:
    async def scenario() -> None:
        async with wire(answer) as provider:
            assert await get(provider.url) == READ

    run(scenario())


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK"])
def test_an_answer_without_a_length_ends_with_its_connection(head: str) -> None:
    async def scenario() -> None:
        async with wire(f"{head}\r\n\r\n".encode() + BODY, then_close=True) as provider:
            assert await get(provider.url) == READ

    run(scenario())


def test_an_answer_of_several_megabytes_is_read_completely() -> None:
    text = "x" * 5_000_000

    async def scenario() -> None:
        async with wire(reply(b'{"a":"%b"}' % text.encode())) as provider:
            assert await get(provider.url) == {"a": text}

    run(scenario())


BROKEN = {
    "invalid gzip": (reply(b"nope", "content-encoding: gzip"), errors.FailureKind.MALFORMED_ANSWER),
    "not HTTP": (b"hello\r\n\r\n", errors.FailureKind.CONNECTION_LOST),
    "shorter than its content-length": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        errors.FailureKind.CONNECTION_LOST,
    ),
    "empty": (b"", errors.FailureKind.CONNECTION_LOST),
}


@pytest.mark.parametrize(("answer", "expected"), BROKEN.values(), ids=BROKEN)
def test_an_unreadable_answer_is_reported_without_the_librarys_message(
    answer: bytes, expected: errors.FailureKind
) -> None:
    async def scenario() -> None:
        async with wire(answer, then_close=True) as provider:
            await get(provider.url)

    with pytest.raises(errors.ProviderError) as caught:
        run(scenario())
    assert caught.value.kind is expected
    message, cause = str(caught.value), caught.value.__cause__
    assert type(cause).__name__ in message
    assert not str(cause) or str(cause) not in message


def test_every_failure_of_the_library_has_a_translation() -> None:
    raised = [kind for _, kind in inspect.getmembers(httpcore, inspect.isclass) if issubclass(kind, Exception)]
    assert len(raised) > 10
    for kind in raised:
        if (
            kind is not httpcore.ConnectionNotAvailable
        ):  # raised only inside the pool, which then uses another connection
            assert issubclass(kind, TRANSPORT_ERRORS)
            assert kind.__name__ in str(translate_failure(kind("the message of the library")))
            assert "message of the library" not in str(translate_failure(kind("the message of the library")))


KINDS = {
    # Nothing was sent.
    httpcore.ConnectError: errors.FailureKind.CONNECT_FAILED,
    httpcore.ConnectTimeout: errors.FailureKind.CONNECT_FAILED,
    httpcore.ProxyError: errors.FailureKind.CONNECT_FAILED,
    httpcore.UnsupportedProtocol: errors.FailureKind.CONNECT_FAILED,
    httpcore.LocalProtocolError: errors.FailureKind.CONNECT_FAILED,
    # Something may have been.
    httpcore.TimeoutException: errors.FailureKind.TIMEOUT,
    httpcore.PoolTimeout: errors.FailureKind.TIMEOUT,
    httpcore.ReadTimeout: errors.FailureKind.TIMEOUT,
    httpcore.WriteTimeout: errors.FailureKind.TIMEOUT,
    httpcore.NetworkError: errors.FailureKind.CONNECTION_LOST,
    httpcore.ReadError: errors.FailureKind.CONNECTION_LOST,
    httpcore.WriteError: errors.FailureKind.CONNECTION_LOST,
    httpcore.ProtocolError: errors.FailureKind.CONNECTION_LOST,
    httpcore.RemoteProtocolError: errors.FailureKind.CONNECTION_LOST,
    DecodingError: errors.FailureKind.MALFORMED_ANSWER,
}


def test_every_failure_of_the_library_has_its_kind() -> None:
    members = [kind for _, kind in inspect.getmembers(httpcore, inspect.isclass) if issubclass(kind, Exception)]
    # The pool uses another connection after the first one.
    assert {*members, DecodingError} - {httpcore.ConnectionNotAvailable} == KINDS.keys()
    for raised, kind in KINDS.items():
        failure = translate_failure(raised("x")).failure
        assert failure.kind is kind
        assert failure.may_be_billed == (kind is not errors.FailureKind.CONNECT_FAILED)


@pytest.mark.parametrize("raised", [InvalidURL("x"), ValueError("x")], ids=repr)
def test_a_url_that_cannot_be_sent_is_a_failed_connection(raised: Exception) -> None:
    class Unsendable(Connections):
        async def exchange(self, *args: Any, **fields: Any) -> Any:
            raise raised

    http = JsonHttp(SystemClock(), Unsendable(SystemClock()))
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        run(http.get("http://provider", headers={}, timeout_s=1))


@pytest.mark.parametrize(
    ("userinfo", "sent"), [("user:p%40ss", "user:p@ss"), ("user", "user:"), (":pass", ":pass"), ("user:", "user:")]
)
def test_user_info_in_the_url_replaces_the_key(userinfo: str, sent: str) -> None:
    async def scenario() -> None:
        async with wire(reply()) as provider:
            await get(provider.url.replace("//", f"//{userinfo}@"), {"authorization": "Bearer key"})
        head = provider.requests[0].decode().lower()
        assert f"host: 127.0.0.1:{provider.port}\r\n" in head
        assert head.count("authorization:") == 1
        assert base64.b64encode(sent.encode()) in provider.requests[0]

    run(scenario())


def test_configured_headers_take_precedence_over_the_default_ones() -> None:
    async def scenario() -> None:
        async with wire(reply()) as provider:
            await get(provider.url, {"user-agent": "mine", "host": "elsewhere"})
        head = provider.requests[0].lower()
        assert b"user-agent: mine\r\n" in head
        assert b"host: elsewhere\r\n" in head
        assert head.count(b"user-agent:") == head.count(b"host:") == 1

    run(scenario())


def test_path_and_query_are_sent_in_ascii() -> None:
    async def scenario() -> None:
        async with wire(reply()) as provider:
            await get(f"http://LOCALHOST:{provider.port}/A b/ü?q=ä#part")
        assert provider.requests[0].startswith(b"GET /A%20b/%C3%BC?q=%C3%A4 HTTP/1.1\r\n")
        assert b"host: localhost:" in provider.requests[0].lower()

    run(scenario())


def test_a_url_may_have_an_ipv6_address() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")

    async def scenario() -> None:
        async with wire(reply(), host="::1") as provider:
            await get(f"http://[::1]:{provider.port}/v1")
        assert b"host: [::1]:%d\r\n" % provider.port in provider.requests[0].lower()

    run(scenario())


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/", "127.0.0.1/v1", "http://x:y/"])
def test_a_url_without_a_valid_scheme_or_port_is_a_failed_connection(address: str) -> None:
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        run(get(address))


@pytest.mark.parametrize("address", ["http://", "http:///v1", "https://:8443/"])
def test_a_url_without_a_host_does_not_connect_to_this_machine(address: str) -> None:
    with raises_failure(errors.FailureKind.CONNECT_FAILED, match="cannot be sent"):
        run(get(address))


def test_a_header_that_is_not_ascii_is_never_sent() -> None:
    async def scenario() -> None:
        async with wire(reply()) as provider:
            with raises_failure(errors.FailureKind.CONNECT_FAILED):
                await get(provider.url, {"name": "café"})
        assert provider.connections == 0

    run(scenario())


def test_a_providers_cookies_are_not_kept() -> None:
    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        async with wire(reply(b"{}", "set-cookie: id=1; Path=/")) as provider:
            await get(provider.url, http=http)
            await get(provider.url, http=http)
            await http.aclose()
        assert provider.connections == 1
        assert b"cookie" not in provider.requests[1].lower()

    run(scenario())


def test_a_connection_that_the_provider_has_closed_is_replaced() -> None:
    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        async with wire(reply(BODY), then_close=True) as provider:
            assert await get(provider.url, http=http) == READ
            assert await get(provider.url, http=http) == READ
            await http.aclose()
        assert provider.connections == 2

    run(scenario())


def test_a_connection_that_was_idle_for_long_is_closed(clock: FakeClock) -> None:
    async def scenario() -> None:
        http = JsonHttp(clock)
        async with wire(reply()) as provider:
            await get(provider.url, http=http)
            clock.advance(31)
            await get(provider.url, http=http)
            await asyncio.wait_for(provider.closed.wait(), 5)
            await http.aclose()
        assert provider.connections == 2

    run(scenario())


def test_a_cancelled_request_closes_its_connection() -> None:
    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        async with wire(b"", silent=True) as provider:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await get(provider.url, http=http)
            await asyncio.wait_for(provider.closed.wait(), 5)
            await http.aclose()
        assert len(provider.requests) == 1

    run(scenario())


def test_a_request_that_times_out_closes_its_connection() -> None:
    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        async with wire(b"", silent=True) as provider:
            with raises_failure(errors.FailureKind.TIMEOUT):
                await get(provider.url, http=http, timeout_s=0.2)
            await asyncio.wait_for(provider.closed.wait(), 5)
            await http.aclose()

    run(scenario())


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """A list of the TLS contexts that are created with the system's trusted certificates."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def recording(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", recording)
    return made


def test_plain_http_creates_no_tls_context(contexts: list[ssl.SSLContext]) -> None:
    async def scenario() -> None:
        async with wire(reply()) as provider:
            await get(provider.url)

    run(scenario())
    assert contexts == []


def test_one_tls_context_is_created_for_all_providers_and_new_pools(
    contexts: list[ssl.SSLContext], clock: FakeClock
) -> None:
    async def scenario() -> None:
        http = JsonHttp(clock)
        async with wire(b"", then_close=True) as first, wire(b"", then_close=True) as second:
            for provider in (first, second, first):
                with raises_failure(errors.FailureKind.CONNECT_FAILED):
                    await get(provider.url.replace("http:", "https:"), http=http, timeout_s=1)
                clock.advance(31)
        await http.aclose()

    run(scenario())
    assert len(contexts) == 1


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_uses_the_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str) -> None:
    async def scenario() -> None:
        async with wire(reply(b"", status="403 Forbidden")) as proxy:
            monkeypatch.setenv(variable, f"{scheme}user:pass@127.0.0.1:{proxy.port}")
            with raises_failure(errors.FailureKind.CONNECT_FAILED):
                await get("https://provider.invalid/v1", {"authorization": "Bearer key"})
        head = proxy.requests[0].lower()
        assert head.startswith(b"connect provider.invalid:443 ")
        assert b"proxy-authorization: basic " in head
        assert b"bearer" not in head

    run(scenario())


@pytest.mark.parametrize("exempt", ["*", "provider.invalid", "invalid", ".invalid", "x, provider.invalid:8443"])
def test_hosts_in_no_proxy_are_requested_without_a_proxy(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    async def scenario() -> None:
        async with wire(reply(b"", status="403 Forbidden")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", exempt)
            with raises_failure(errors.FailureKind.CONNECT_FAILED):
                await get("https://provider.invalid:8443/v1")
        assert proxy.connections == 0

    run(scenario())


def test_plain_http_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with wire(reply(BODY)) as provider, wire(reply(b"", status="403 Forbidden")) as proxy:
            for variable in ("HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
            assert await get(provider.url) == READ
        assert proxy.connections == 0

    run(scenario())


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_an_answer_of_more_than_32_megabytes_is_malformed_and_not_held(encoding: str) -> None:
    megabyte, size = b" " * 1024 * 1024, 40 if encoding == "identity" else 400
    content = megabyte * size
    if encoding == "gzip":
        compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        content = b"".join(compressor.compress(megabyte) for _ in range(size)) + compressor.flush()

    async def scenario() -> int:
        async with wire(reply(content, f"content-encoding: {encoding}")) as provider:
            tracemalloc.start()
            with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
                await get(provider.url)
            return tracemalloc.get_traced_memory()[1]

    try:
        assert run(scenario()) < 80 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_of_an_errors_body_only_the_beginning_is_read() -> None:
    message = b'{"error": {"message": "tools are not supported"'

    async def scenario() -> None:
        async with wire(b"HTTP/1.1 400 Bad\r\n\r\n" + message + b" " * 30_000_000) as provider:
            with raises_failure(errors.FailureKind.CANDIDATE_UNSUITABLE):
                await get(provider.url)

    run(scenario())

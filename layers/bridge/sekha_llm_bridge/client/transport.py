"""Sends calls by httpx, blocking or not. What is sent, and what an answer means, is decided by pure functions; the two
classes differ only in how they wait.
"""

import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from itertools import count
from typing import Any, Generic, NamedTuple, Self, TypeVar

import httpx

from sekha_llm_bridge import __version__
from sekha_llm_bridge.client.addresses import base_url_of, is_local
from sekha_llm_bridge.client.call import Call
from sekha_llm_bridge.client.errors import (
    BridgeTimeout,
    BridgeUnreachable,
    ConnectionLost,
    InvalidOption,
    NotABridge,
    error_of,
)
from sekha_llm_bridge.client.retries import Fault, RetryPolicy
from sekha_llm_bridge.errors import BridgeError

DEFAULT_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
"""Of a timeout that is given as a number: a host that is down should not take as long as a long answer."""

_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_FAULTS_OF_FOREIGN_JSON = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)

UNCHANGED = -1.0
"""A timeout that leaves the present one as it is; None means no timeout at all."""

_HTTPX_TIMEOUT_S = 5.0  # what a client has whose maker has not chosen a timeout

T = TypeVar("T")
H = TypeVar("H", httpx.Client, httpx.AsyncClient)
S = TypeVar("S")
Timeout = float | httpx.Timeout | None


class Arguments(NamedTuple):
    """The arguments of a client, as the user gave them."""

    base_url: str
    api_key: str | None
    timeout: Timeout
    max_retries: int
    proxy: str | httpx.Proxy | None
    trust_env: bool
    random: Callable[[], float] | None

    def options(self, given: httpx.Client | httpx.AsyncClient | None) -> "Options":
        """Returns the options that they mean, with the HTTP client that was given. Raises `InvalidOption`.

        The timeout of such a client is kept where its maker has chosen it, unless the bridge was given one, too:
        httpx's own default of 5 s is too short for an answer.
        """
        if given is not None and self.proxy is not None:
            raise InvalidOption("proxy", "is given together with http_client: give it to the HTTP client")
        timeout = self.timeout
        if given is not None and timeout == DEFAULT_TIMEOUT_S and given.timeout != httpx.Timeout(_HTTPX_TIMEOUT_S):
            timeout = given.timeout
        headers = {"accept": "application/json", "user-agent": f"sekha-llm-bridge/{__version__}"}
        retries = RetryPolicy(_count(self.max_retries), self.random or random.random)
        return Options(
            _checked(base_url_of(self.base_url)), {**headers, **_bearer(self.api_key)}, _timeout(timeout), retries
        )

    def http(self, kind: type[H]) -> H:
        """Returns an HTTP client. Raises `InvalidOption` where a proxy, or the environment's, cannot be used."""
        try:
            return kind(proxy=self.proxy, trust_env=self.trust_env)
        except (httpx.InvalidURL, ImportError, ValueError) as exc:  # ImportError: SOCKS needs another package
            raise InvalidOption(
                "proxy", f"cannot be used, {exc}; check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, too"
            ) from exc


class Options(NamedTuple):
    """What every request of a client has: the address, headers, timeout and retries."""

    base_url: str
    headers: Mapping[str, str]
    timeout: httpx.Timeout
    retries: RetryPolicy

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any], *, stream: bool) -> httpx.Request:
        """Returns the HTTP request of a call, with what the HTTP client adds to every request."""
        headers = dict(self.headers)
        if call.content is not None:
            headers["content-type"] = "application/json"
        if stream:
            headers["accept"] = "text/event-stream"
        url = f"{self.base_url}{call.path}"
        return http.build_request(call.method, url, headers=headers, content=call.content, timeout=self.timeout)


class Transport(Generic[H, S]):
    """What both transports have: the options, the HTTP client, and how to wait."""

    def __init__(self, options: Options, http: H, sleep: S, *, owns_http: bool) -> None:
        self.options = options
        self.http: H = http
        self._sleep: S = sleep
        self._owns_http = owns_http

    def changed(self, timeout: Timeout, max_retries: int | None, headers: Mapping[str, str] | None) -> Self:
        """Returns a transport with the same connections, which it does not close, and with other options. None, or
        `UNCHANGED`, leaves an option as it is.
        """
        old = self.options
        options = old._replace(
            headers={**old.headers, **_sendable(headers or {})},
            timeout=old.timeout if timeout == UNCHANGED else _timeout(timeout),
            retries=old.retries if max_retries is None else old.retries._replace(max_retries=_count(max_retries)),
        )
        return type(self)(options, self.http, self._sleep, owns_http=False)

    def _wait_s(self, call: Call[Any], fault: Fault, n_retries: int) -> float:
        """Returns the time before the next retry. Raises the error of the fault where there is none."""
        wait_s = self.options.retries.wait_s(call, fault, n_retries)
        if wait_s is None:
            raise fault.error from fault.cause
        return wait_s


class BlockingTransport(Transport[httpx.Client, Callable[[float], object]]):
    """Sends calls, and blocks until the answer is there."""

    @classmethod
    def made(
        cls, arguments: Arguments, http: httpx.Client | None, sleep: Callable[[float], object] | None
    ) -> "BlockingTransport":
        """Returns a transport, with an HTTP client of its own unless one is given. Raises `InvalidOption`."""
        options = arguments.options(http)
        return cls(options, http or arguments.http(httpx.Client), sleep or time.sleep, owns_http=http is None)

    def run(self, call: Call[T]) -> T:
        """Returns the reply. Raises a `BridgeError`."""
        return reply_of(call, self._answer(call, stream=False))

    def open(self, call: Call[Any]) -> httpx.Response:
        """Returns a response with a stream of events, to be closed by the caller. Raises a `BridgeError`."""
        return self._answer(call, stream=True)

    def close(self) -> None:
        """Closes the connections, unless the HTTP client was given."""
        if self._owns_http:
            self.http.close()

    def _answer(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        for n_retries in count():
            try:
                response = self.http.send(self.options.request(self.http, call, stream=stream), stream=stream)
                if stream and not is_event_stream(response):
                    response.read()
                fault = fault_in(response, call, stream=stream)
            except httpx.HTTPError as exc:
                fault = fault_of(exc, self.options.base_url)
            if fault is None:
                return response
            self._sleep(self._wait_s(call, fault, n_retries))
        raise AssertionError("unreachable")


class AsyncTransport(Transport[httpx.AsyncClient, Callable[[float], Awaitable[object]]]):
    """Sends calls, and lets other tasks run until the answer is there. See `BlockingTransport`."""

    @classmethod
    def made(
        cls, arguments: Arguments, http: httpx.AsyncClient | None, sleep: Callable[[float], Awaitable[object]] | None
    ) -> "AsyncTransport":
        """See `BlockingTransport.made`."""
        options = arguments.options(http)
        return cls(options, http or arguments.http(httpx.AsyncClient), sleep or _sleep, owns_http=http is None)

    async def run(self, call: Call[T]) -> T:
        """See `BlockingTransport.run`."""
        return reply_of(call, await self._answer(call, stream=False))

    async def open(self, call: Call[Any]) -> httpx.Response:
        """See `BlockingTransport.open`."""
        return await self._answer(call, stream=True)

    async def aclose(self) -> None:
        """See `BlockingTransport.close`."""
        if self._owns_http:
            await self.http.aclose()

    async def _answer(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        for n_retries in count():
            try:
                response = await self.http.send(self.options.request(self.http, call, stream=stream), stream=stream)
                if stream and not is_event_stream(response):
                    await response.aread()
                fault = fault_in(response, call, stream=stream)
            except httpx.HTTPError as exc:
                fault = fault_of(exc, self.options.base_url)
            if fault is None:
                return response
            await self._sleep(self._wait_s(call, fault, n_retries))
        raise AssertionError("unreachable")


async def _sleep(seconds: float) -> None:
    import asyncio  # only a client that waits needs it

    await asyncio.sleep(seconds)


def is_event_stream(response: httpx.Response) -> bool:
    """Whether the answer is a stream of events."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.status_code == HTTPStatus.OK and kind == "text/event-stream"


def fault_in(response: httpx.Response, call: Call[Any], *, stream: bool) -> Fault | None:
    """Returns why an answer has no reply; None where it has one. The answer has been read, unless it is a stream."""
    if stream and is_event_stream(response):
        return None
    document = _json_of(response)
    if document is None or response.has_redirect_location or (stream and response.is_success):
        return Fault(_not_a_bridge(response), should_retry=_should_retry(response))
    if response.status_code == HTTPStatus.OK:
        return None
    is_503 = response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    if is_503 and isinstance(document, dict) and any(fields <= document.keys() for fields in call.takes_503):
        return None
    error = error_of(document, status=response.status_code, headers=response.headers)
    return Fault(error, should_retry=_should_retry(response))


def reply_of(call: Call[T], response: httpx.Response) -> T:
    """Returns the reply of a successful answer. Raises `NotABridge` where its JSON is not that of a bridge."""
    try:
        return call.parse(_json_of(response), response.headers.get("x-request-id"))
    except _FAULTS_OF_FOREIGN_JSON as exc:
        error = NotABridge(f"{response.request.url} answered with other fields than a bridge does: is base_url right?")
        error.status = response.status_code
        raise error from exc


def fault_of(exc: httpx.HTTPError, base_url: str) -> Fault:
    """Returns why httpx got no answer."""
    reason = _ERRNO.sub("", str(exc)) or type(exc).__name__
    remedy = "check the address and the network"
    if is_local(base_url):
        remedy = "is it running? `infra/local/up` starts it"
    error: BridgeError
    match exc:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            error = BridgeUnreachable(f"{base_url} cannot be reached: no connection in time; {remedy}")
            return Fault(error, was_sent=False, cause=exc)
        case httpx.ConnectError() | httpx.UnsupportedProtocol():
            if "SSL" in reason:
                remedy = "does it speak https, with a certificate that this machine trusts?"
            error = BridgeUnreachable(f"{base_url} cannot be reached: {reason}; {remedy}")
            return Fault(error, was_sent=False, cause=exc)
        case httpx.ProxyError():
            return Fault(BridgeUnreachable(f"{base_url} cannot be reached through the proxy: {reason}"), cause=exc)
        case httpx.TimeoutException():
            error = BridgeTimeout(f"{base_url} did not answer in time; a longer `timeout` gives it more")
            return Fault(error, is_timeout=True, cause=exc)
        case httpx.DecodingError():
            return Fault(NotABridge(f"{base_url} sent an answer that cannot be decoded: {reason}"), cause=exc)
    error = ConnectionLost(f"the connection to {base_url} broke before the answer was complete: {reason}")
    return Fault(error, cause=exc)


def _checked(base_url: str) -> str:
    """Returns an address that httpx can call. Raises `InvalidOption`."""
    try:
        _ = httpx.URL(base_url).host  # decoding the host finds the last faults
    except (httpx.InvalidURL, ValueError) as exc:
        raise InvalidOption("base_url", f"is not a URL: {exc}") from exc
    return base_url


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns headers that HTTP can carry. Raises `InvalidOption`."""
    for name, value in headers.items():
        for text in (name, value):
            if not isinstance(text, str) or not text.isascii() or not text.isprintable():
                raise InvalidOption("headers", f"has a name or value that is no text of printable ASCII: {name!r}")
    return {name.lower(): value for name, value in headers.items()}


def _not_a_bridge(response: httpx.Response) -> BridgeError:
    url, status = response.request.url, response.status_code
    error: BridgeError
    if response.has_redirect_location:
        error = NotABridge(f"{url} redirects to {response.headers['location']}: give that address as base_url")
    else:
        kind = response.headers.get("content-type", "").partition(";")[0].strip() or "an answer without a type"
        error = NotABridge(f"{url} answered {status} with {kind}, not as a bridge does: is base_url right?")
    error.status = status
    error.request_id = response.headers.get("x-request-id")
    return error


def _json_of(response: httpx.Response) -> Any:
    """Returns the JSON of an answer; None for what is none, and for `null`."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _should_retry(response: httpx.Response) -> bool | None:
    return {"true": True, "false": False}.get(response.headers.get("x-should-retry", "").strip().lower())


def _bearer(api_key: str | None) -> dict[str, str]:
    key = (api_key or "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise InvalidOption("api_key", "has a character that a header cannot have")
    return {"authorization": f"Bearer {key}"}


def _timeout(timeout: Timeout) -> httpx.Timeout:
    if isinstance(timeout, int | float):
        if not timeout > 0:
            raise InvalidOption("timeout", f"is {timeout}: give seconds above 0, or None for no limit")
        return httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_S))
    return httpx.Timeout(timeout)


def _count(max_retries: int) -> int:
    if max_retries < 0:
        raise InvalidOption("max_retries", f"is {max_retries}: give 0 or more")
    return max_retries

"""Connections to providers and to DynamoDB, kept between requests.

They are httpx's engine, httpcore, without what httpx does for each request.
httpx's own parts still do what is done once for an address (its URLs know IDNA and IPv6, its `Proxy` the forms of a
proxy's address) or seldom (its decoders). Not kept are cookies, which no provider's API asks for.

A pool belongs to one event loop, so a Lambda's loop is kept between invocations. Connections that slept longer than a
NAT's memory may be dead, so they are replaced. A TLS context costs tens of milliseconds, so it is made once, and only
when a provider is reached by https.
"""

import asyncio
import base64
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from sekha_llm_bridge.clock import Clock

FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpx.DecodingError,
)
"""What an exchange fails with; httpcore's exceptions have no base class of their own."""

_CONNECT_S = 3.0
_WRITE_S = 10.0
_STALE_AFTER_S = 30.0
_MOST_IDLE = 20
# What httpx sends: gateways in front of providers know it, and both encodings can be read.
_USUAL_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": f"python-httpx/{httpx.__version__}",
}
_INFLATABLE = frozenset({"gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib looks which of the two it is
_LINGER_S = 0.1


@dataclass(frozen=True, slots=True)
class Head:
    """How a reply begins; the headers are as they were sent."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def header(self, name: str) -> str | None:
        """Every value that the header has, or None where it is not there."""
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Reply(Head):
    """What came back, whatever its status; the content is decoded."""

    content: bytes


@dataclass(frozen=True, slots=True)
class StreamedReply(Head):
    """What comes back, as it comes: decoded parts of any size, to be read once."""

    parts: AsyncIterator[bytes]

    async def whole(self) -> Reply:
        """What is left of it, at once."""
        return Reply(self.status, self.headers, b"".join([part async for part in self.parts]))


_Way = tuple[bytes, str | None]
"""A scheme and, where the requests take one, the address of a proxy."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What an address comes to; `auth` replaces whatever other authorization is sent."""

    url: httpcore.URL
    way: _Way = field(repr=False)
    headers: Mapping[str, str]
    auth: Mapping[str, str] = field(repr=False)


class Connections:
    """One pool for each way to providers. Never follows a redirect: a key must not travel to another host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._targets: dict[str, _Target] = {}
        self._pools: dict[_Way, httpcore.AsyncConnectionPool] = {}
        self._used_at_s: dict[_Way, float] = {}
        self._open: Counter[_Way] = Counter()

    async def exchange(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """Sends a request and reads the whole reply. The headers' names are in lower case.

        Raises httpcore's exceptions, `httpx.DecodingError`, and `httpx.InvalidURL` or ValueError for an address or a
        header that cannot be sent at all.
        """
        async with self._exchanging(method, url, content=content, headers=headers, timeout_s=timeout_s) as response:
            received = await response.aread()
        return Reply(response.status, response.headers, _decoded(received, response.headers))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamedReply]:
        """Sends a request and hands out the reply as it comes; the time holds from one part to the next.

        Leaving before its end closes the connection, by which the other side learns that nobody listens. Whoever has
        read what matters leaves the rest to be read here, for a moment, so that the connection can be used again.
        Raises what `exchange` raises.
        """
        plain = {"accept-encoding": "identity", **headers}
        async with self._exchanging(method, url, content=content, headers=plain, timeout_s=timeout_s) as response:
            raw, head = response.aiter_stream(), Head(response.status, response.headers)
            yield StreamedReply(head.status, head.headers, _as_it_comes(raw, head))
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(_LINGER_S):
                    async for _ in raw:
                        pass

    async def aclose(self) -> None:
        """Closes every connection."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    @asynccontextmanager
    async def _exchanging(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[httpcore.Response]:
        """The response whose head has come. As long as it is read, its pool is in use."""
        target = self._target(url)
        request = _request(method, target, content=content, headers=headers, timeout_s=timeout_s)
        pool = await self._pool(target.way)
        self._open[target.way] += 1
        try:
            response = await pool.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._open[target.way] -= 1
            self._used_at_s[target.way] = self._clock.now().timestamp()

    def _target(self, url: str) -> _Target:
        """Parsed once: a configuration has few addresses."""
        if url not in self._targets:
            self._targets[url] = _parsed(url)
        return self._targets[url]

    async def _pool(self, way: _Way) -> httpcore.AsyncConnectionPool:
        now_s = self._clock.now().timestamp()  # a frozen environment's monotonic clock may stand still
        slept_s = now_s - self._used_at_s.get(way, now_s)
        is_stale = slept_s > _STALE_AFTER_S and not self._open[way]  # what is read from has not slept
        self._used_at_s[way] = now_s
        if is_stale and (old := self._pools.pop(way, None)) is not None:
            await old.aclose()
        if way not in self._pools:
            self._pools[way] = self._new_pool(*way)
        return self._pools[way]

    def _new_pool(self, scheme: bytes, proxy: str | None) -> httpcore.AsyncConnectionPool:
        """A function serves one request at a time: only the health check has many connections, all at once."""
        return httpcore.AsyncConnectionPool(
            ssl_context=self.trust() if scheme == b"https" else None,
            proxy=_proxy(proxy) if proxy else None,
            max_connections=None,
            max_keepalive_connections=_MOST_IDLE,
            keepalive_expiry=_STALE_AFTER_S,
        )

    def trust(self) -> ssl.SSLContext:
        """Whom https trusts; whoever knows beforehand that it will be needed has it made in time."""
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


def _parsed(address: str) -> _Target:
    url = httpx.URL(address)
    if not url.raw_host:  # the system would take it for this machine
        raise httpx.InvalidURL("the address has no host")
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    way = (url.raw_scheme, _environments_proxy(url) if url.scheme == "https" else None)
    return _Target(target, way, {"host": url.netloc.decode(), **_USUAL_HEADERS}, _basic_auth(url))


def _basic_auth(url: httpx.URL) -> dict[str, str]:
    """The header that `user:password@` in an address stands for (RFC 7617)."""
    if not url.userinfo:
        return {}
    return {"authorization": f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"}


def _environments_proxy(url: httpx.URL) -> str | None:
    """The address of the proxy that HTTPS_PROXY or ALL_PROXY names, unless NO_PROXY exempts the host."""
    proxies = getproxies()
    named = proxies.get("https") or proxies.get("all")
    if not named or proxy_bypass(url.netloc.decode()):
        return None
    return named if "://" in named else f"http://{named}"


def _proxy(address: str) -> httpcore.Proxy:
    proxy = httpx.Proxy(address)
    url = httpcore.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=b"/")
    return httpcore.Proxy(url, auth=proxy.raw_auth, headers=proxy.headers.raw, ssl_context=proxy.ssl_context)


def _request(
    method: str, target: _Target, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
) -> httpcore.Request:
    sent = {**target.headers, **headers, **target.auth}
    if content is not None:
        sent["content-length"] = str(len(content))
    timeouts = {"connect": min(_CONNECT_S, timeout_s), "write": min(_WRITE_S, timeout_s), "read": timeout_s}
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in sent.items()]
    return httpcore.Request(method, target.url, headers=raw, content=content, extensions={"timeout": timeouts})


def _decoded(content: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Most answers come as they are; httpx decodes the others. Raises `httpx.DecodingError`."""
    if not any(name.lower() == b"content-encoding" for name, _ in headers):
        return content
    return httpx.Response(200, headers=headers, content=content).content


def _as_it_comes(raw: AsyncIterator[bytes], head: Head) -> AsyncIterator[bytes]:
    """The parts as they are, or decompressed where somebody compresses what was not to be. Of an error that cannot be
    read, the status says enough.
    """
    coding = (head.header("content-encoding") or "identity").strip().lower()
    is_unread = coding == "identity" or (coding not in _INFLATABLE and head.status >= 400)
    return raw if is_unread else _inflated(raw, coding)


async def _inflated(raw: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    if coding not in _INFLATABLE:
        raise httpx.DecodingError("a stream in a content coding that was not asked for")
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    async for part in raw:
        try:
            yield inflating.decompress(part)
        except zlib.error as exc:
            raise httpx.DecodingError("a compressed stream that is none") from exc

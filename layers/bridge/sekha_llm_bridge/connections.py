"""HTTP connections to providers, DynamoDB and SQS, kept alive between requests.

It uses httpcore, the engine of httpx, directly, because httpx adds work to every request. httpx itself parses addresses
(once for each: IDNA, IPv6, proxies) and decodes the rare compressed answers. Cookies are not kept, because no
provider's
API needs them.

A pool belongs to one event loop, so a Lambda's loop is kept between invocations. Idle connections may have been dropped
silently by a NAT, so they are replaced after `_STALE_AFTER_S`. A TLS context costs tens of milliseconds, so there is
one,
made when the first https address is used.
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
"""The exceptions with which an exchange fails; those of httpcore have no common base class."""

_CONNECT_TIMEOUT_S = 3.0
_WRITE_TIMEOUT_S = 10.0
_STALE_AFTER_S = 30.0
_MAX_IDLE_CONNECTIONS = 20
# The same as httpx sends: gateways in front of providers expect it, and both encodings can be decoded.
_DEFAULT_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": f"python-httpx/{httpx.__version__}",
}
_DECOMPRESSIBLE = frozenset({"gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib detects which of the two it is
_DRAIN_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the raw headers of a reply."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def header(self, name: str) -> str | None:
        """Returns all values of a header, joined by commas; None where it is missing."""
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Reply(Head):
    """A whole reply of any status; the content is decoded."""

    content: bytes


@dataclass(frozen=True, slots=True)
class StreamedReply(Head):
    """A reply that is read as it arrives: decoded parts of any size, which can be read once."""

    parts: AsyncIterator[bytes]

    async def whole(self) -> Reply:
        """Reads the rest, and returns the whole reply."""
        return Reply(self.status, self.headers, b"".join([part async for part in self.parts]))


_PoolKey = tuple[bytes, str | None]
"""A scheme, and the address of a proxy where one is used."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed address. `auth` has the authorization in the address, which replaces that of the request."""

    url: httpcore.URL
    pool_key: _PoolKey = field(repr=False)
    headers: Mapping[str, str]
    auth: Mapping[str, str] = field(repr=False)


class Connections:
    """One connection pool for each scheme and proxy. Redirects are not followed: a key must not be sent to another
    host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._targets: dict[str, _Target] = {}
        self._pools: dict[_PoolKey, httpcore.AsyncConnectionPool] = {}
        self._used_at_s: dict[_PoolKey, float] = {}
        self._responses_open: Counter[_PoolKey] = Counter()

    async def exchange(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """Sends a request and returns the whole reply. The names of `headers` are in lower case.

        Raises `FAILURES`, and `httpx.InvalidURL` or ValueError for an address or a header that cannot be sent.
        """
        async with self._open_response(method, url, content=content, headers=headers, timeout_s=timeout_s) as response:
            received = await response.aread()
        return Reply(response.status, response.headers, _decoded(received, response.headers))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamedReply]:
        """Sends a request and yields the reply as it arrives. `timeout_s` limits the wait for each part.

        An exception in the caller closes the connection, so that the server stops its work. On a normal exit the rest
        is read for at most `_DRAIN_TIMEOUT_S`, so that the connection can be used again. Raises the same as `exchange`.
        """
        plain = {"accept-encoding": "identity", **headers}
        async with self._open_response(method, url, content=content, headers=plain, timeout_s=timeout_s) as response:
            raw, head = response.aiter_stream(), Head(response.status, response.headers)
            yield StreamedReply(head.status, head.headers, _decoded_parts(raw, head))
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                    async for _ in raw:
                        pass

    async def aclose(self) -> None:
        """Closes every connection."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    @asynccontextmanager
    async def _open_response(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[httpcore.Response]:
        """Yields the response once its head has arrived. Until the exit its pool counts as in use."""
        if url not in self._targets:  # parsed once: a configuration has few addresses
            self._targets[url] = _parse_address(url)
        target = self._targets[url]
        request = _request(method, target, content=content, headers=headers, timeout_s=timeout_s)
        pool = await self._pool(target.pool_key)
        self._responses_open[target.pool_key] += 1
        try:
            response = await pool.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._responses_open[target.pool_key] -= 1
            self._used_at_s[target.pool_key] = self._clock.now().timestamp()

    async def _pool(self, key: _PoolKey) -> httpcore.AsyncConnectionPool:
        """Returns the pool for a scheme and proxy; replaces one that was idle for too long."""
        now_s = self._clock.now().timestamp()  # a frozen environment's monotonic clock may stop
        idle_s = now_s - self._used_at_s.get(key, now_s)
        is_stale = idle_s > _STALE_AFTER_S and not self._responses_open[key]
        self._used_at_s[key] = now_s
        if is_stale and (old := self._pools.pop(key, None)) is not None:
            await old.aclose()
        if key not in self._pools:
            self._pools[key] = self._new_pool(*key)
        return self._pools[key]

    def _new_pool(self, scheme: bytes, proxy: str | None) -> httpcore.AsyncConnectionPool:
        """Returns a pool without a maximum: only the health check opens many connections at the same time."""
        return httpcore.AsyncConnectionPool(
            ssl_context=self.tls_context() if scheme == b"https" else None,
            proxy=_proxy(proxy) if proxy else None,
            max_connections=None,
            max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
            keepalive_expiry=_STALE_AFTER_S,
        )

    def tls_context(self) -> ssl.SSLContext:
        """Returns the TLS context. Call it in the init phase where https is certain to be used."""
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


def _parse_address(address: str) -> _Target:
    url = httpx.URL(address)
    if not url.raw_host:  # the system would connect to this machine
        raise httpx.InvalidURL("the address has no host")
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    pool_key = (url.raw_scheme, _proxy_from_environment(url) if url.scheme == "https" else None)
    return _Target(target, pool_key, {"host": url.netloc.decode(), **_DEFAULT_HEADERS}, _basic_auth(url))


def _basic_auth(url: httpx.URL) -> dict[str, str]:
    """Returns the header for `user:password@` in an address (RFC 7617)."""
    if not url.userinfo:
        return {}
    return {"authorization": f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"}


def _proxy_from_environment(url: httpx.URL) -> str | None:
    """Returns the proxy of HTTPS_PROXY or ALL_PROXY, unless NO_PROXY exempts the host."""
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
    timeouts = {
        "connect": min(_CONNECT_TIMEOUT_S, timeout_s),
        "write": min(_WRITE_TIMEOUT_S, timeout_s),
        "read": timeout_s,
    }
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in sent.items()]
    return httpcore.Request(method, target.url, headers=raw, content=content, extensions={"timeout": timeouts})


def _decoded(content: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Returns the decoded content; httpx decodes it where it is compressed. Raises `httpx.DecodingError`."""
    if not any(name.lower() == b"content-encoding" for name, _ in headers):
        return content
    return httpx.Response(200, headers=headers, content=content).content


def _decoded_parts(raw: AsyncIterator[bytes], head: Head) -> AsyncIterator[bytes]:
    """Returns the parts, decompressed where a server compresses although it was asked not to. An error in an unknown
    encoding is passed on as it is: its status is enough.
    """
    coding = (head.header("content-encoding") or "identity").strip().lower()
    is_unchanged = coding == "identity" or (coding not in _DECOMPRESSIBLE and head.status >= 400)
    return raw if is_unchanged else _decompressed(raw, coding)


async def _decompressed(raw: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    if coding not in _DECOMPRESSIBLE:
        raise httpx.DecodingError("a stream in an unsupported content encoding")
    decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
    async for part in raw:
        try:
            yield decompressor.decompress(part)
        except zlib.error as exc:
            raise httpx.DecodingError("a compressed stream that cannot be decompressed") from exc

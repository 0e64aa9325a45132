"""Keeps HTTP connections to providers and to DynamoDB open between requests.

Uses httpcore, the transport library of httpx, because httpx adds work to each request and 25 ms to each start. httpx
itself is imported only where an address needs it: it parses proxy addresses, and URLs that are not plain (with IDNA,
IPv6, or a password). Cookies are not stored: no provider's API requires them.

A pool belongs to one event loop, so a Lambda function's loop is kept between invocations. A NAT gateway may have
dropped connections that were idle for long, so idle connections are replaced. A TLS context takes tens of milliseconds
to create, so one is created for all pools, and only when an https URL is used.
"""

import asyncio
import base64
import re
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpcore

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.proxies import proxy_from_environment

if TYPE_CHECKING:
    import httpx


class DecodingError(Exception):
    """The body cannot be decompressed, or is too large."""


class InvalidURL(ValueError):
    """No request can be sent to the URL."""


TRANSPORT_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    DecodingError,
)
"""The exceptions of a failed exchange. httpcore's exceptions have no common base class."""

_CONNECT_TIMEOUT_S = 3.0
_WRITE_TIMEOUT_S = 10.0
_STALE_AFTER_S = 30.0
_MAX_IDLE_CONNECTIONS = 20
# The same headers as httpx sends, because gateways in front of providers accept them. Both encodings can be decoded.
_DEFAULT_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": "python-httpx/0.28.1",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# A URL that stays as it is: scheme, host (a name, or an address of IPv4), port, path without dot segments, query.
_PLAIN_URL = re.compile(
    rf"(https?)://((?:[a-z0-9-]+[.])*[a-z][a-z0-9-]*|{_OCTET}(?:[.]{_OCTET}){{3}})(?::([1-9][0-9]{{0,3}}|[1-5][0-9]{{4}}))?"
    r"((?:/(?:[A-Za-z0-9_~:-]|%[0-9A-F]{2})(?:[A-Za-z0-9._~:-]|%[0-9A-F]{2})*)*/?)(\?[A-Za-z0-9._~=&-]+)?"
)
_SUPPORTED_ENCODINGS = frozenset({"gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib detects the format from the header of the data
_DRAIN_TIMEOUT_S = 0.1
_MAX_BYTES = 32 * 1024 * 1024  # of a success
_MAX_ERROR_BYTES = 64 * 1024
_MAX_PART_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """The status and headers of a reply. The headers are unchanged: names in any letter case, in the order received."""

    status: int
    headers: list[tuple[bytes, bytes]]

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """Returns all values of the header, joined by `, `, or None when it is absent. `name` is in lower case."""
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Reply(ReplyHead):
    """A complete reply with any status. `content` is decompressed."""

    content: bytes


@dataclass(frozen=True, slots=True)
class StreamedReply(ReplyHead):
    """A reply whose body arrives in parts. `parts` are decompressed, of any size, and can be read once."""

    parts: AsyncIterator[bytes]

    async def read_all(self) -> Reply:
        """Reads the parts that have not been read yet and returns them as one reply, see `Connections.exchange`."""
        return Reply(self.status, self.headers, await _joined(self.parts, self))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Returns a new event loop, to be made and kept in Lambda's init phase.

    It runs once now, so that anyio imports its back end here and not at the first connection: the init phase has a
    whole processor, and a request only its function's share of one.
    """
    from anyio.lowlevel import checkpoint  # a client of this module that makes no connection starts without it

    loop = asyncio.new_event_loop()
    loop.run_until_complete(checkpoint())
    return loop


_PoolKey = tuple[bytes, str | None]
"""The scheme and, when requests are sent through a proxy, the proxy's address."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed URL with the pool and headers for it. `auth` replaces any other authorization header."""

    url: httpcore.URL
    pool_key: _PoolKey = field(repr=False)
    headers: Mapping[str, str]
    auth: Mapping[str, str] = field(repr=False)


class Connections:
    """Connection pools, one per scheme and proxy.

    Never follows a redirect, because that could send an API key to another host.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._targets: dict[str, _Target] = {}
        self._pools: dict[_PoolKey, httpcore.AsyncConnectionPool] = {}
        self._used_at_s: dict[_PoolKey, float] = {}
        self._n_in_use: Counter[_PoolKey] = Counter()

    async def exchange(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """Sends a request and returns the complete reply. The names in `headers` must be in lower case.

        Of an error's body only 64 kB are read; a success of more than 32 MB, decompressed, raises
        `DecodingError`, so that no server can fill the memory. Raises one of `TRANSPORT_ERRORS`, and `ValueError` for
        a URL (`InvalidURL`) or a header that cannot be sent.
        """
        async with self._open_response(method, url, content=content, headers=headers, timeout_s=timeout_s) as response:
            head = ReplyHead(response.status, response.headers)
            content = await _joined(_decoded_parts(response.aiter_stream(), head), head)
        return Reply(head.status, head.headers, content)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamedReply]:
        """Sends a request and yields the reply while its body arrives. `timeout_s` applies between two parts.

        Leaving the context with an exception closes the connection, so that the server stops generating. After a normal
        exit the rest of the body is read for up to 0.1 s, so that the connection can be reused; if the body has not
        ended by then, the connection is closed. Raises the same exceptions as `exchange`.
        """
        plain = {"accept-encoding": "identity", **headers}
        async with self._open_response(method, url, content=content, headers=plain, timeout_s=timeout_s) as response:
            raw, head = response.aiter_stream(), ReplyHead(response.status, response.headers)
            yield StreamedReply(head.status, head.headers, _decoded_parts(raw, head))
            with suppress(TimeoutError, *TRANSPORT_ERRORS):
                async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                    async for _ in raw:
                        pass

    async def aclose(self) -> None:
        """Closes every connection."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    def forget(self) -> None:
        """Drops every connection without closing it: after a restore from a snapshot, the servers know none of them."""
        self._pools = {}

    @asynccontextmanager
    async def _open_response(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[httpcore.Response]:
        """Sends the request and yields the response when its headers have arrived. The pool is in use until exit."""
        target = self._target(url)
        request = _request(method, target, content=content, headers=headers, timeout_s=timeout_s)
        pool = await self._pool(target.pool_key)
        self._n_in_use[target.pool_key] += 1
        try:
            response = await pool.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._n_in_use[target.pool_key] -= 1
            self._used_at_s[target.pool_key] = self._clock.now().timestamp()

    def _target(self, url: str) -> _Target:
        """Returns the parsed URL. The cache has no limit, because a configuration has few URLs."""
        if url not in self._targets:
            self._targets[url] = _parse_target(url)
        return self._targets[url]

    async def _pool(self, pool_key: _PoolKey) -> httpcore.AsyncConnectionPool:
        # The wall clock, because the monotonic clock may stop while Lambda freezes the environment.
        now_s = self._clock.now().timestamp()
        idle_s = now_s - self._used_at_s.get(pool_key, now_s)
        is_stale = idle_s > _STALE_AFTER_S and not self._n_in_use[pool_key]  # a pool in use is not idle
        self._used_at_s[pool_key] = now_s
        if is_stale and (old := self._pools.pop(pool_key, None)) is not None:
            await old.aclose()
        if pool_key not in self._pools:
            self._pools[pool_key] = self._new_pool(*pool_key)
        return self._pools[pool_key]

    def _new_pool(self, scheme: bytes, proxy: str | None) -> httpcore.AsyncConnectionPool:
        """Returns an empty pool. Its number of connections has no limit, because only the health check opens many."""
        return httpcore.AsyncConnectionPool(
            ssl_context=self.tls_context() if scheme == b"https" else None,
            proxy=_proxy(proxy) if proxy else None,
            max_connections=None,
            max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
            keepalive_expiry=_STALE_AFTER_S,
        )

    def tls_context(self) -> ssl.SSLContext:
        """Returns the TLS context with the system's trusted certificates, and creates it in the first call.

        Call it at startup when https will be used, because creating it takes tens of milliseconds.
        """
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


def _parse_target(address: str) -> _Target:
    """Returns the target of a URL. What httpx makes of a plain URL is known without importing it."""
    if (plain := _PLAIN_URL.fullmatch(address)) is None:
        return _parse_unusual_target(address)
    scheme, host, port, path, query = plain.groups()
    number = None if port is None or int(port) == _DEFAULT_PORTS[scheme] else int(port)
    netloc = host if number is None else f"{host}:{number}"
    target = (path or "/") + (query or "")
    return _target_of(scheme, host.encode(), number, target.encode(), netloc=netloc, auth={})


def _parse_unusual_target(address: str) -> _Target:
    import httpx  # see above

    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as exc:
        raise InvalidURL(str(exc)) from exc
    if not url.raw_host:  # an empty host would connect to this machine
        raise InvalidURL("the URL has no host")
    auth = _basic_auth_header(url)
    return _target_of(url.scheme, url.raw_host, url.port, url.raw_path, netloc=url.netloc.decode(), auth=auth)


def _target_of(
    scheme: str, host: bytes, port: int | None, target: bytes, *, netloc: str, auth: Mapping[str, str]
) -> _Target:
    url = httpcore.URL(scheme=scheme.encode(), host=host, port=port, target=target)
    pool_key = (scheme.encode(), proxy_from_environment(netloc) if scheme == "https" else None)
    return _Target(url, pool_key, {"host": netloc, **_DEFAULT_HEADERS}, auth)


def _basic_auth_header(url: "httpx.URL") -> dict[str, str]:
    """Returns the authorization header for `user:password@` in a URL (RFC 7617), empty when there is none."""
    if not url.userinfo:
        return {}
    return {"authorization": f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"}


def _proxy(address: str) -> httpcore.Proxy:
    import httpx  # see above

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


async def _joined(parts: AsyncIterator[bytes], head: ReplyHead) -> bytes:
    """Returns the parts as one body, within the limits of `Connections.exchange`."""
    received: list[bytes] = []
    n_bytes = 0
    async for part in parts:
        received.append(part)
        n_bytes += len(part)
        if n_bytes > (_MAX_BYTES if head.is_success else _MAX_ERROR_BYTES):
            if head.is_success:
                raise DecodingError("the body is larger than 32 MB")
            break
    return b"".join(received)


def _decoded_parts(raw: AsyncIterator[bytes], head: ReplyHead) -> AsyncIterator[bytes]:
    """Returns the parts, decompressed when a server compresses the body although `identity` was requested.

    The body of an error with an unknown encoding stays as it is, so that the status is still reported.
    """
    if not any(name.lower() == b"content-encoding" for name, _ in head.headers):
        return raw
    encodings = [one.strip().lower() for one in (head.header("content-encoding") or "").split(",")]
    encodings = [one for one in encodings if one not in {"", "identity"}]
    if not encodings or (not head.is_success and not _SUPPORTED_ENCODINGS.issuperset(encodings)):
        return raw
    for encoding in reversed(encodings):
        raw = _decompressed(raw, encoding)
    return raw


async def _decompressed(raw: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Yields the decompressed parts, none larger than 1 MB: a few bytes may stand for very many."""
    if encoding not in _SUPPORTED_ENCODINGS:
        raise DecodingError("the stream has an unsupported content encoding")
    decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
    is_first = True
    async for part in raw:
        compressed = part
        while compressed:
            try:
                yield decompressor.decompress(compressed, _MAX_PART_BYTES)
            except zlib.error as exc:
                if not is_first:
                    raise DecodingError("the stream is not valid compressed data") from exc
                decompressor = zlib.decompressobj(-zlib.MAX_WBITS)  # "deflate" without the header of zlib
                is_first = False
                continue
            is_first = False
            compressed = decompressor.unconsumed_tail

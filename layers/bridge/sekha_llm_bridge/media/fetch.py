"""Fetches an image from a public address, for a provider that takes bytes only.

The URL is the caller's, so it may point into the network that the bridge runs in, and its server may answer with
anything. Therefore: the bridge connects to an address that it has checked (see `media.checked_connection`). A redirect
is a new URL. No header but the ones below is sent. The body is counted while it arrives, one time limit holds for
everything, and what counts is what the bytes are, not what a header says.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urljoin

import httpcore

from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.media.addresses import ImageUrl, IpAddress, is_public_address, parse_url
from sekha_llm_bridge.media.checked_connection import AddressRefused, CheckedBackend, Resolve, resolve_name
from sekha_llm_bridge.media.inspect import COMMON_FORMATS, HEAD_BYTES, kind_of, size_fault
from sekha_llm_bridge.proxies import proxy_from_environment

MAX_REDIRECTS = 3
MAX_IMAGE_BYTES = 20 * 1_000_000
MAX_TOTAL_BYTES = 50 * 1_000_000

_CONNECT_TIMEOUT_S = 3.0  # for each address
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Some servers refuse a client without a name. `identity`: a small compressed body may stand for a very large one.
_HEADERS = {
    "accept": "image/png, image/jpeg, image/webp, image/gif",
    "accept-encoding": "identity",
    "connection": "close",
    "user-agent": "sekha-llm-bridge",
}
_PROXY_REQUIRED = (
    "the image cannot be fetched: this bridge reaches its server through a proxy only, which cannot be kept from"
    " private addresses. Send the image as a data: URL, or name its server in NO_PROXY"
)


class FetchedImage(NamedTuple):
    """An image. `media_type` is that of its bytes."""

    media_type: str
    data: bytes


class ProxyRequired(Exception):
    """The bridge reaches this host through a proxy only. The proxy would resolve the name, and nothing would check it,
    so nothing is fetched.
    """


class ByteBudget:
    """The bytes that the images of one request may have in total. `used` of them are spent already."""

    def __init__(self, max_bytes: int = MAX_TOTAL_BYTES, *, used: int = 0) -> None:
        self._max_bytes, self._left = max_bytes, max_bytes - used

    def take(self, n_bytes: int) -> bool:
        """Counts received bytes, and returns whether they are allowed."""
        self._left -= n_bytes
        return self._left >= 0

    @property
    def words(self) -> str:
        """The limit, for a message."""
        return _megabytes(self._max_bytes)


class _Refused(Exception):
    """The image is not fetched; the message is the reason for the caller."""


class ImageFetcher:
    """Fetches images. Keeps no connection, no cookie and no answer.

    `tls_context` returns the context to use, see `Connections.tls_context`. `resolve` and `is_allowed` are for tests:
    the latter says which addresses may be connected to.
    """

    def __init__(
        self,
        tls_context: Callable[[], ssl.SSLContext],
        *,
        resolve: Resolve = resolve_name,
        is_allowed: Callable[[IpAddress], bool] = is_public_address,
    ) -> None:
        self._tls_context = tls_context
        self._resolve = resolve
        self._is_allowed = is_allowed

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int = MAX_IMAGE_BYTES,
        timeout_s: float,
        budget: ByteBudget | None = None,
        param: str | None = None,
    ) -> FetchedImage:
        """Returns the image at an http(s) URL: PNG, JPEG, GIF or WebP, of at most `max_bytes`.

        `timeout_s` is for all of it: names, connections, redirects, the body. Raises `InvalidRequest` for `param`, with
        a reason that names no address, and `ProxyRequired`. `budget` is shared with the other images of a request.
        """
        body = _Body(max_bytes, budget or ByteBudget(max_bytes))
        try:
            async with asyncio.timeout(timeout_s):
                await self._follow(url, body)
            return body.image()
        except TimeoutError:
            reason = "could not be fetched in time"
        except (_Refused, AddressRefused) as exc:
            reason = str(exc)
        # OSError and ValueError: what a library has not translated. No message of theirs: it may name an address.
        except (
            *(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.UnsupportedProtocol),
            *(OSError, ValueError),
        ) as exc:
            reason = f"could not be fetched: the connection to its server failed ({type(exc).__name__})"
        raise InvalidRequest(f"the image {reason}", param=param)

    async def _follow(self, url: str, body: "_Body") -> None:
        """Reads the body at the URL, or at the one that it redirects to."""
        for _ in range(MAX_REDIRECTS + 1):
            target = _parsed(url)
            if proxy_from_environment(target.host):
                raise ProxyRequired(_PROXY_REQUIRED)
            location = await self._get(target, body)
            if location is None:
                return
            url = _joined(url, location)
        raise _Refused(f"could not be fetched: it redirects more than {MAX_REDIRECTS} times")

    async def _get(self, target: ImageUrl, body: "_Body") -> str | None:
        """Reads the body at one URL; returns the location instead where the answer is a redirect."""
        backend = await CheckedBackend.for_host(target.host, target.port, self._resolve, self._is_allowed)
        tls = self._tls_context() if target.scheme == "https" else None
        async with httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as pool:
            response = await pool.handle_async_request(_request(target))
            try:
                if response.status in _REDIRECTS:
                    return _header(response, b"location") or ""
                await body.read(response)
                return None
            finally:
                await response.aclose()


class _Body:
    """The body of an answer, which grows up to its limits and is refused as soon as it cannot be an image."""

    def __init__(self, max_bytes: int, budget: ByteBudget) -> None:
        self._max_bytes, self._budget = max_bytes, budget
        self._data = bytearray()  # no list of parts: a server that sends single bytes would fill the memory with them

    async def read(self, response: httpcore.Response) -> None:
        """Reads the body of an answer with any status. Raises `_Refused`."""
        if response.status != 200:
            raise _Refused(f"could not be fetched: its server answered {response.status}")
        if _header(response, b"content-encoding").lower() not in {"", "identity"}:
            raise _Refused("could not be fetched: its server sends it compressed, although it was not asked to")
        length = _header(response, b"content-length")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._max_bytes:
            raise self._too_large()
        async for part in response.aiter_stream():
            is_in_head = len(self._data) < HEAD_BYTES
            self._add(part)
            if is_in_head and len(self._data) >= HEAD_BYTES:
                self._format()

    def _add(self, part: bytes) -> None:
        if len(self._data) + len(part) > self._max_bytes:
            raise self._too_large()
        if not self._budget.take(len(part)):
            raise _Refused(f"could not be fetched: the images of the request have more than {self._budget.words}")
        self._data += part

    def image(self) -> FetchedImage:
        """Returns the complete image. Raises `_Refused` where it is none, or has too many pixels."""
        image_format = self._format()
        data = bytes(self._data)
        self._data.clear()
        if (fault := size_fault(image_format, lambda offset, n_bytes: data[offset : offset + n_bytes])) is not None:
            raise _Refused(fault)
        return FetchedImage(f"image/{image_format}", data)

    def _format(self) -> str:
        kind = kind_of(bytes(self._data[:HEAD_BYTES]))
        if kind.format not in COMMON_FORMATS:
            raise _Refused(f"is no PNG, JPEG, GIF or WebP image: the content at its URL is {kind.words}")
        return kind.format

    def _too_large(self) -> _Refused:
        return _Refused(f"is larger than {_megabytes(self._max_bytes)}")


def _parsed(url: str) -> ImageUrl:
    try:
        return parse_url(url)
    except ValueError as exc:  # it has a reason of ours, without the URL
        raise _Refused(f"has a URL that {exc}") from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _Refused("could not be fetched: it redirects to what is no URL") from None


def _request(target: ImageUrl) -> httpcore.Request:
    headers = [(name.encode(), value.encode()) for name, value in {"host": target.host_header, **_HEADERS}.items()]
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.target.encode()
    )
    return httpcore.Request("GET", url, headers=headers, extensions={"timeout": {"connect": _CONNECT_TIMEOUT_S}})


def _header(response: httpcore.Response, name: bytes) -> str:
    return next(
        (value.decode("utf-8", "replace").strip() for key, value in response.headers if key.lower() == name), ""
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1_000_000:g} MB"

"""Connects to an address that has been checked: the bridge resolves the name once, and connects to what it has checked.

Checking a name and leaving it to the HTTP client to resolve it again would let a name server answer differently the
second time (DNS rebinding). TLS still uses the name: for SNI, and for checking the certificate.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Self

import httpcore

from sekha_llm_bridge.media.addresses import NOT_PUBLIC, IpAddress, is_public_host, literal_address

_MAX_ADDRESSES = 4

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host name, for a port. Raises OSError where it has none."""


class AddressRefused(Exception):
    """No address of the host may be connected to; the message is the reason, and names none."""


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """Returns the addresses that the system's resolver has for a name, in the order in which to try them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedBackend(httpcore.AnyIOBackend):
    """A network backend that connects to the given addresses, whatever name it is asked for."""

    def __init__(self, addresses: Sequence[IpAddress]) -> None:
        self._addresses = addresses

    @classmethod
    async def for_host(cls, host: str, port: int, resolve: Resolve, is_allowed: Callable[[IpAddress], bool]) -> Self:
        """Returns the backend for a host, as `parse_url` returns it. Raises `AddressRefused`.

        One address that is not allowed spoils all: which one a second look would use cannot be known.
        """
        if (literal := literal_address(host)) is not None:
            addresses = [literal]
        elif is_public_host(host):
            addresses = await _resolved(host, port, resolve)
        else:
            raise AddressRefused(NOT_PUBLIC)
        if not all(map(is_allowed, addresses)):
            raise AddressRefused(NOT_PUBLIC)
        return cls(addresses[:_MAX_ADDRESSES])

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 — httpcore's interface
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 — httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address that answers; `timeout` is for each."""
        *others, last = self._addresses
        for address in others:
            try:
                return await super().connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await super().connect_tcp(str(last), port, timeout, local_address, socket_options)


async def _resolved(host: str, port: int, resolve: Resolve) -> list[IpAddress]:
    try:
        found = [ip_address(address.partition("%")[0]) for address in await resolve(host, port)]
    except (OSError, ValueError):  # ValueError: a name that cannot be encoded
        found = []
    if not found:
        raise AddressRefused("could not be fetched: the name of its server has no address")
    return found

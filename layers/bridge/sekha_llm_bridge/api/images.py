"""Images in messages: where they may be, and what they ask of a model.

A provider that fetches an image by URL does so from its own network, and some providers are on the caller's own
machine; so an address that is not public is refused, whoever is to fetch it.
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from sekha_llm_bridge.routing import ImageNeeds

_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+);base64,([A-Za-z0-9+/=_-]+)\Z", re.IGNORECASE)
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".home.arpa", ".lan")


def check_image_url(url: str) -> None:
    """Raises ValueError unless `url` is an inline image or a public http(s) address."""
    if url[:5].lower() == "data:":
        if not _DATA_URL.match(url):
            raise ValueError("a data: URL must be data:image/TYPE;base64,… with base64 text")
        return
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an http(s) URL or a data: URL")
    if not _is_public(host):
        raise ValueError("names an address that is not public")


def _is_public(host: str) -> bool:
    address = _address(host)
    if address is not None:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return (mapped or address).is_global and not address.is_multicast
    return "." in host and not f".{host}".endswith(_PRIVATE_NAMES)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, in any of the forms that resolvers take (`127.1`, `0x7f000001`, `2130706433`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def image_needs(urls: Sequence[str]) -> ImageNeeds:
    """What those images ask of a model."""
    inline = [found for url in urls if (found := _DATA_URL.match(url))]
    return ImageNeeds(
        count=len(urls),
        formats=frozenset(found[1].lower() for found in inline),
        largest_bytes=max((len(found[2]) * 3 // 4 for found in inline), default=0),
        by_url=len(inline) < len(urls),
    )

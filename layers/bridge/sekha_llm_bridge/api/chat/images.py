"""Images in messages: which URLs are allowed, and what the images require of a model.

A provider that fetches an image does so from its own network, and some providers run on the caller's own machine. So a
URL of an address that is not public is refused, whichever provider would fetch it.
"""

import re
import socket
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from sekha_llm_bridge.routing import ImageNeeds

_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+);base64,([A-Za-z0-9+/]+={0,2})\Z", re.IGNORECASE)
# Characters that URL parsers interpret in different ways.
_AMBIGUOUS = re.compile(r"[\s\\\x00-\x1f\x7f]")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_PRIVATE_NAMES = (
    ".localhost", ".localdomain", ".local", ".internal", ".intranet", ".corp", ".home.arpa", ".lan", ".svc",
)  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")


def check_image_url(url: str) -> None:
    """Raises ValueError unless `url` is an inline image (`data:`) or an http(s) URL of a public address."""
    if url[:5].lower() == "data:":
        if not _DATA_URL.match(url):
            raise ValueError("a data: URL must be data:image/TYPE;base64,… with base64 text")
        return
    try:
        parts = urlsplit(url)
        host = _normalised_host(parts.hostname or "")
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:  # its message would quote the address
        raise ValueError("is not a URL that can be read in one way only") from None
    if _AMBIGUOUS.search(url):
        raise ValueError("holds spaces, backslashes or control characters")
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an http(s) URL or a data: URL")
    if "@" in parts.netloc:
        raise ValueError("must not hold a name or a password")
    if not _is_public(host):
        raise ValueError("names an address that is not public")


def _normalised_host(host: str) -> str:
    """Returns the host as resolvers see it: full-width digits as digits, other scripts in their ASCII form."""
    host = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if not host.isascii():
        host = host.encode("idna").decode()
    if not _HOST.fullmatch(host):
        raise ValueError(host)
    return host


def _is_public(host: str) -> bool:
    address = _address(host)
    if address is None:
        return "." in host and not f".{host}".endswith(_PRIVATE_NAMES)
    if isinstance(address, IPv6Address):
        if address in _IPV4_COMPATIBLE or address.sixtofour or address.teredo:
            return False
        embedded = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
        address = embedded or address
    return address.is_global and not address.is_multicast


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Returns the IP address that a host is, in any form that resolvers accept (`127.1`, `0x7f000001`,
    `2130706433`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def image_needs(urls: Sequence[str]) -> ImageNeeds:
    """Returns what the images at these URLs require of a model."""
    inline = [found for url in urls if (found := _DATA_URL.match(url))]
    return ImageNeeds(
        count=len(urls),
        formats=frozenset(found[1].lower() for found in inline),
        largest_bytes=max((len(found[2]) * 3 // 4 for found in inline), default=0),
        by_url=len(inline) < len(urls),
    )

"""Which URLs an image may be fetched from: http and https, of an address that is public in every notation.

A provider that fetches an image does so from its own network, some providers run on the caller's own machine, and the
bridge itself runs inside a network. So these rules hold whoever fetches the image.
"""

import re
import socket
import unicodedata
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

IpAddress = IPv4Address | IPv6Address

NOT_PUBLIC = "names an address that is not public"

# Characters that URL parsers interpret in different ways.
_AMBIGUOUS = r"[\s\\\x00-\x1f\x7f]"
_HOST = r"[a-z0-9._-]+|[0-9a-f:.]+"
# RFC 6761, RFC 8375, ICANN's .internal, and what routers, Kubernetes and company networks use.
_PRIVATE_NAMES = (
    *(".localhost", ".localdomain", ".local", ".internal", ".intranet", ".corp", ".home.arpa", ".lan", ".svc"),
    *(".private", ".home", ".test", ".invalid", ".onion"),
)
# Names of cloud metadata services that do not end in one of the above: Google Cloud, Tencent Cloud.
_METADATA_NAMES = frozenset({"metadata.goog", "metadata.tencentyun.com"})
# What Python's list of special addresses lacks: Azure's host (WireServer, with the secrets of a machine), the relays of
# 6to4 (RFC 7526), and before Python 3.13 most of IANA's 192.0.0.0/24, with Oracle Cloud's metadata.
_SPECIAL_IPV4 = (IPv4Network("168.63.129.16/32"), IPv4Network("192.88.99.0/24"), IPv4Network("192.0.0.0/24"))
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out; the rest has other meanings, or none
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, which Python 3.13.0 does not know
_NAT64 = IPv6Network("64:ff9b::/96")
_QUOTED_ALREADY = "/?%:@!$&'()*+,;=~"


class ImageUrl(NamedTuple):
    """A parsed URL. `host` is in lower case and ASCII, an IP address in its usual notation; `target` is path and
    query, percent-encoded."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> IpAddress | None:
        """The IP address that the host is; None where it is a name."""
        return literal_address(self.host)

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_url(url: str) -> ImageUrl:
    """Returns the parts of an http(s) URL; raises ValueError with a reason, which never quotes the URL.

    Whether its host is public is for `is_public_host` to say.
    """
    if re.search(_AMBIGUOUS, url):
        raise ValueError("holds spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in _DEFAULT_PORTS
        host = _normalised_host(parts.hostname or "") if is_web else ""
        port = parts.port  # raises ValueError for an invalid port
    except ValueError:  # its message would quote the address
        raise ValueError("is not a URL that can be read in one way only") from None
    if not is_web:
        raise ValueError("must be an http(s) URL or a data: URL")
    if "@" in parts.netloc:
        raise ValueError("must not hold a name or a password")
    if port == 0:
        raise ValueError("has the port 0")
    return ImageUrl(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], _target(parts))


def check_public_url(url: str) -> ImageUrl:
    """Returns the parts of an http(s) URL of a public host; raises ValueError with a reason for any other."""
    parsed = parse_url(url)
    if not is_public_host(parsed.host):
        raise ValueError(NOT_PUBLIC)
    return parsed


def is_public_host(host: str) -> bool:
    """Returns whether a host, as `parse_url` returns it, is a public address, or a name that may have one."""
    address = literal_address(host)
    if address is not None:
        return is_public_address(address)
    return "." in host and not f".{host}".endswith(_PRIVATE_NAMES) and host not in _METADATA_NAMES


def is_public_address(address: IpAddress) -> bool:
    """Returns whether anybody on the Internet reaches the same host at this address.

    An IPv6 address that contains an IPv4 address is judged by that one. Tunnels (6to4, Teredo) are not public, because
    who routes them is not known.
    """
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
        if embedded is None:
            is_tunnel = bool(address.sixtofour or address.teredo)
            return address in _GLOBAL_UNICAST and address.is_global and not is_tunnel and address not in _DOCUMENTATION
        address = embedded
    is_special = any(address in network for network in _SPECIAL_IPV4)
    return address.is_global and not address.is_multicast and not is_special


def literal_address(host: str) -> IpAddress | None:
    """Returns the IP address that a host is, in any form that resolvers accept (`127.1`, `0x7f000001`,
    `2130706433`); None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _normalised_host(host: str) -> str:
    """Returns the host as resolvers see it: full-width digits as digits, other scripts in their ASCII form."""
    host = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if not host.isascii():
        host = host.encode("idna").decode()
    if not re.fullmatch(_HOST, host):
        raise ValueError(host)
    address = literal_address(host)
    return host if address is None else str(address)


def _target(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, safe=_QUOTED_ALREADY)

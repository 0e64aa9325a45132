"""The proxy of the environment for https: HTTPS_PROXY, else ALL_PROXY, except for the hosts in NO_PROXY.

Only HTTP proxies are supported: the library for SOCKS would be imported by every start of every function.
"""

import os
import re
import sys
from collections.abc import Iterable
from urllib.parse import urlsplit

_SUPPORTED_SCHEMES = ("http", "https")
_USER_INFO = re.compile(r"\S*@")


def proxy_from_environment(host: str) -> str | None:
    """Returns the proxy for https requests to `host`, which may have a port; None: without a proxy."""
    proxies = _proxies()
    address = proxies.get("https") or proxies.get("all")
    if not address:
        return None
    from urllib.request import proxy_bypass

    if proxy_bypass(host):
        return None
    return address if "://" in address else f"http://{address}"


def proxy_fault(urls: Iterable[str]) -> str | None:
    """Returns why the proxy of the environment cannot be used for the https URLs among `urls`; None if it can."""
    hosts = (urlsplit(url).netloc.rpartition("@")[2] for url in urls if url.startswith("https://"))
    addresses = filter(None, map(proxy_from_environment, hosts))
    unusable = next((address for address in addresses if not _is_usable(address)), None)
    if unusable is None:
        return None
    name = "HTTPS_PROXY" if _proxies().get("https") else "ALL_PROXY"
    scheme, _, rest = unusable.partition("://")
    shown = f"{scheme}://{_USER_INFO.sub('***@', rest)}"
    supported = ", ".join(f"{scheme}://" for scheme in _SUPPORTED_SCHEMES)
    return (
        f"{name} in the environment is {shown}, which cannot be used: give host and port of a proxy after {supported}"
    )


def _proxies() -> dict[str, str]:
    """Returns the proxies by scheme. On Linux they are environment variables only."""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies  # 3 ms of a start, and Lambda has no proxy

    return getproxies()


def _is_usable(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in _SUPPORTED_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False

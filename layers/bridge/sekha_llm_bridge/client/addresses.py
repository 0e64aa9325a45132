"""The address of a bridge: one form of it, however the user writes it."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from sekha_llm_bridge.client.errors import InvalidOption

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
"""Where the local stack listens, unless it is told otherwise."""

_EXAMPLE = f"it looks like {DEFAULT_BASE_URL}"


def base_url_of(text: str) -> str:
    """Returns the address without a slash, `/v1` or `/api/v1` at its end. Raises `InvalidOption` for what is no
    address.
    """
    if "@" in text:  # it contains a password, so the message does not repeat it
        raise InvalidOption("base_url", "holds a user name or password: leave it out, and give the key as api_key")
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")  # the resolver does this later, and its UnicodeError is no error of httpx
    except ValueError:  # UnicodeError is one, and so is the error for a port that is no number
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidOption("base_url", f"{text!r} is not the address of a bridge; {_EXAMPLE}")
    path = parts.path.rstrip("/").removesuffix("/v1").removesuffix("/api").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_local(base_url: str) -> bool:
    """Whether it is an address of this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

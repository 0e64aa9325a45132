"""The address under which a client reached the API, for display only.

The headers are the client's own, so they are never used to decide anything. What could end a quotation in HTML or in a
shell is not shown: then the address is that of API Gateway itself.
"""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request

_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:\d{1,5})?", re.IGNORECASE)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_MAX_CHARACTERS = 253
_SCHEMES = {"http": "http", "https": "https"}


def public_url(request: Request) -> str:
    """Returns the URL of `GET /` as the client wrote it, without a slash at its end: with the API's stage or base path,
    and behind a proxy that says so, the proxy's address.
    """
    context = (request.scope.get("aws.event") or {}).get("requestContext") or {}
    scheme = _SCHEMES.get(_first(request, "x-forwarded-proto"), "https")
    hosts = (_first(request, "x-forwarded-host"), _first(request, "host"), str(context.get("domainName") or ""))
    host = next(filter(_is_host, hosts), "localhost")
    return f"{scheme}://{host}{_prefix(request, context)}"


def _prefix(request: Request, context: Mapping[str, Any]) -> str:
    """Returns what stands before the API's own path: what a proxy has removed, then the stage or base path."""
    own = str(context.get("path") or "/").rstrip("/")
    own = own.removesuffix(request.scope["path"].rstrip("/")).rstrip("/")
    prefix = _first(request, "x-forwarded-prefix").rstrip("/") + own
    return prefix if len(prefix) <= _MAX_CHARACTERS and _PREFIX.fullmatch(prefix) else ""


def _is_host(text: str) -> bool:
    return len(text) <= _MAX_CHARACTERS and _HOST.fullmatch(text) is not None


def _first(request: Request, name: str) -> str:
    """Returns the first value of a header, which is that of the proxy that is nearest to the client."""
    return request.headers.get(name, "").partition(",")[0].strip()

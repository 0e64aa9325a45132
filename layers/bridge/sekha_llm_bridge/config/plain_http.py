"""Warnings about credentials that are sent without encryption to another machine."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ProviderConfig

_CREDENTIAL_NAME = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


def plain_http_warnings(settings: Settings) -> Iterator[str]:
    """Yields one warning for each provider in use, and one for Chroma."""
    for provider in settings.providers:
        if _is_plain_to_other_machine(provider.base_url) and (credential := _credential(provider)) is not None:
            yield f"{provider.id}: {credential} is sent without encryption, because base_url is http: use https"
    if settings.chroma.auth_token is not None and _is_plain_to_other_machine(settings.chroma.url):
        yield "chroma: auth_token is sent without encryption, because url is http: use https"


def _is_plain_to_other_machine(url: str | None) -> bool:
    parts = urlsplit(url or "")
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:  # a name
        return True


def _credential(provider: ProviderConfig) -> str | None:
    """Returns the key of the file whose value is, or seems to be, a credential; None: there is none."""
    if provider.api_key is not None:
        return "api_key"
    if "@" in urlsplit(provider.base_url or "").netloc:
        return "the password in base_url"
    named = ((key, name) for key in ("headers", "query") for name in getattr(provider, key))
    return next((f"{key}.{name}" for key, name in named if _CREDENTIAL_NAME.search(name)), None)

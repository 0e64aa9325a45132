"""Where each type of provider is by default, and how a `base_url` is mended so that adapters can append to it.

OpenAI-style APIs have their version in the `base_url`; the adapters of Ollama and Anthropic add it themselves. People
write it either way.
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sekha_llm_bridge.config.vocabulary import ProviderType

_VERSION = re.compile(r"v\d+\w*")
_USER_INFO = re.compile(r"(?<=://)\S*@")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One type's address. `version_path` starts the path of an OpenAI-style API; None: no version belongs there."""

    default_url: str | None
    version_path: str | None = None
    is_required: bool = False


ENDPOINTS = {
    ProviderType.OLLAMA: Endpoint("http://localhost:11434"),
    ProviderType.OPENAI: Endpoint("https://api.openai.com/v1", "/v1"),
    ProviderType.ANTHROPIC: Endpoint("https://api.anthropic.com"),
    ProviderType.OPENROUTER: Endpoint("https://openrouter.ai/api/v1", "/api/v1"),
    ProviderType.BEDROCK: Endpoint(None),  # boto3 knows the endpoint of its region
    ProviderType.AZURE_OPENAI: Endpoint(None, "/openai/v1", is_required=True),
    ProviderType.GEMINI: Endpoint("https://generativelanguage.googleapis.com/v1beta/openai", "/v1beta/openai"),
    ProviderType.LITELLM: Endpoint("http://localhost:4000/v1", "/v1"),
}


def complete_base_url(provider_type: ProviderType, base_url: str | None) -> str | None:
    """The full address, without a slash at its end; None only for Bedrock. Raises `ValueError` in plain words."""
    endpoint = ENDPOINTS[provider_type]
    if base_url is not None:
        parts = _split(base_url)
        return f"{parts.scheme}://{parts.netloc}{_mended_path(parts.path, endpoint.version_path)}"
    if endpoint.is_required:
        raise ValueError(f"is missing: {provider_type} has no default; it ends in {endpoint.version_path}")
    return endpoint.default_url


def check_server_url(url: str) -> str:
    """`url` when it is scheme://host:port, without a slash at its end; https may leave out its port.

    Raises `ValueError` in plain words.
    """
    parts = _split(url)
    if (parts.port is None and parts.scheme == "http") or parts.path.strip("/") or "@" in parts.netloc:
        raise ValueError("must be empty or scheme://host:port, as in http://localhost:8000")
    return f"{parts.scheme}://{parts.netloc}"


def mask_user_info(text: str) -> str:
    """`text` with the `user:password@` of a URL in it hidden, also where a slash in the password breaks the URL."""
    return _USER_INFO.sub("***@", text)


def _split(url: str) -> SplitResult:
    parts = _parsed(url)
    if parts is None or parts.scheme not in {"http", "https"} or re.search(r"\s", url):
        raise ValueError("must be a URL such as http://localhost:11434")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path: paths are appended to it, so it cannot hold `?` or `#`")
    return parts


def _parsed(url: str) -> SplitResult | None:
    """None when there is no host, or a port that is no port; never an error, which would quote the URL."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole else None


def _mended_path(path: str, version_path: str | None) -> str:
    path = re.sub(r"//+", "/", path).rstrip("/")
    if version_path is None:
        return re.sub(r"(/v1)+$", "", path)
    if f"{version_path}/".startswith(f"{path}/"):
        return version_path
    if any(_VERSION.fullmatch(segment) for segment in path.split("/")):
        return re.sub(r"(/v1)+$", "/v1", path)
    return f"{path}/v1"

"""The default URL of each provider type, and the normalisation of a `base_url` so that adapters can append paths.

For OpenAI-compatible APIs the `base_url` includes the version; the adapters of Ollama and Anthropic add it themselves.
Both forms are accepted in the file, and so is the URL of an operation, such as `…/v1/chat/completions`. A server
without a version in its paths is recognised by its address (`_WITHOUT_VERSION`), or by the complete URL of its chat or
embeddings, which then stays as it is.

Sources: Databricks, "Query with the OpenAI client"; GitHub Models, "Inference"; Azure AI Model Inference API; Azure
OpenAI, "Data plane inference"; Perplexity, "OpenAI compatibility".
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sekha_llm_bridge.config.vocabulary import ProviderType

_VERSION = re.compile(r"v\d+\w*")
_USER_INFO = re.compile(r"(?<=://)\S*@")
_OPERATION = re.compile(r"/(?:chat/completions|completions|embeddings|models|responses)$")
_OPERATIONS = re.compile(rf"(?:{_OPERATION.pattern.removesuffix('$')})+$")
_COMPLETE_OPERATION = re.compile(r"/(?:chat/completions|embeddings)$")
# The longer patterns are texts, which `re` compiles when a URL needs them.
# Compared with host and path. Azure AI's own path is `/models`, which is the list of models elsewhere.
_WITHOUT_VERSION = (
    r"[^/]*/(?:.+/)?serving-endpoints"
    r"|models\.github\.ai/(?:orgs/[^/]+/)?inference"
    r"|[^/]+\.services\.ai\.azure\.com/models"
    r"|models\.inference\.ai\.azure\.com|api\.perplexity\.ai"
    r"|[^/]*/(?:.+/)?openai/deployments/[^/]+"
)
_OLLAMA_SUFFIX = (
    r"(?:(?:/v1|/api)+(?:/(?:chat(?:/completions)?|completions|generate|tags|embed|embeddings|models|version))?)+$"
)
_ANTHROPIC_SUFFIX = r"(?:(?:/v1)+(?:/(?:messages|models))?)+$"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The default URL of one provider type. `version_path` is the usual path of its API.

    None: the adapter appends the version, so `suffix`, which is removed, has the version and the operations.
    """

    default_url: str | None
    version_path: str | None = None
    is_url_required: bool = False
    suffix: str = _ANTHROPIC_SUFFIX


ENDPOINTS = {
    ProviderType.OLLAMA: Endpoint("http://localhost:11434", suffix=_OLLAMA_SUFFIX),
    ProviderType.OPENAI: Endpoint("https://api.openai.com/v1", "/v1"),
    ProviderType.ANTHROPIC: Endpoint("https://api.anthropic.com"),
    ProviderType.OPENROUTER: Endpoint("https://openrouter.ai/api/v1", "/api/v1"),
    ProviderType.BEDROCK: Endpoint(None),  # the adapter makes it from the region
    ProviderType.AZURE_OPENAI: Endpoint(None, "/openai/v1", is_url_required=True),
    ProviderType.GEMINI: Endpoint("https://generativelanguage.googleapis.com/v1beta/openai", "/v1beta/openai"),
    ProviderType.LITELLM: Endpoint("http://localhost:4000/v1", "/v1"),
}


def complete_base_url(provider_type: ProviderType, base_url: str | None) -> str | None:
    """Returns the complete URL without a slash at its end, or None for Bedrock without a `base_url`.

    Raises `ValueError` with a message for the user.
    """
    endpoint = ENDPOINTS[provider_type]
    if base_url is not None:
        parts = _split_url(base_url)
        return f"{parts.scheme}://{parts.netloc}{_normalised_path(parts, endpoint)}"
    if endpoint.is_url_required:
        raise ValueError(f"is missing: {provider_type} has no default; it ends in {endpoint.version_path}")
    return endpoint.default_url


def check_server_url(url: str) -> str:
    """Returns `url` without a slash at its end if it is scheme://host:port. The port is optional for https.

    Raises `ValueError` with a message for the user.
    """
    parts = _split_url(url)
    if "@" in parts.netloc:
        raise ValueError("must be scheme://host:port without user and password; a token belongs in auth_token")
    if (parts.port is None and parts.scheme == "http") or parts.path.strip("/"):
        raise ValueError("must be empty or scheme://host:port, as in http://localhost:8000")
    return f"{parts.scheme}://{parts.netloc}"


def mask_user_info(text: str) -> str:
    """Returns `text` with `user:password@` in URLs replaced by `***@`, even if the password contains a slash."""
    return _USER_INFO.sub("***@", text)


def _split_url(url: str) -> SplitResult:
    parts = _parse_or_none(url)
    if parts is None or parts.scheme not in {"http", "https"} or re.search(r"\s", url):
        raise ValueError("must be a URL such as http://localhost:11434")
    if parts.query or parts.fragment:
        message = "must end with its path: paths are appended to it, so it cannot contain `?` or `#`"
        raise ValueError(f"{message}; parameters such as api-version belong in `query`" if parts.query else message)
    return parts


def _parse_or_none(url: str) -> SplitResult | None:
    """Returns None for a URL without a host or with an invalid port. Its exceptions would quote the URL."""
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_valid else None


def _normalised_path(parts: SplitResult, endpoint: Endpoint) -> str:
    path = re.sub(r"//+", "/", parts.path).rstrip("/")
    if endpoint.version_path is None:
        return re.sub(endpoint.suffix, "", path)
    host = parts.hostname or ""
    if _is_without_version(host, path):
        return path
    if _is_without_version(host, parent := _OPERATION.sub("", path)):
        return parent
    base = _OPERATIONS.sub("", path)
    versioned = _with_version(base, endpoint.version_path)
    is_default_host = host == urlsplit(endpoint.default_url or "").hostname
    is_complete = _COMPLETE_OPERATION.search(path) and versioned != base and not is_default_host
    return path if is_complete else versioned


def _is_without_version(host: str, path: str) -> bool:
    return re.fullmatch(_WITHOUT_VERSION, f"{host}{path}") is not None


def _with_version(path: str, version_path: str) -> str:
    if f"{version_path}/".startswith(f"{path}/"):
        return version_path
    if any(_VERSION.fullmatch(segment) for segment in path.split("/")):
        return re.sub(r"(/v1)+$", "/v1", path)
    return f"{path}/v1"

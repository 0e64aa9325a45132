"""The URLs that are requested from a provider: chat, embeddings, the list of models, which is the free probe, the
counting of tokens, and the description of one model.

They are made from `base_url`, `paths` and `query` of the configuration; those of Bedrock from its region.
The query may hold a credential, so a URL is never logged; `masked` is for people.
"""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from sekha_llm_bridge.config.endpoints import mask_user_info
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers.openai.vendors import vendor_of

_SHOWN_PARAMETERS = frozenset({"api-version"})
_OPERATION_SUFFIXES = ("/chat/completions", "/embeddings")
_DEPLOYMENT = "/openai/deployments/"  # Azure lists the models beside `deployments`, not below one of them


class Addresses(NamedTuple):
    """The complete URLs of one provider. One that its API does not have is empty."""

    chat: str
    embeddings: str
    models: str
    count_tokens: str = ""
    show: str = ""


def addresses_of(config: ProviderConfig) -> Addresses:
    """Returns the URLs that the adapter requests."""
    return _addresses(config, SecretStr.get_secret_value)


def masked_addresses_of(config: ProviderConfig) -> Addresses:
    """Returns the same URLs without user, password and values of parameters, except for a version."""
    shown = _addresses(config, lambda _value: "***")
    return Addresses(*map(mask_user_info, shown))


def _addresses(config: ProviderConfig, text_of: Callable[[SecretStr], str]) -> Addresses:
    if config.provider_type is ProviderType.BEDROCK:
        from sekha_llm_bridge.providers.bedrock.endpoint import endpoint_of

        endpoint = endpoint_of(config)
        chat, embeddings = endpoint.model_url("MODEL_ID", "converse"), endpoint.model_url("MODEL_ID", "invoke")
        return Addresses(chat, embeddings, endpoint.probe_url)
    base = config.base_url or ""
    if config.provider_type is ProviderType.OLLAMA:
        chat, embeddings, models = f"{base}/api/chat", f"{base}/api/embed", f"{base}/api/tags"
    elif config.provider_type is ProviderType.ANTHROPIC:
        chat, embeddings, models = f"{base}/v1/messages", "", f"{base}/v1/models"
    else:
        for suffix in _OPERATION_SUFFIXES:  # it is there where the server has no version in its paths
            base = base.removesuffix(suffix)
        root, is_deployment, _ = base.partition(_DEPLOYMENT)
        models = f"{root}/openai/models" if is_deployment else f"{base}/models"
        vendor = vendor_of(config)
        models = _with_path(models, vendor.models_path if vendor else None)
        chat, embeddings = f"{base}/chat/completions", f"{base}/embeddings"
    paths, query = config.paths, _query(config, text_of)
    chat = _with_path(chat, paths.chat)
    is_anthropic = config.provider_type is ProviderType.ANTHROPIC
    is_ollama = config.provider_type is ProviderType.OLLAMA
    return Addresses(
        chat + query,
        _with_path(embeddings, paths.embeddings) + query if embeddings else "",
        _with_path(models, paths.models) + query,
        f"{chat}/count_tokens{query}" if is_anthropic else "",
        f"{base}/api/show{query}" if is_ollama else "",
    )


def _with_path(url: str, path: str | None) -> str:
    if path is None:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _query(config: ProviderConfig, text_of: Callable[[SecretStr], str]) -> str:
    values = {
        name: value.get_secret_value() if name in _SHOWN_PARAMETERS else text_of(value)
        for name, value in config.query.items()
    }
    pairs = [f"{quote(name, safe='')}={quote(value, safe='*')}" for name, value in values.items()]
    return f"?{'&'.join(pairs)}" if pairs else ""

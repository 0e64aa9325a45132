"""The warnings about a valid file."""

from collections.abc import Iterator, Mapping, Sequence

from sekha_llm_bridge.config.document import Document
from sekha_llm_bridge.config.endpoints import ENDPOINTS
from sekha_llm_bridge.config.fault import KeyPath
from sekha_llm_bridge.config.faults import format_key_path
from sekha_llm_bridge.config.loaded import DisabledProvider
from sekha_llm_bridge.config.models import ConfigFile, ModelConfig, ProviderConfig, Task

V1_VARIABLES = ("OLLAMA_BASE_URL", "EMBEDDING_MODEL", "CHAT_MODEL")


def file_warnings(
    document: Document,
    file: ConfigFile,
    disabled: Mapping[int, DisabledProvider],
    pending: Mapping[int, str],
    ignored: Sequence[str],
) -> Iterator[str]:
    """Yields the warnings. The keys of `disabled` and `pending` are indexes in `providers`; `ignored` are the set
    variables of v1.
    """
    if ignored:
        are = "is" if len(ignored) == 1 else "are"
        yield (
            f"{', '.join(ignored)} {are} set, but ignored since v2, which reads a YAML file:"
            " `sekha-bridge migrate-env .env` prints the YAML that replaces a v1 .env"
        )
    for index, provider in enumerate(file.providers):
        where = f"{document.path}:{document.line_of(('providers', index))}: provider {provider.id}"
        if index in disabled:
            yield f"{where} is disabled: {disabled[index].reason}"
        elif index in pending:
            yield f"{where} is not used yet: {pending[index]}"
        elif _is_public_api_without_key(provider):
            yield f"{where} has no api_key, but {provider.base_url} requires one: add it"
    if len(disabled) == len(file.providers):
        yield f"{document.path}: no provider is enabled: every request will fail"
    yield from _dimension_warnings(document, file)


def _is_public_api_without_key(provider: ProviderConfig) -> bool:
    """Returns whether a vendor's public API has no credential. A private server may not need one."""
    url = ENDPOINTS[provider.provider_type].default_url
    is_public = url is not None and url.startswith("https://") and provider.base_url == url
    return is_public and provider.api_key is None and not provider.headers


def _dimension_warnings(document: Document, file: ConfigFile) -> Iterator[str]:
    first: dict[str, ModelConfig] = {}
    for key_path, model in _embedding_models(file):
        known = first.setdefault(model.space, model)
        if known.dimension != model.dimension:
            where = f"{document.path}:{document.line_of(key_path)}: {format_key_path(key_path)}"
            yield (
                f"{where}: {model.model_id} has dimension {model.dimension} in the embedding space {model.space}, where"
                f" {known.model_id} has {known.dimension}: give one of them an `embedding_space` of its own"
            )


def _embedding_models(file: ConfigFile) -> Iterator[tuple[KeyPath, ModelConfig]]:
    for provider_index, provider in enumerate(file.providers):
        for model_index, model in enumerate(provider.models):
            if model.serves(Task.EMBEDDING):
                yield ("providers", provider_index, "models", model_index), model

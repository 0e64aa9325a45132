"""What a file that can be used still deserves a word about."""

from collections.abc import Iterator, Mapping, Sequence

from sekha_llm_bridge.config.document import Document
from sekha_llm_bridge.config.endpoints import ENDPOINTS
from sekha_llm_bridge.config.faults import place_text
from sekha_llm_bridge.config.loaded import DisabledProvider
from sekha_llm_bridge.config.models import ConfigFile, ModelConfig, ProviderConfig, Task

V1_VARIABLES = ("OLLAMA_BASE_URL", "EMBEDDING_MODEL", "CHAT_MODEL")


def notices(
    document: Document, file: ConfigFile, disabled: Mapping[int, DisabledProvider], ignored: Sequence[str]
) -> Iterator[str]:
    """The warnings. `disabled` is by place in the file; `ignored` are variables of v1 that are set."""
    if ignored:
        yield _v1(ignored)
    for index, provider in enumerate(file.providers):
        where = f"{document.path}:{document.line_of(('providers', index))}: provider {provider.id}"
        if index in disabled:
            yield f"{where} is disabled: {disabled[index].reason}"
        elif _lacks_key(provider):
            yield f"{where} has no api_key, and {provider.base_url} answers nobody without one: add it"
    if len(disabled) == len(file.providers):
        yield f"{document.path}: no provider is enabled: every request will fail"
    yield from _uneven_spaces(document, file)


def _v1(names: Sequence[str]) -> str:
    are = "is" if len(names) == 1 else "are"
    return (
        f"{', '.join(names)} {are} set, but ignored since v2, which reads a YAML file:"
        " `sekha-bridge migrate-env .env` prints the YAML that replaces a v1 .env"
    )


def _lacks_key(provider: ProviderConfig) -> bool:
    """Whether it is a vendor's public API without any credential; a server of one's own may need none."""
    url = ENDPOINTS[provider.provider_type].default_url
    is_public = url is not None and url.startswith("https://") and provider.base_url == url
    return is_public and provider.api_key is None and not provider.headers


def _uneven_spaces(document: Document, file: ConfigFile) -> Iterator[str]:
    first: dict[str, ModelConfig] = {}
    for place, model in _embedding_models(file):
        known = first.setdefault(model.space, model)
        if known.dimension != model.dimension:
            yield (
                f"{document.path}:{document.line_of(place)}: {place_text(place)}: {model.model_id} has dimension"
                f" {model.dimension} in the embedding space {model.space}, where {known.model_id} has"
                f" {known.dimension}: give one of them an `embedding_space` of its own"
            )


def _embedding_models(file: ConfigFile) -> Iterator[tuple[tuple[str | int, ...], ModelConfig]]:
    for index, provider in enumerate(file.providers):
        for number, model in enumerate(provider.models):
            if model.serves(Task.EMBEDDING):
                yield ("providers", index, "models", number), model

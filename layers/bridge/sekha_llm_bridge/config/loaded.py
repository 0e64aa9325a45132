"""The loaded configuration, as the rest of the bridge sees it."""

from dataclasses import dataclass
from pathlib import Path

from sekha_llm_bridge.config.models import ChromaConfig, DefaultModels, ProviderConfig, RoutingConfig


@dataclass(frozen=True, slots=True)
class DisabledProvider:
    """A provider that is left out because a reference in it has no value.

    Keys whose reference has no value hold a default or a stand-in in `config`: never send a request by it.
    """

    config: ProviderConfig
    reason: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The file at `path`, checked, its references resolved. `providers` are those in use, in the file's order."""

    path: Path
    providers: tuple[ProviderConfig, ...]
    disabled: tuple[DisabledProvider, ...]
    default_models: DefaultModels
    routing: RoutingConfig
    chroma: ChromaConfig
    warnings: tuple[str, ...]

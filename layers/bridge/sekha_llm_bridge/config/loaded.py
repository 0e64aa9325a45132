"""The loaded configuration that the rest of the bridge uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sekha_llm_bridge.config.models import ChromaConfig, DefaultModels, HealthConfig, ProviderConfig, RoutingConfig


@dataclass(frozen=True, slots=True)
class DisabledProvider:
    """A provider that is not used because a reference in it has no value.

    In `config`, a key whose reference has no value has a default or a placeholder. Never send a request with it.
    """

    config: ProviderConfig
    reason: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated file at `path` with resolved references. `providers` are the enabled ones, in the file's order.

    `aliases` has for each alias the names that it stands for.
    """

    path: Path
    providers: tuple[ProviderConfig, ...]
    disabled: tuple[DisabledProvider, ...]
    default_models: DefaultModels
    aliases: Mapping[str, tuple[str, ...]]
    routing: RoutingConfig
    chroma: ChromaConfig
    health: HealthConfig
    warnings: tuple[str, ...]

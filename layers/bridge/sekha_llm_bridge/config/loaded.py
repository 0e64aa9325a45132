"""The loaded configuration that the rest of the bridge uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sekha_llm_bridge.config.models import ChromaConfig, DefaultModels, HealthConfig, ProviderConfig, RoutingConfig


@dataclass(frozen=True, slots=True)
class DisabledProvider:
    """A provider that is not used because a reference in it has no value.

    In `config`, a key whose reference has no value has a default or a placeholder. Never send a request with it.
    `is_secret_missing`: the value is stored in AWS and is absent or denied; else a variable is not set, which may be on
    purpose.
    """

    config: ProviderConfig
    reason: str
    is_secret_missing: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated file at `path` with resolved references. `providers` are the enabled ones, in the file's order.

    `aliases` has for each alias the names that it stands for. `pending` has, by the ids of enabled providers that may
    not be called yet, why their secrets could not be fetched. `chroma_pending`: the same of Chroma's token; None where
    it is known, or not needed.
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
    pending: Mapping[str, str] = field(default_factory=dict)
    chroma_pending: str | None = None

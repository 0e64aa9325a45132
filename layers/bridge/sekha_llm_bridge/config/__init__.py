"""The configuration: loads one YAML file, resolves its references, and validates it.

`settings` is the configuration of this process, loaded at its first use. `load_settings(path)` loads another file.
Importing this package reads no file and imports neither boto3 nor Powertools.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING

from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.loader import load_or_exit, load_settings, refresh_chroma, refresh_provider
from sekha_llm_bridge.config.location import bundled_path, find_config
from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig, ProviderType, Task
from sekha_llm_bridge.config.secret_source import SecretSource, SecretUnavailable

__all__ = [
    "DisabledProvider",
    "ModelConfig",
    "ProviderConfig",
    "ProviderType",
    "SecretSource",
    "SecretUnavailable",
    "Settings",
    "Task",
    "bundled_path",
    "find_config",
    "load_or_exit",
    "load_settings",
    "refresh_chroma",
    "refresh_provider",
    "settings",
]


@cache
def _loaded() -> Settings:
    """Returns the settings of this process. Logs their warnings here, so that each is logged once."""
    loaded = load_settings()
    for warning in loaded.warnings:
        logging.getLogger(__name__).warning(warning)
    return loaded


if TYPE_CHECKING:
    settings: Settings
else:

    def __getattr__(name: str) -> object:
        if name == "settings":
            return _loaded()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The configuration: one YAML file, checked as a whole, its references resolved.

`settings` is the configured file, loaded at first use; `load_settings(path)` is for another file or environment.
Importing this package reads no file and imports neither boto3 nor Powertools.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING

from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.loader import load_or_exit, load_settings, refresh_provider
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
    "refresh_provider",
    "settings",
]


@cache
def _loaded() -> Settings:
    """The settings of this process; their warnings are logged here, so once."""
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

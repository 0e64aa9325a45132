"""The configuration: loads one YAML file, resolves its references, and validates it.

`settings` is the configuration of this process, loaded at its first use. `load_settings(path)` loads another file.
Importing this package reads no file and imports neither boto3 nor what calls AWS. A name is imported when it is first
used: the authorizer needs the words of the configuration only, and not pydantic.
"""

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
    from sekha_llm_bridge.config.loader import load_or_exit, load_settings, refresh_chroma, refresh_provider
    from sekha_llm_bridge.config.location import bundled_path, find_config
    from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig, ProviderType, Task
    from sekha_llm_bridge.config.secret_cache import SecretCache
    from sekha_llm_bridge.config.secret_source import SecretNotFetched, SecretSource, SecretUnavailable, SecretUse

__all__ = [
    "DisabledProvider",
    "ModelConfig",
    "ProviderConfig",
    "ProviderType",
    "SecretCache",
    "SecretNotFetched",
    "SecretSource",
    "SecretUnavailable",
    "SecretUse",
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


_MODULES = {
    "loaded": ("DisabledProvider", "Settings"),
    "loader": ("load_or_exit", "load_settings", "refresh_chroma", "refresh_provider"),
    "location": ("bundled_path", "find_config"),
    "models": ("ModelConfig", "ProviderConfig", "ProviderType", "Task"),
    "secret_cache": ("SecretCache",),
    "secret_source": ("SecretNotFetched", "SecretSource", "SecretUnavailable", "SecretUse"),
}


@cache
def _loaded() -> "Settings":
    """Returns the settings of this process. Logs their warnings here, so that each is logged once."""
    from sekha_llm_bridge.config.loader import load_settings

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
        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

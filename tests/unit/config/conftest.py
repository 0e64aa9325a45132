"""Fixtures that load a configuration file from a text, with secrets from a dictionary."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sekha_llm_bridge.config import SecretSource, Settings, load_settings
from sekha_llm_bridge.errors import ConfigError
from tests.unit.config.memory_secrets import MemorySecrets

Load = Callable[..., Settings]
FaultsOf = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A function that loads a text as file, with only the given environment variables."""

    def loaded(text: str, environ: Mapping[str, str] | None = None, secrets: SecretSource | None = None) -> Settings:
        path = tmp_path / "llm.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_settings(path, environ=environ or {}, secrets=secrets or MemorySecrets())

    return loaded


@pytest.fixture
def faults_of(load: Load, tmp_path: Path) -> FaultsOf:
    """A function that returns the faults of a text as file, each as `LINE: KEY PATH: MESSAGE`."""

    def faults(text: str, environ: Mapping[str, str] | None = None, secrets: SecretSource | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ, secrets)
        return [fault.removeprefix(f"{tmp_path / 'llm.yaml'}:") for fault in caught.value.faults]

    return faults

"""Chooses the configuration of the bridge, and which servers it needs: Chroma, the embedded models."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.loopback import fetch
from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.errors import ConfigError

OLLAMA = "http://localhost:11434"
CHAT_VARIABLE = "LOCAL_CHAT_URL"
EMBEDDINGS_VARIABLE = "LOCAL_EMBEDDINGS_URL"
CHROMA_VARIABLE = "CHROMA_URL"
# The address of a server that has not started yet, for checking the configuration. `.invalid` never resolves
# (RFC 6761).
_PLACEHOLDER = "http://to-be-started.invalid:1"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The file at `path`, the reason for choosing it, and the servers that the stack must start for it. Of the Ollama
    on this machine, where it was asked: the models that it lacks, and whether it has none at all.
    """

    path: Path
    reason: str
    settings: Settings
    needs_chroma: bool
    needs_chat_model: bool
    needs_embedding_model: bool
    missing_in_ollama: tuple[str, ...] = ()
    is_ollama_empty: bool = False

    @property
    def needs_models(self) -> bool:
        """Whether the environment of the embedded models is needed."""
        return self.needs_chat_model or self.needs_embedding_model

    @property
    def answers_chats(self) -> bool:
        """Whether any provider in use has a chat model."""
        providers = self.settings.providers
        return any(provider.lists_models or any(model.is_chat for model in provider.models) for provider in providers)


def choose(
    root: Path,
    given: Path | None,
    *,
    may_start_models: bool,
    environ: Mapping[str, str] = os.environ,
    ollama_models: Callable[[], frozenset[str] | None] | None = None,
) -> Configuration:
    """Returns the configuration to use.

    It is the file `given`, else the project's file if an Ollama answers (or no model may be started), else the example
    with embedded models. Raises ConfigError with every fault of the file.
    """
    if given:
        return _configuration(given, "as given", environ, may_start_models=may_start_models)
    own = root / "config" / "llm_providers.yaml"
    if not may_start_models:
        return _configuration(own, "no embedded model", environ, may_start_models=False)
    models = (ollama_models or _ollama_models)()
    if models is None:
        embedded = root / "config" / "examples" / "embedded.yaml"
        return _configuration(embedded, f"no Ollama answers at {OLLAMA}", environ, may_start_models=True)
    return _configuration(own, f"an Ollama answers at {OLLAMA}", environ, may_start_models=True, ollama=models)


def _configuration(
    path: Path,
    reason: str,
    environ: Mapping[str, str],
    *,
    may_start_models: bool,
    ollama: frozenset[str] | None = None,
) -> Configuration:
    text = _text(path)
    startable = [CHAT_VARIABLE, EMBEDDINGS_VARIABLE] if may_start_models else []
    needed = {name for name in startable if name in text and not environ.get(name)}
    ours = dict.fromkeys([*needed, *([] if environ.get(CHROMA_VARIABLE) else [CHROMA_VARIABLE])], _PLACEHOLDER)
    settings = load_settings(path, environ={**environ, **ours})
    return Configuration(
        path=path.resolve(),
        reason=reason,
        settings=settings,
        needs_chroma=_PLACEHOLDER in settings.chroma.url,
        needs_chat_model=CHAT_VARIABLE in needed,
        needs_embedding_model=EMBEDDINGS_VARIABLE in needed,
        missing_in_ollama=missing_models(settings.providers, ollama) if ollama is not None else (),
        is_ollama_empty=ollama is not None and not ollama,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError([f"{path}: {fault.strerror}"]) from fault
    except UnicodeDecodeError as fault:
        raise ConfigError([f"{path}: not UTF-8 text"]) from fault


def missing_models(providers: tuple[ProviderConfig, ...], present: frozenset[str]) -> tuple[str, ...]:
    """Returns the models of the local Ollama that the configuration uses and Ollama lacks, in the file's order. With
    `models: auto` it uses only those that Ollama has.

    Ollama adds `:latest` to a name without a tag.
    """
    local = [one for one in providers if one.provider_type is ProviderType.OLLAMA and _is_local(one.base_url)]
    wanted = [model.model_id for provider in local if not provider.lists_models for model in provider.models]
    tagged = {name: name if ":" in name else f"{name}:latest" for name in wanted}
    return tuple(name for name, full in tagged.items() if full not in present)


def _is_local(base_url: str | None) -> bool:
    return base_url is None or base_url.rstrip("/").replace("127.0.0.1", "localhost") == OLLAMA


def _ollama_models() -> frozenset[str] | None:
    """Returns the models of the Ollama on this machine, or None when it does not answer."""
    try:
        answer = json.loads(fetch(f"{OLLAMA}/api/tags", timeout_s=1))
        return frozenset(str(model["name"]) for model in answer["models"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

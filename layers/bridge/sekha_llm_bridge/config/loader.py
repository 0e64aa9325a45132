"""Loads `Settings`: finds and parses the file, resolves references, validates, and reports all faults together."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sekha_llm_bridge.config.checks import check_sections
from sekha_llm_bridge.config.document import Data, Document, read_document
from sekha_llm_bridge.config.endpoints import check_server_url, mask_user_info
from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.config.faults import fault_from_pydantic, is_secret
from sekha_llm_bridge.config.file_warnings import V1_VARIABLES, file_warnings
from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.location import find_config
from sekha_llm_bridge.config.models import ChromaConfig, ConfigFile, ProviderConfig
from sekha_llm_bridge.config.resolution import Resolved, UnresolvedReference, resolve
from sekha_llm_bridge.config.secret_source import SecretSource
from sekha_llm_bridge.errors import ConfigError


def load_settings(
    path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ, secrets: SecretSource | None = None
) -> Settings:
    """Returns the settings in the file at `path`, or in the file that `find_config` finds.

    Raises `ConfigError` with all faults of the file. A reference without a value in a provider disables that provider
    and adds a warning to `Settings.warnings`. `secrets` fetches the values that the file refers to in AWS; the default
    uses Powertools, which is imported only when needed.
    """
    document = read_document(find_config(path, environ=environ))
    resolved = resolve(document.data, environ=environ, secrets=secrets)
    resolved = replace(resolved, data=_with_chroma_from_environment(resolved.data, environ))
    file = _validated(document, resolved)
    disabled = {
        index: DisabledProvider(file.providers[index], "; ".join(reasons))
        for index, reasons in _reasons_by_provider(resolved).items()
    }
    ignored = [name for name in V1_VARIABLES if environ.get(name) and name not in resolved.variables]
    return Settings(
        path=document.path,
        providers=tuple(provider for index, provider in enumerate(file.providers) if index not in disabled),
        disabled=tuple(disabled.values()),
        default_models=file.default_models,
        aliases=file.aliases,
        routing=file.routing,
        chroma=file.chroma,
        health=file.health,
        warnings=tuple(file_warnings(document, file, disabled, ignored)),
    )


def _with_chroma_from_environment(data: Data, environ: Mapping[str, str]) -> Data:
    """Returns the data with `CHROMA_URL` and `CHROMA_TOKEN` as defaults when the file has no `chroma.url`."""
    chroma = (data.get("chroma") or {}) if isinstance(data, dict) else None
    url, token = (environ.get(name, "").strip() for name in ("CHROMA_URL", "CHROMA_TOKEN"))
    if not isinstance(data, dict) or not isinstance(chroma, dict) or "url" in chroma or not url:
        return data
    try:
        return {**data, "chroma": {"url": check_server_url(url), "auth_token": token or None, **chroma}}
    except ValueError as error:
        raise ConfigError([f"CHROMA_URL in the environment {error}, is {mask_user_info(url)}"]) from None


def load_or_exit(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Returns the settings for a command. Prints all faults on stderr and exits with code 2 for an invalid file."""
    try:
        return load_settings(path, environ=environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
    raise SystemExit(2)


def refresh_provider(
    settings: Settings,
    provider_id: str,
    *,
    environ: Mapping[str, str] = os.environ,
    secrets: SecretSource | None = None,
) -> ProviderConfig:
    """Returns the provider with its references resolved again without caches. Call it after the provider's 401.

    The result is equal to the present provider when nothing has changed; then a retry with the same key is useless. The
    call reads the file and may call AWS: it blocks for a few milliseconds to some seconds. Raises `ConfigError` when a
    reference has no value any more.
    """
    document = read_document(settings.path)
    key_path, data = _find_provider(document, provider_id, environ, secrets)
    resolved = resolve(data, environ=environ, secrets=secrets, fresh=True)
    if resolved.unresolved:
        raise document.error_for([Fault((*key_path, *each.key_path), each.reason) for each in resolved.unresolved])
    try:
        return ProviderConfig.model_validate(resolved.data)
    except ValidationError as error:
        faults = list(_validation_faults(document, error, key_path))
    raise document.error_for(faults)


def refresh_chroma(
    settings: Settings, *, environ: Mapping[str, str] = os.environ, secrets: SecretSource | None = None
) -> ChromaConfig:
    """Returns the section `chroma` with its references resolved again without caches. Call it after Chroma's 401.

    Blocks and raises as `refresh_provider` does.
    """
    document = read_document(settings.path)
    resolved = resolve({"chroma": document.data.get("chroma")}, environ=environ, secrets=secrets, fresh=True)
    if resolved.unresolved:
        raise document.error_for([Fault(each.key_path, each.reason) for each in resolved.unresolved])
    data = _with_chroma_from_environment(resolved.data, environ)
    file, faults = _parsed(document, data)
    if file is None:
        raise document.error_for(faults)
    return file.chroma


def _validated(document: Document, resolved: Resolved) -> ConfigFile:
    fatal = [each for each in resolved.unresolved if each.is_malformed or not _is_in_provider(each)]
    faults = [*document.faults, *(_unresolved_fault(document, each) for each in fatal)]
    file, found = _parsed(document, resolved.data)
    reported = {each.key_path for each in fatal}
    faults += [fault for fault in found if fault.key_path not in reported]
    faults += check_sections(document, resolved.data, _models_with_unknown_tasks(resolved))
    if file is None or faults:
        raise document.error_for(faults)
    return file


def _parsed(document: Document, data: Data) -> tuple[ConfigFile | None, list[Fault]]:
    """Returns the file, or its faults. Does not pass on the error of pydantic, because it holds resolved values."""
    try:
        return ConfigFile.model_validate(data), []
    except ValidationError as error:
        return None, list(_validation_faults(document, error, ()))


def _validation_faults(document: Document, error: ValidationError, parent: KeyPath) -> Iterator[Fault]:
    for detail in error.errors(include_url=False, include_input=False):
        key_path = (*parent, *_relative_key_path(detail))
        raw_value = document.value_at(key_path)
        if detail["type"] == "too_short" and raw_value:
            continue  # pydantic does not count invalid entries, and their own faults are reported
        yield fault_from_pydantic(detail, key_path, raw_value)


def _relative_key_path(detail: ErrorDetails) -> Iterator[int | str]:
    """Returns the location of an error without `[key]`, which pydantic adds for the key of a mapping.

    For an unknown key it stays, because the key itself may be named `[key]`.
    """
    is_key = detail["type"] == "extra_forbidden"
    return (step for step in detail["loc"] if is_key or step != "[key]")


def _unresolved_fault(document: Document, reference: UnresolvedReference) -> Fault:
    if not reference.is_malformed or is_secret(reference.key_path):
        return Fault(reference.key_path, reference.reason)
    raw_value = mask_user_info(str(document.value_at(reference.key_path)))
    return Fault(reference.key_path, f"{reference.reason}; in {raw_value}")


def _is_in_provider(reference: UnresolvedReference) -> bool:
    return len(reference.key_path) > 1 and reference.key_path[0] == "providers"


def _models_with_unknown_tasks(resolved: Resolved) -> frozenset[KeyPath]:
    """Returns the key paths of the models whose `task` or `tasks` has no value."""
    return frozenset(each.key_path[:4] for each in resolved.unresolved if {"task", "tasks"}.intersection(each.key_path))


def _reasons_by_provider(resolved: Resolved) -> dict[int, list[str]]:
    """Returns for each provider, by its index, why references have no value; each reason once."""
    reasons: dict[int, dict[str, None]] = {}
    for each in resolved.unresolved:
        reasons.setdefault(int(each.key_path[1]), {})[each.reason] = None
    return {index: list(found) for index, found in reasons.items()}


def _find_provider(
    document: Document, provider_id: str, environ: Mapping[str, str], secrets: SecretSource | None
) -> tuple[KeyPath, Data]:
    providers = document.data.get("providers")
    for index, provider in enumerate(providers if isinstance(providers, list) else ()):
        raw_value = provider.get("id") if isinstance(provider, dict) else None
        if resolve(raw_value, environ=environ, secrets=secrets).data == provider_id:
            return ("providers", index), provider
    raise ConfigError([f"{document.path}: no provider has the id `{provider_id}` any more"])

"""Loads `Settings`: finds and parses the file, resolves references, validates, and reports all faults together."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
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
from sekha_llm_bridge.config.references import escape
from sekha_llm_bridge.config.resolution import Resolved, UnresolvedReference, is_empty, resolve
from sekha_llm_bridge.config.secret_source import SecretSource, SecretUse
from sekha_llm_bridge.errors import ConfigError, ConfigUnavailable


def load_settings(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    secrets: SecretSource | None = None,
    uses: SecretUse = SecretUse.ALL,
) -> Settings:
    """Returns the settings in the file at `path`, or in the file that `find_config` finds.

    Raises `ConfigError` with all faults of the file. A reference without a value in a provider disables that provider
    and adds a warning to `Settings.warnings`. A provider whose stored values could not be fetched now is pending, and
    so is Chroma's token; elsewhere such a value raises `ConfigUnavailable`. `secrets` fetches the values that the file
    refers to in AWS, by default from there; `uses` says which of them are read.
    """
    document = read_document(find_config(path, environ=environ))
    data = _with_chroma_from_environment(document.data, environ)
    resolved = resolve(data, environ=environ, secrets=secrets, uses=uses)
    file = _validated(document, resolved)
    unresolved = _unresolved_by_provider(resolved)
    pending = {index: _reason(found) for index, found in unresolved.items() if all(each.is_temporary for each in found)}
    disabled = {
        index: DisabledProvider(file.providers[index], _reason(found), any(each.is_stored for each in found))
        for index, found in unresolved.items()
        if index not in pending
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
        warnings=tuple(file_warnings(document, file, disabled, pending, ignored)),
        pending={file.providers[index].id: reason for index, reason in pending.items()},
        chroma_pending=next((each.reason for each in resolved.unresolved if _is_pending_token(each)), None),
    )


def _with_chroma_from_environment(data: dict[str, Data], environ: Mapping[str, str]) -> dict[str, Data]:
    """Returns the data with `CHROMA_URL` and `CHROMA_TOKEN` as defaults when the file has no `chroma.url`."""
    chroma, url = data.get("chroma") or {}, environ.get("CHROMA_URL", "").strip()
    if not isinstance(chroma, dict) or not url:
        return data
    in_file = {key: value for key, value in chroma.items() if not _is_empty(value, environ)}
    if "url" in in_file:
        return data
    try:
        check_server_url(url)
    except ValueError as error:
        raise ConfigError([f"CHROMA_URL in the environment {error}, is {mask_user_info(url)}"]) from None
    return {**data, "chroma": {"url": escape(url), "auth_token": "${CHROMA_TOKEN:-}", **in_file}}


def _is_empty(value: Data, environ: Mapping[str, str]) -> bool:
    return isinstance(value, str) and "${" in value and is_empty(value, environ)


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
    section: dict[str, Data] = {"chroma": document.data.get("chroma")}
    data = _with_chroma_from_environment(section, environ)
    resolved = resolve(data, environ=environ, secrets=secrets, fresh=True)
    if resolved.unresolved:
        raise document.error_for([Fault(each.key_path, each.reason) for each in resolved.unresolved])
    file, faults = _parsed(document, resolved.data)
    if file is None:
        raise document.error_for(faults)
    return file.chroma


def _validated(document: Document, resolved: Resolved) -> ConfigFile:
    usable = [each for each in resolved.unresolved if _is_pending_token(each) or _is_in_provider(each)]
    fatal = [each for each in resolved.unresolved if each.is_malformed or each not in usable]
    temporary = [each for each in fatal if each.is_temporary]
    faults = [*document.faults, *(_unresolved_fault(document, each) for each in fatal if not each.is_temporary)]
    file, found = _parsed(document, resolved.data)
    reported = {each.key_path for each in fatal}
    faults += [fault for fault in found if fault.key_path not in reported]
    faults += check_sections(document, resolved.data, _models_with_unknown_tasks(resolved))
    if file is None or faults:
        raise document.error_for(faults)
    if temporary:
        raise ConfigUnavailable(document.error_for([_unresolved_fault(document, each) for each in temporary]).faults)
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


def _is_pending_token(reference: UnresolvedReference) -> bool:
    return reference.is_temporary and reference.key_path == ("chroma", "auth_token")


def _unresolved_by_provider(resolved: Resolved) -> dict[int, list[UnresolvedReference]]:
    """Returns for each provider, by its index, the references that have no value."""
    found: dict[int, list[UnresolvedReference]] = {}
    for each in resolved.unresolved:
        if _is_in_provider(each):
            found.setdefault(int(each.key_path[1]), []).append(each)
    return found


def _reason(unresolved: Iterable[UnresolvedReference]) -> str:
    return "; ".join(dict.fromkeys(each.reason for each in unresolved))


def _find_provider(
    document: Document, provider_id: str, environ: Mapping[str, str], secrets: SecretSource | None
) -> tuple[KeyPath, Data]:
    providers = document.data.get("providers")
    for index, provider in enumerate(providers if isinstance(providers, list) else ()):
        raw_value = provider.get("id") if isinstance(provider, dict) else None
        if resolve(raw_value, environ=environ, secrets=secrets).data == provider_id:
            return ("providers", index), provider
    raise ConfigError([f"{document.path}: no provider has the id `{provider_id}` any more"])

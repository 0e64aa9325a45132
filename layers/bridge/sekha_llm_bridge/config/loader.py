"""From the file to `Settings`: find, parse, resolve references, validate, check, and report every fault at once."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sekha_llm_bridge.config.checks import check
from sekha_llm_bridge.config.document import Data, Document, read
from sekha_llm_bridge.config.endpoints import check_server_url, mask_user_info
from sekha_llm_bridge.config.faults import Fault, Place, is_secret, validation_fault
from sekha_llm_bridge.config.loaded import DisabledProvider, Settings
from sekha_llm_bridge.config.location import find_config
from sekha_llm_bridge.config.models import ConfigFile, ProviderConfig
from sekha_llm_bridge.config.notices import V1_VARIABLES, notices
from sekha_llm_bridge.config.resolution import Gap, Resolved, resolve
from sekha_llm_bridge.config.secret_source import SecretSource
from sekha_llm_bridge.errors import ConfigError


def load_settings(
    path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ, secrets: SecretSource | None = None
) -> Settings:
    """The settings in the file at `path`, or in the file that `find_config` finds.

    Raises `ConfigError` with every fault of the file. A reference without a value inside a provider disables that
    provider; `Settings.warnings` says so. `secrets` fetches what the file refers to in AWS; by default with
    Powertools, which is imported only then.
    """
    document = read(find_config(path, environ=environ))
    resolved = resolve(document.data, environ=environ, secrets=secrets)
    resolved = replace(resolved, data=_with_server(resolved.data, environ))
    file = _validated(document, resolved)
    gaps = _gaps_by_provider(resolved)
    disabled = {index: DisabledProvider(file.providers[index], _reason(found)) for index, found in gaps.items()}
    return Settings(
        path=document.path,
        providers=tuple(provider for index, provider in enumerate(file.providers) if index not in disabled),
        disabled=tuple(disabled.values()),
        default_models=file.default_models,
        routing=file.routing,
        chroma=file.chroma,
        warnings=tuple(notices(document, file, disabled, _ignored(environ, resolved))),
    )


def _with_server(data: Data, environ: Mapping[str, str]) -> Data:
    """The data with the Chroma server of the environment, which a file that says nothing of one goes with."""
    chroma = (data.get("chroma") or {}) if isinstance(data, dict) else None
    url, token = (environ.get(name, "").strip() for name in ("CHROMA_URL", "CHROMA_TOKEN"))
    if not isinstance(data, dict) or not isinstance(chroma, dict) or "url" in chroma or not url:
        return data
    try:
        return {**data, "chroma": {"url": check_server_url(url), "auth_token": token or None, **chroma}}
    except ValueError as error:
        raise ConfigError([f"CHROMA_URL in the environment {error}, is {mask_user_info(url)}"]) from None


def load_or_exit(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """`load_settings` for a command: every fault on stderr and exit code 2 when the file cannot be used."""
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
    """The provider with its references resolved anew, past every cache: for use after its 401.

    Equal to the present one when nothing has changed, so that a second try with the same key can be saved. It reads
    the file again and may call AWS: a few milliseconds to some seconds, blocking. Raises `ConfigError` when a
    reference has no value any more.
    """
    document = read(settings.path)
    place, data = _find(document, provider_id, environ, secrets)
    resolved = resolve(data, environ=environ, secrets=secrets, fresh=True)
    if resolved.gaps:
        raise document.report([Fault((*place, *gap.place), gap.reason) for gap in resolved.gaps])
    try:
        return ProviderConfig.model_validate(resolved.data)
    except ValidationError as error:
        faults = list(_validation_faults(document, error, place))
    raise document.report(faults)


def _validated(document: Document, resolved: Resolved) -> ConfigFile:
    hopeless = [gap for gap in resolved.gaps if gap.malformed or not _in_provider(gap)]
    faults = [*document.faults, *(_gap_fault(document, gap) for gap in hopeless)]
    file, found = _parsed(document, resolved.data)
    reported = {gap.place for gap in hopeless}
    faults += [fault for fault in found if fault.place not in reported]
    faults += check(document, resolved.data, _without_tasks(resolved))
    if file is None or faults:
        raise document.report(faults)
    return file


def _parsed(document: Document, data: Data) -> tuple[ConfigFile | None, list[Fault]]:
    """The file, or its faults. pydantic's error ends here: it holds resolved values."""
    try:
        return ConfigFile.model_validate(data), []
    except ValidationError as error:
        return None, list(_validation_faults(document, error, ()))


def _validation_faults(document: Document, error: ValidationError, around: Place) -> Iterator[Fault]:
    for detail in error.errors(include_url=False, include_input=False):
        place = (*around, *_steps(detail))
        written = document.value_at(place)
        if detail["type"] == "too_short" and written:
            continue  # pydantic counts only the entries without faults, which are reported themselves
        yield validation_fault(detail, place, written)


def _steps(detail: ErrorDetails) -> Iterator[int | str]:
    """Where an error is, without pydantic's mark for a mapping's key; an unknown key may have the mark's name."""
    is_key = detail["type"] == "extra_forbidden"
    return (step for step in detail["loc"] if is_key or step != "[key]")


def _gap_fault(document: Document, gap: Gap) -> Fault:
    if not gap.malformed or is_secret(gap.place):
        return Fault(gap.place, gap.reason)
    return Fault(gap.place, f"{gap.reason}; in {mask_user_info(str(document.value_at(gap.place)))}")


def _in_provider(gap: Gap) -> bool:
    return len(gap.place) > 1 and gap.place[0] == "providers"


def _without_tasks(resolved: Resolved) -> frozenset[Place]:
    """The models (their places) of which it is not known what they are for."""
    return frozenset(gap.place[:4] for gap in resolved.gaps if {"task", "tasks"}.intersection(gap.place))


def _gaps_by_provider(resolved: Resolved) -> dict[int, list[Gap]]:
    grouped: dict[int, list[Gap]] = {}
    for gap in resolved.gaps:
        grouped.setdefault(int(gap.place[1]), []).append(gap)
    return grouped


def _reason(gaps: list[Gap]) -> str:
    return "; ".join(dict.fromkeys(gap.reason for gap in gaps))


def _ignored(environ: Mapping[str, str], resolved: Resolved) -> list[str]:
    """The settings of v1 that are set and have no effect: those that the file does not mention itself."""
    return [name for name in V1_VARIABLES if environ.get(name) and name not in resolved.variables]


def _find(
    document: Document, provider_id: str, environ: Mapping[str, str], secrets: SecretSource | None
) -> tuple[Place, Data]:
    providers = document.data.get("providers")
    for index, provider in enumerate(providers if isinstance(providers, list) else ()):
        written = provider.get("id") if isinstance(provider, dict) else None
        if resolve(written, environ=environ, secrets=secrets).data == provider_id:
            return ("providers", index), provider
    raise ConfigError([f"{document.path}: no provider has the id `{provider_id}` any more"])

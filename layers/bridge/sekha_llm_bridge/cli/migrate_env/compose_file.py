"""Reads the environment of the bridge's service in a compose file, as list or mapping, with its `env_file`.

References are replaced from the `.env` beside the compose file, as Compose does. Other services name models and servers
that they ask the bridge for; these are read where the bridge's own service has none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekha_llm_bridge.cli.migrate_env.env_file import parse_env
from sekha_llm_bridge.cli.migrate_env.known_variables import LISTENING_ADDRESSES, SHARED_VARIABLES, is_carried
from sekha_llm_bridge.cli.migrate_env.source import Source, UnusableFile, Variable, read_text

_BRIDGE = "bridge"


def parse_compose(path: Path, document: Mapping[str, Any], service: str | None) -> Source:
    """Returns the variables of `service`, by default of the bridge's. Raises `UnusableFile`."""
    services = document["services"]
    if not isinstance(services, dict):
        raise UnusableFile(f"{path}: `services` is no mapping")
    beside = path.parent / ".env"
    lent = parse_env(beside, read_text(beside)).references if beside.is_file() else {}
    environments = {str(name): _environment(path, one, lent) for name, one in services.items()}
    chosen = _chosen(path, environments, service)
    variables = dict(environments[chosen])
    notes = [f"the service `{chosen}` of {path} is read" + (f", with the values of {beside}" if lent else "")]
    for name, other in environments.items():
        for variable in _shared_by(other, variables):
            variables[variable.name] = variable
            notes.append(f"{variable.name} is read from the service `{name}`")
    return Source(path, variables, lent, notes=tuple(notes))


def _chosen(path: Path, environments: Mapping[str, Mapping[str, Variable]], service: str | None) -> str:
    listed = ", ".join(environments)
    if service is not None:
        if service not in environments:
            raise UnusableFile(f"{path}: no service `{service}`: the file has {listed}")
        return service
    using = [name for name, variables in environments.items() if any(map(is_carried, variables))]
    named = [name for name in using if _BRIDGE in name.lower()]
    found = named or using
    if len(found) == 1:
        return found[0]
    problem = f"several services may be it: {', '.join(found)}" if found else "no service has variables of v1's bridge"
    raise UnusableFile(f"{path}: {problem}: name the bridge's with --service (the file has {listed})")


def _environment(path: Path, service: Any, lent: Mapping[str, str]) -> dict[str, Variable]:
    if not isinstance(service, dict):
        return {}
    variables: dict[str, Variable] = {}
    for file in _env_files(service.get("env_file")):
        if (path.parent / file).is_file():
            variables |= parse_env(path.parent / file, read_text(path.parent / file)).variables
    for name, value in _pairs(service.get("environment")):
        given = lent.get(name) if value is None else value
        if given is not None:
            variables[name.upper()] = Variable(name.upper(), given)
    return variables


def _pairs(environment: Any) -> list[tuple[str, str | None]]:
    """Returns names and values. A value of None is taken from the environment of Compose."""
    if isinstance(environment, dict):
        return [(str(name), _scalar(value)) for name, value in environment.items()]
    lines = [str(line) for line in environment] if isinstance(environment, list) else []
    split = [line.partition("=") for line in lines]
    return [(name.strip(), value if equals else None) for name, equals, value in split]


def _scalar(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


def _env_files(setting: Any) -> list[str]:
    entries = setting if isinstance(setting, list) else [setting] if setting else []
    return [str(entry["path"] if isinstance(entry, dict) and "path" in entry else entry) for entry in entries]


def _shared_by(other: Mapping[str, Variable], known: Mapping[str, Variable]) -> list[Variable]:
    """Returns the variables for which the bridge's own service has none of the same meaning."""
    has = {meaning for meaning, names in SHARED_VARIABLES.items() if any(name in known for name in names)}
    found = []
    for meaning, names in SHARED_VARIABLES.items():
        given = [other[name] for name in names if name in other and name not in LISTENING_ADDRESSES]
        variable = next((variable for variable in given if variable.raw), None)
        if variable and meaning not in has:
            found.append(variable)
    return found

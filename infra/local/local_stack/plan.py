"""Makes a plan from the options. It checks everything first, so that errors are reported before anything is started."""

import configparser
import errno
import fcntl
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import environment
from local_stack.cloudformation import TemplateError, load
from local_stack.configuration import Configuration, choose
from local_stack.http_server import listen
from local_stack.parameters import parameter_faults
from local_stack.routes import RoutingTable
from local_stack.schedules import Cron, Rate, ScheduleError, parse
from local_stack.template import Template
from local_stack.template_reader import DEFAULT_REGION, read_template
from local_stack.terminal import Terminal
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.routing.configuration_warnings import configuration_warnings

AUTH_PARAMETER = "AuthMode"
AUTH_VARIABLE = "AUTH_MODE"


class CannotStartError(Exception):
    """The stack cannot start with these options. The message has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    host: str
    port: int
    config: Path | None
    state: Path
    model: bool
    schedules: bool
    on_demand: bool
    auth: bool
    parameters: Sequence[str]
    template: Path | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the stack starts.

    `configuration`: None for a template that does not use the bridge's configuration. `timings`: schedule name → when
    it is due. `lock`: the lock on the folder `state`; closing it releases the folder. `environments`: name of a Python
    environment → its folder. `requested_at`: the time of the command on the monotonic clock, in seconds. `on_demand`:
    each function starts at its first request. `auth`: whether requests need API keys.
    """

    template: Template
    configuration: Configuration | None
    timings: Mapping[str, Rate | Cron]
    listening: socket.socket
    url: str
    state: Path
    lock: IO[str]
    environments: Mapping[str, Path]
    requested_at: float
    auth: bool
    on_demand: bool


def make_plan(options: Options, terminal: Terminal) -> Plan:
    """Returns the plan, and prints which configuration it uses. Raises CannotStartError."""
    requested_at = time.monotonic()
    parameters = {**_parameters(options.parameters), AUTH_PARAMETER: auth_mode(auth=options.auth)}
    template = _template(options.template or environment.ROOT / "template.yaml", parameters)
    timings = _timings(template) if options.schedules else {}
    configuration = None
    if options.config or not options.template:
        configuration = _configuration(options, terminal)
    listening = _listening(options.host, options.port)
    lock = _lock_state(options.state)
    return Plan(
        template=template,
        configuration=configuration,
        timings=timings,
        listening=listening,
        url=_url(options.host, listening) + template.api.base_path,
        state=options.state.resolve(),
        lock=lock,
        environments=_environments(configuration),
        requested_at=requested_at,
        auth=options.auth,
        on_demand=options.on_demand,
    )


def auth_mode(*, auth: bool) -> str:
    """Returns the value of the template's parameter AuthMode, which the functions have as AUTH_MODE."""
    return "keys" if auth else "none"


def _parameters(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for name, separator, _ in pairs:
        if not separator:
            raise CannotStartError(f"--parameter {name}: it has the form NAME=VALUE")
        if name == AUTH_PARAMETER:
            raise CannotStartError(f"--parameter {name}: use --auth")
    return {name: value for name, _, value in pairs}


def _template(path: Path, parameters: Mapping[str, str]) -> Template:
    try:
        document = load(path)
        known = document.get("Parameters") or {}
        if unknown := parameters.keys() - known - {AUTH_PARAMETER}:
            raise CannotStartError(f"--parameter {min(unknown)}: the template has no such parameter")
        given = {name: value for name, value in parameters.items() if name in known}
        if faults := list(parameter_faults(document, given)):
            raise CannotStartError("\n".join(f"--parameter {fault}" for fault in faults))
        template = read_template(path, region=_region(os.environ, Path.home()), parameters=parameters)
        RoutingTable(template.routes)
    except TemplateError as fault:
        raise CannotStartError(f"{path}: {fault}") from fault
    return template


def _region(user: Mapping[str, str], home: Path) -> str:
    """Returns the user's region as boto3 finds it: SSM and Bedrock are called in AWS, where the user's resources
    are."""
    named = user.get("AWS_REGION") or user.get("AWS_DEFAULT_REGION")
    if named:
        return named
    profile = user.get("AWS_PROFILE") or user.get("AWS_DEFAULT_PROFILE") or "default"
    section = profile if profile == "default" else f"profile {profile}"
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parsed.read(user.get("AWS_CONFIG_FILE") or home / ".aws" / "config", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return DEFAULT_REGION
    return parsed.get(section, "region", fallback=DEFAULT_REGION)


def _timings(template: Template) -> dict[str, Rate | Cron]:
    timings: dict[str, Rate | Cron] = {}
    for function in template.functions:
        for schedule in function.schedules:
            try:
                timings[schedule.name] = parse(schedule.expression)
            except ScheduleError as fault:
                raise CannotStartError(f"{template.path}: {function.logical_id}: {fault}") from fault
    return timings


def _configuration(options: Options, terminal: Terminal) -> Configuration:
    try:
        chosen = choose(environment.ROOT, options.config, may_start_models=options.model)
    except ConfigError as fault:
        faults = "\n".join(f"  {one}" for one in fault.faults)
        raise CannotStartError(f"the configuration cannot be used:\n{faults}") from fault
    terminal.note("config", f"{_short_path(chosen.path)} ({chosen.reason})")
    if chosen.settings.chroma.url and not chosen.needs_chroma:
        terminal.note(
            "chroma", f"{chosen.settings.chroma.url}, not started by this stack (from CHROMA_URL or the file)"
        )
    for warning in (*chosen.settings.warnings, *configuration_warnings(chosen.settings)):
        terminal.note("", warning)
    for model in chosen.missing_in_ollama:
        terminal.note("", f"this Ollama lacks {model}: ollama pull {model}")
    if chosen.is_ollama_empty:
        terminal.note("", "this Ollama has no model yet: ollama pull llama3.1:8b; it is found within two minutes")
    return chosen


def _short_path(path: Path) -> str:
    """Returns the path relative to the current folder, if it is inside it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _lock_state(state: Path) -> IO[str]:
    """Creates the state folder, deletes old logs, and locks the folder against other stacks."""
    logs = state / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("a", encoding="utf-8")
    except OSError as fault:
        raise CannotStartError(f"--state {state}: {fault.strerror}") from fault
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        raise CannotStartError(
            f"another local stack uses {state}: stop it, or give another folder with --state"
        ) from fault
    for log in logs.glob("*.log"):
        log.unlink()
    return lock


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            raise CannotStartError(
                f"port {port} is taken: stop the process that uses it, or give another with --port"
            ) from fault
        raise CannotStartError(f"cannot listen on {host}:{port}: {fault.strerror or fault}") from fault


def _url(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 — only compared
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _environments(configuration: Configuration | None) -> dict[str, Path]:
    """Creates the Python environments that the configuration needs, and returns their folders by name."""
    names = []
    if configuration and configuration.needs_chroma:
        names.append("chroma")
    if configuration and configuration.needs_models:
        names.append("model")
    python = environment.find_python() if names else Path()
    return {name: environment.make(name, python) for name in names}

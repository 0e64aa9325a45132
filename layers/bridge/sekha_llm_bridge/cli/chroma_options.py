"""The Chroma server of a command: the one that its options name, else the configuration's, else the local stack's."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr, ValidationError

from sekha_llm_bridge.cli.running_stack import RunningStack, SeveralStacks, find_stack
from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.location import PATH_VARIABLE
from sekha_llm_bridge.config.models import CHROMA_NAME_PATTERN, ChromaConfig
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.store import StoreFailed
from sekha_llm_bridge.errors import ConfigError

_MAX_ATTEMPTS = 4  # for each request: a retry takes seconds, a new run of the command takes minutes

_IF_REFUSED = ": check the token (--chroma-token or CHROMA_TOKEN)"
_IF_UNREACHABLE = ": is the server running? check the address (--chroma-url, CHROMA_URL or chroma.url of the file)"
# Part of the message of a failed request → what the user can do about it.
_REMEDIES = {
    "status 401": _IF_REFUSED,
    "status 403": _IF_REFUSED,
    "(Exception)": ": is this the address of a Chroma server, 1.0 or newer?",  # Chroma's client: an unknown answer
    "ConnectError": _IF_UNREACHABLE,
    "ConnectTimeout": _IF_UNREACHABLE,
}


class InvalidOptions(Exception):
    """The options name no usable Chroma server. The message names the option to give."""


class ChromaOptions(NamedTuple):
    """The options that name a Chroma server, and a database of it. None: what the configuration has."""

    config_path: Path | None = None
    url: str | None = None
    token: str | None = None
    tenant: str | None = None
    database: str | None = None

    @property
    def has_database(self) -> bool:
        """Whether a database is named: an API key's, say."""
        return self.tenant is not None or self.database is not None


def chroma_server(options: ChromaOptions, *, timeout_s: float) -> ChromaServer:
    """Returns a client of the server's database, with `timeout_s` for each request. Raises `InvalidOptions`.

    A database that the options name is created by the first write, if it does not exist.
    """
    for option, name in (("--chroma-tenant", options.tenant), ("--chroma-database", options.database)):
        if name is not None and not re.fullmatch(CHROMA_NAME_PATTERN, name):
            raise InvalidOptions(f"{option} {name}: 3 to 512 letters, digits, dots, - and _ are taken")
    server = ChromaServer(_chroma_config(options), timeout_s=timeout_s, max_attempts=_MAX_ATTEMPTS)
    configured = server.database
    return server.in_database(Database(options.tenant or configured.tenant, options.database or configured.name))


def require_database(server: ChromaServer, options: ChromaOptions) -> None:
    """Raises `InvalidOptions` if the options name a database that does not exist, and `StoreFailed`."""
    if options.has_database and not server.has_database():
        raise InvalidOptions(f"{server.url} has no database {server.database}: check --chroma-database")


def _chroma_config(options: ChromaOptions) -> ChromaConfig:
    """Returns the settings of the server, with the tenant and database of the configuration.

    An invalid configuration is ignored when `url` is given and `config_path` is not: it must not block the rollback of
    data. The configuration's token is only sent to the configuration's own server. When neither the options nor the
    configuration have an address, it is that of the running local stack, whose environment variables then become those
    of this process: its configuration and its state table are used. Raises `InvalidOptions`.
    """
    if find_spec("chromadb") is None:  # asked first, so that a missing package is reported before anything else
        raise ModuleNotFoundError(name="chromadb")
    config_path, url, token = options.config_path, options.url, options.token
    configured = _configured(config_path, is_needed=config_path is not None or not url)
    if url and url.rstrip("/") != configured.url:
        configured = _with_url(configured, url)
    if not configured.url:
        configured = _of_local_stack(config_path)
    return configured.model_copy(update={"auth_token": SecretStr(token)}) if token else configured


def problem_text(url: str, error: StoreFailed) -> str:
    """Returns the error with the address of the server, and what to check."""
    remedy = next((text for sign, text in _REMEDIES.items() if sign in str(error)), "")
    return f"{url}: {error}{remedy}"


def _of_local_stack(config_path: Path | None) -> ChromaConfig:
    try:
        stack = find_stack()
    except SeveralStacks as exc:
        raise InvalidOptions(f"{exc}: choose a Chroma server with --chroma-url or CHROMA_URL") from exc
    if stack is None or stack.chroma_url is None:
        raise InvalidOptions(
            "no Chroma server: give --chroma-url, set CHROMA_URL, put chroma.url into the file, or start one with "
            "`infra/local/up`"
        )
    _adopt_variables(stack)
    sys.stderr.write(f"using {stack.chroma_url}, the Chroma server of {stack}\n")
    configured = _configured(config_path, is_needed=True)
    return configured if configured.url == stack.chroma_url else _with_url(configured, stack.chroma_url)


def _adopt_variables(stack: RunningStack) -> None:
    """Sets the stack's environment variables in this process. A configuration that the user has chosen stays."""
    chosen = {PATH_VARIABLE} if os.environ.get(PATH_VARIABLE) else set()
    os.environ.update({name: value for name, value in stack.variables.items() if name not in chosen})


def _configured(path: Path | None, *, is_needed: bool) -> ChromaConfig:
    try:
        return load_settings(path).chroma
    except ConfigError as error:
        if is_needed:
            raise InvalidOptions(str(error)) from error
        return ChromaConfig.model_validate({})


def _with_url(configured: ChromaConfig, url: str) -> ChromaConfig:
    try:
        return ChromaConfig(url=url, tenant=configured.tenant, database=configured.database)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidOptions(f"--chroma-url (or CHROMA_URL): {fault['msg'].removeprefix('Value error, ')}") from None

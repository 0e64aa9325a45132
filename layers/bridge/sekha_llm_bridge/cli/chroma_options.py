"""The Chroma server of a command: the one that its options name, else the configuration's, else the local stack's."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr, ValidationError

from sekha_llm_bridge.cli.running_stack import RunningStack, SeveralStacks, find_stack
from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.location import PATH_VARIABLE
from sekha_llm_bridge.config.models import ChromaConfig
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


def chroma_server(config_path: Path | None, url: str | None, token: str | None, *, timeout_s: float) -> ChromaServer:
    """Returns a client of the server, with `timeout_s` for each request. Raises `InvalidOptions`."""
    return ChromaServer(chroma_config(config_path, url, token), timeout_s=timeout_s, max_attempts=_MAX_ATTEMPTS)


def chroma_config(config_path: Path | None, url: str | None, token: str | None) -> ChromaConfig:
    """Returns the settings of the server. Tenant and database are always taken from the configuration.

    An invalid configuration is ignored when `url` is given and `config_path` is not: it must not block the rollback of
    data. The configuration's token is only sent to the configuration's own server. When neither the options nor the
    configuration have an address, it is that of the running local stack, whose environment variables then become those
    of this process: its configuration and its state table are used. Raises `InvalidOptions`.
    """
    if find_spec("chromadb") is None:  # asked first, so that a missing package is reported before anything else
        raise ModuleNotFoundError(name="chromadb")
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

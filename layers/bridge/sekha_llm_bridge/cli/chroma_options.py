"""Which Chroma server a command works on: the one its options name, else the configuration's."""

from pathlib import Path

from pydantic import SecretStr, ValidationError

from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.errors import ConfigError

_TRIES = 4  # nobody waits for a request, but everybody for the whole


class WrongOptions(Exception):
    """The options name no server that can be used; the message says what to give."""


def server_of(config_path: Path | None, url: str | None, token: str | None, *, timeout_s: float) -> ChromaServer:
    """The server to work on, `timeout_s` for each request. Raises `WrongOptions`."""
    return ChromaServer(chroma_config(config_path, url, token), timeout_s=timeout_s, max_attempts=_TRIES)


def chroma_config(config_path: Path | None, url: str | None, token: str | None) -> ChromaConfig:
    """The server's address, and in it the tenant and the database, which are always the configuration's.

    Where `url` is given and `config_path` is not, a configuration that cannot be used is passed over: a data rollback
    does not wait for it. The configuration's token goes to the configuration's own server alone. Raises
    `WrongOptions`.
    """
    configured = _configured(config_path, is_needed=config_path is not None or not url)
    if url and url.rstrip("/") != configured.url:
        configured = _elsewhere(configured, url)
    if not configured.url:
        raise WrongOptions("no Chroma server: give --chroma-url, set CHROMA_URL, or put chroma.url into the file")
    return configured.model_copy(update={"auth_token": SecretStr(token)}) if token else configured


def _configured(path: Path | None, *, is_needed: bool) -> ChromaConfig:
    try:
        return load_settings(path).chroma
    except ConfigError as error:
        if is_needed:
            raise WrongOptions(str(error)) from error
        return ChromaConfig.model_validate({})


def _elsewhere(configured: ChromaConfig, url: str) -> ChromaConfig:
    try:
        return ChromaConfig(url=url, tenant=configured.tenant, database=configured.database)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise WrongOptions(f"--chroma-url (or CHROMA_URL): {fault['msg'].removeprefix('Value error, ')}") from None

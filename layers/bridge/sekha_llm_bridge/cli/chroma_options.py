"""The Chroma server of a command: the one that its options name, else the one of the configuration."""

from pathlib import Path

from pydantic import SecretStr, ValidationError

from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.errors import ConfigError

_MAX_ATTEMPTS = 4  # for each request: a retry takes seconds, a new run of the command takes minutes


class InvalidOptions(Exception):
    """The options name no usable Chroma server. The message names the option to give."""


def chroma_server(config_path: Path | None, url: str | None, token: str | None, *, timeout_s: float) -> ChromaServer:
    """Returns a client of the server, with `timeout_s` for each request. Raises `InvalidOptions`."""
    return ChromaServer(chroma_config(config_path, url, token), timeout_s=timeout_s, max_attempts=_MAX_ATTEMPTS)


def chroma_config(config_path: Path | None, url: str | None, token: str | None) -> ChromaConfig:
    """Returns the settings of the server. Tenant and database are always taken from the configuration.

    An invalid configuration is ignored when `url` is given and `config_path` is not: it must not block the rollback of
    data. The configuration's token is only sent to the configuration's own server. Raises `InvalidOptions`.
    """
    configured = _configured(config_path, is_needed=config_path is not None or not url)
    if url and url.rstrip("/") != configured.url:
        configured = _with_url(configured, url)
    if not configured.url:
        raise InvalidOptions("no Chroma server: give --chroma-url, set CHROMA_URL, or put chroma.url into the file")
    return configured.model_copy(update={"auth_token": SecretStr(token)}) if token else configured


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

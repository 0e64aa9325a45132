"""The provider that v1 made from single variables: an Ollama with an embedding model, a chat model and a vision model.

Source: `Settings.from_env` in sekha-llm-bridge's config.py.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from sekha_llm_bridge.cli.migrate_env import known_variables as known
from sekha_llm_bridge.cli.migrate_env.dimensions import dimension_setting
from sekha_llm_bridge.cli.migrate_env.source import Variable
from sekha_llm_bridge.cli.migrate_env.target import Node, Section, Setting, fixed
from sekha_llm_bridge.cli.migrate_env.values import Values

_DEFAULT_URL, _DEFAULT_PORT = "http://localhost:11434", 11434
_DEFAULT_EMBEDDING, _DEFAULT_CHAT = "nomic-embed-text", "llama3.1:8b"
_CONTEXT_WINDOW = "8192"  # v1 had this number for every model
_DOCKER_HOSTS = frozenset({"host.docker.internal", "gateway.docker.internal", "ollama", "chroma"})
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 — where a server listens, not where it is reached


def ollama_provider(values: Values) -> tuple[Section, Section]:
    """Returns the provider, and the default models."""
    embedding = _or(values, known.EMBEDDING_MODELS, _DEFAULT_EMBEDDING)
    chat = _or(values, known.CHAT_MODELS, "")
    others = list(_other_chat_models(values))
    if not chat.text:
        chat = others.pop(0) if others else fixed(_DEFAULT_CHAT)
    vision = _vision(values)
    provider: Section = {
        "id": fixed("ollama_local"),
        "provider_type": fixed("ollama"),
        "base_url": _base_url(values),
        "priority": fixed("1"),
    }
    if timeout := values.first_of(known.OLLAMA_TIMEOUTS):
        provider["timeout_secs"] = values.of_variable(timeout)
    provider["models"] = list(_models(values, embedding, chat, others, vision))
    defaults: Section = {"embedding": embedding, "chat_fast": chat, "chat_smart": chat}
    return provider, {**defaults, **({"chat_vision": vision} if vision else {})}


def _models(
    values: Values, embedding: Setting, chat: Setting, others: list[Setting], vision: Setting | None
) -> Iterator[dict[str, Node]]:
    dimension = dimension_setting(embedding, values.first_of(known.EMBEDDING_DIMENSIONS), values)
    window = fixed(_CONTEXT_WINDOW)
    yield {"model_id": embedding, "task": fixed("embedding"), "context_window": window, "dimension": dimension}
    tasks = Setting("chat_small, chat_smart", is_list=True)
    is_same = vision is not None and vision.text == chat.text
    sees: Section = {"supports_vision": fixed("true")}
    yield {"model_id": chat, "tasks": tasks, "context_window": window, **(sees if is_same else {})}
    for name, other in {other.text: other for other in others}.items():
        if name not in {chat.text, embedding.text}:
            yield {"model_id": other, "task": fixed("chat_small"), "context_window": window}
    if vision and not is_same:
        yield {"model_id": vision, "task": fixed("vision"), "context_window": window, **sees}


def _or(values: Values, names: tuple[str, ...], default: str) -> Setting:
    variable = values.first_of(names)
    return values.of_variable(variable) if variable else fixed(default)


def _other_chat_models(values: Values) -> Iterator[Setting]:
    for name in known.OTHER_CHAT_MODELS:
        variable = values.source.variables.get(name)
        if variable and values.has_value(variable):
            yield values.of_variable(variable)


def _vision(values: Values) -> Setting | None:
    variable = values.first_of(known.VISION_MODELS)
    setting = values.of_variable(variable) if variable else None
    return setting if setting and setting.text.lower() != "none" else None


def _base_url(values: Values) -> Setting:
    variable = values.first_of(known.OLLAMA_URLS)
    if variable is None:
        values.report.note(f"no address of Ollama is given: {_DEFAULT_URL} is used")
        return fixed(_DEFAULT_URL)
    setting = values.of_variable(variable)
    complete = values.url(setting._replace(text=_complete_url(setting.text)), variable.name)
    note_docker_host(complete, values)
    return complete


def _complete_url(text: str) -> str:
    """Returns the address with scheme and port: OLLAMA_HOST may lack both, and be the address to listen at.

    Source: Ollama's envconfig, `Host`.
    """
    if re.match(r"\w+://", text) or text.startswith("${"):
        return text
    host, _, port = text.partition("/")[0].rpartition(":") if re.search(r":\d+(/|$)", text) else (text, "", "")
    return f"http://{'localhost' if host.strip('[]') in _EVERY_ADDRESS else host}:{port or _DEFAULT_PORT}"


def note_docker_host(setting: Setting, values: Values) -> None:
    """Adds a remark about an address that the published compose files have, for containers only."""
    try:
        host = urlsplit(setting.text).hostname or ""
    except ValueError:
        return
    if host in _DOCKER_HOSTS:
        values.report.note(
            f"check {setting.place}: the host {host} exists only in v1's Docker network: "
            "give an address that the bridge reaches"
        )


def unused_variables(values: Values, model_ids: frozenset[str], urls: frozenset[str]) -> Iterator[tuple[Variable, str]]:
    """Yields the single variables that a list of providers replaces, and why; none for a model or address in it."""
    for name in (*known.OLLAMA_URLS, *known.OLLAMA_TIMEOUTS, *known.EMBEDDING_DIMENSIONS):
        variable = values.source.variables.get(name)
        if variable and values.has_value(variable) and values.of_variable(variable).text.rstrip("/") not in urls:
            yield variable, "the list of providers is used instead"
    for name in (*known.EMBEDDING_MODELS, *known.CHAT_MODELS, *known.OTHER_CHAT_MODELS, *known.VISION_MODELS):
        variable = values.source.variables.get(name)
        if variable and values.has_value(variable) and values.of_variable(variable).text not in model_ids:
            yield variable, "the list of providers has no such model"

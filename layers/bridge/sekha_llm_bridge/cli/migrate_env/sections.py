"""Maps v1's `default_models`, `routing`, `circuit_breaker` and the settings of Chroma."""

import re
from collections.abc import Iterator

from sekha_llm_bridge.cli.migrate_env import known_variables as known
from sekha_llm_bridge.cli.migrate_env.ollama import note_docker_host
from sekha_llm_bridge.cli.migrate_env.providers import is_empty, place_of
from sekha_llm_bridge.cli.migrate_env.source import Raw, V1Node
from sekha_llm_bridge.cli.migrate_env.target import Section, Setting
from sekha_llm_bridge.cli.migrate_env.values import Values

_NO_SETTING = "the bridge has no such setting"
_DEFAULT_MODELS = {
    "embedding": "embedding",
    "chat_fast": "chat_fast",
    "chat_small": "chat_fast",
    "chat_smart": "chat_smart",
    "chat_vision": "chat_vision",
    "vision": "chat_vision",
}
_FLAGS = {
    "cost_aware": "cost_aware",
    "auto_fallback": "auto_fallback",
    "enable_fallback": "auto_fallback",
    "require_vision_for_images": "require_vision_for_images",
}
_COSTS = {"max_cost_per_request": "max_cost_per_request", "cost_limit_per_request": "max_cost_per_request"}
_BREAKER = {
    "failure_threshold": "failure_threshold",
    "timeout_secs": "timeout_secs",
    "timeout_seconds": "timeout_secs",
    "reset_timeout": "timeout_secs",
    "success_threshold": "success_threshold",
}
_WITHOUT_COUNTERPART = {
    "half_open_timeout": "a half-open breaker has no time limit: its probe has the timeout of its call",
    "half_open_requests": "a half-open breaker always makes one probe at a time",
    "prefer_free_providers": "the order is that of `priority`: give free providers the lowest numbers",
    "strategy": "the order is that of `priority`, then of the cost",
    "chat_large": "no default name exists for it: name the model in the request, or give it an alias",
}
_NO_LIMIT = frozenset({"none", "null", "unlimited"})


def map_default_models(node: V1Node | None, values: Values) -> Section:
    """Returns the section `default_models`."""
    found: Section = {}
    for key, child in _items(node, values):
        if key in _DEFAULT_MODELS:
            _add(found, _DEFAULT_MODELS[key], values.setting(child))
        else:
            _leave_out(key, child, values)
    return found


def map_routing(node: V1Node | None, breaker: V1Node | None, values: Values) -> Section:
    """Returns the section `routing`, with the circuit breaker, which v1 also had on its own."""
    found: Section = {}
    nested = node.get("circuit_breaker") if isinstance(node, dict) else None
    for key, child in _items(node, values, without="circuit_breaker"):
        if key in _FLAGS:
            _add(found, _FLAGS[key], values.boolean(child))
        elif key in _COSTS:
            setting = values.setting(child)
            _add(found, _COSTS[key], None if setting and setting.text.lower() in _NO_LIMIT else setting)
        else:
            _leave_out(key, child, values)
    settings: Section = {}
    for part in (nested, breaker):
        for key, child in _items(part, values):
            if key in _BREAKER:
                _add(settings, _BREAKER[key], values.setting(child))
            else:
                _leave_out(key, child, values)
    return {**found, "circuit_breaker": settings} if settings else found


def map_chroma(values: Values) -> Section:
    """Returns the section `chroma`. CHROMA_URL in the bridge's environment replaces the address of the file."""
    address = _chroma_address(values)
    section: Section = {"url": address or Setting("${CHROMA_URL:-}")}
    if token := values.first_of(known.CHROMA_TOKENS):
        section["auth_token"] = values.reference(token.name, token.name)
    for name, key in known.CHROMA_KEYS.items():
        variable = values.source.variables.get(name)
        if variable and values.has_value(variable):
            _add(section, key, values.of_variable(variable))
    return section


def _chroma_address(values: Values) -> Setting | None:
    variable = values.first_of(known.CHROMA_URLS)
    if variable is None:
        return None
    setting = values.of_variable(variable)
    url = setting.text.rstrip("/")
    if not re.match(r"https?://", url) and not url.startswith("${"):
        port = values.source.variables.get(known.CHROMA_PORT)
        has_port = re.search(r":\d+$", url) is not None
        url = f"http://{url}" + ("" if has_port else f":{values.of_variable(port).text if port else 8000}")
    if "@" in url:
        values.report.leave_out(variable.name, "the address has a user name or password: give a token instead")
        return None
    note_docker_host(setting._replace(text=url), values)
    return setting._replace(text=url if url.startswith("${") else f"${{CHROMA_URL:-{url}}}")


def _items(node: V1Node | None, values: Values, without: str = "") -> Iterator[tuple[str, Raw]]:
    """Yields the single values of a section. Lists and objects in it have no meaning."""
    if node is not None and not isinstance(node, dict) and not is_empty(node):
        values.report.leave_out(place_of(node), "not a section with settings of its own")
    for key, child in node.items() if isinstance(node, dict) else ():
        if isinstance(child, Raw):
            yield key, child
        elif key != without and not is_empty(child):
            values.report.leave_out(place_of(child), _NO_SETTING)


def _add(section: Section, key: str, setting: Setting | None) -> None:
    if setting:
        section[key] = setting


def _leave_out(key: str, child: Raw, values: Values) -> None:
    if not is_empty(child):
        values.report.leave_out(child.place, _WITHOUT_COUNTERPART.get(key, _NO_SETTING))

"""Maps v1's list of providers (`SEKHA__LLM_PROVIDERS`, `llm_providers:`) to the bridge's."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from sekha_llm_bridge.cli.migrate_env.dimensions import dimension_setting
from sekha_llm_bridge.cli.migrate_env.known_variables import KEY_OF_TYPE
from sekha_llm_bridge.cli.migrate_env.ollama import note_docker_host
from sekha_llm_bridge.cli.migrate_env.source import Raw, V1Node
from sekha_llm_bridge.cli.migrate_env.target import Node, Section, Setting, fixed
from sekha_llm_bridge.cli.migrate_env.values import Values
from sekha_llm_bridge.config.vocabulary import ProviderType

_NO_SETTING = "the bridge has no such setting"
# v1's name, or one from its documentation → the bridge's.
_PROVIDER_KEYS = {
    "priority": "priority",
    "timeout": "timeout_secs",
    "timeout_secs": "timeout_secs",
    "timeout_seconds": "timeout_secs",
}
_MODEL_KEYS = ("context_window", "max_output_tokens", "dimension", "embedding_space")
_MODEL_FLAGS = ("supports_vision", "supports_audio", "supports_function_calling")
_VISION_KEYS = ("max_images", "max_image_size_mb")
_PRICES = {
    "cost_per_1k_tokens": "input_usd_per_mtok",
    "cost_per_1k_input": "input_usd_per_mtok",
    "cost_per_1k_output": "output_usd_per_mtok",
}
_DEFAULT_CONTEXT_WINDOW = "8192"  # v1's, for a model without one


def map_providers(nodes: list[V1Node], values: Values) -> list[dict[str, Node]]:
    """Returns the providers. Entries and keys without a counterpart are added to the report."""
    found = []
    for index, node in enumerate(nodes):
        if isinstance(node, dict):
            found += list(_provider(node, index, values))
        else:
            values.report.leave_out(place_of(node), "a provider must be an object with `id`, `type` and `models`")
    return found


def _provider(node: dict[str, V1Node], index: int, values: Values) -> Iterator[Section]:
    place = place_of(node)
    provider_type = _type(node, values)
    if provider_type is None:
        return
    provider_id = _id(node, index, values)
    provider: Section = {"id": provider_id, "provider_type": provider_type}
    provider |= _address_and_key(node, provider_id, provider_type, values)
    models: list[dict[str, Node]] = []
    for key, child in node.items():
        if key in _PROVIDER_KEYS and isinstance(child, Raw):
            if setting := values.setting(child):
                provider[_PROVIDER_KEYS[key]] = setting
        elif key == "models" and isinstance(child, list):
            models = _models(child, values)
        elif key not in {"id", "type", "provider_type", "base_url", "api_key"} and not is_empty(child):
            values.report.leave_out(place_of(child), _NO_SETTING)
    if not models:
        values.report.leave_out(place, "it has no model that can be carried over")
        return
    yield {**provider, "models": models}


def _type(node: dict[str, V1Node], values: Values) -> Setting | None:
    raw = node.get("provider_type", node.get("type"))
    setting = values.setting(raw) if isinstance(raw, Raw) else None
    known = [str(one) for one in ProviderType]
    word = setting.text.lower() if setting else ""
    if word not in known:
        values.report.leave_out(
            place_of(node),
            f"its type is none of {', '.join(known)}: most vendors are `openai` with their own base_url",
        )
        return None
    if word == ProviderType.LITELLM and _host(node).endswith("openrouter.ai"):
        word = ProviderType.OPENROUTER
    return setting._replace(text=word) if setting else None


def _id(node: dict[str, V1Node], index: int, values: Values) -> Setting:
    raw = node.get("id")
    setting = values.setting(raw) if isinstance(raw, Raw) else None
    if setting is None:
        return fixed(f"provider_{index + 1}")
    valid = re.sub(r"[^a-z0-9_-]+", "_", setting.text.lower())
    if valid != setting.text:
        values.report.note(
            f"{setting.place}: the provider is called {valid} now, because an id has only a-z, 0-9, - and _"
        )
    return setting._replace(text=valid)


def _address_and_key(node: dict[str, V1Node], provider_id: Setting, provider_type: Setting, values: Values) -> Section:
    prefix = re.sub(r"\W", "_", provider_id.text).upper()
    found: Section = {}
    raw_url, raw_key = node.get("base_url"), node.get("api_key")
    if isinstance(raw_url, Raw) and (url := values.setting(raw_url)):
        found["base_url"] = values.url(url, f"{prefix}_BASE_URL")
        note_docker_host(url, values)
    key = values.secret(raw_key, f"{prefix}_API_KEY") if isinstance(raw_key, Raw) else None
    usual = KEY_OF_TYPE.get(provider_type.text, "")
    if key is None and values.is_given(usual):
        key = values.reference(usual, usual)  # v1's library read the variable itself
    return {**found, "api_key": key} if key else found


def _models(nodes: list[V1Node], values: Values) -> list[dict[str, Node]]:
    models: list[dict[str, Node]] = []
    for node in nodes:
        model = _model(node, values) if isinstance(node, dict) else None
        if model is None:
            if not isinstance(node, dict):
                values.report.leave_out(place_of(node), "a model must be an object with `model_id` and `task`")
        elif not _joined(models, model):
            models.append(model)
    return models


def _joined(models: list[dict[str, Node]], model: dict[str, Node]) -> bool:
    """Adds the task to an entry that is the same otherwise. Returns whether there is one."""
    for other in models:
        if _texts(other, "task") == _texts(model, "task"):
            task = other["task"]
            added = model["task"]
            if isinstance(task, Setting) and isinstance(added, Setting):
                names = list(dict.fromkeys([*task.text.split(", "), *added.text.split(", ")]))
                other["task"] = task._replace(text=", ".join(names), is_list=len(names) > 1)
            return True
    return False


def _texts(node: Node, *without: str) -> object:
    """Returns the texts of a node, to compare it with another whatever their places are."""
    if isinstance(node, dict):
        return {key: _texts(child) for key, child in node.items() if key not in without}
    return [_texts(child) for child in node] if isinstance(node, list) else node.text


def _model(node: dict[str, V1Node], values: Values) -> dict[str, Node] | None:
    model_id, task = (_setting(node.get(key), values) for key in ("model_id", "task"))
    if model_id is None:
        values.report.leave_out(place_of(node), "it has no `model_id`")
        return None
    model: dict[str, Node] = {"model_id": model_id, "task": task or fixed("chat_small")}
    model["context_window"] = _setting(node.get("context_window"), values) or fixed(_DEFAULT_CONTEXT_WINDOW)
    for key in _MODEL_KEYS[1:]:
        if setting := _setting(node.get(key), values):
            model[key] = setting
    for key in _MODEL_FLAGS:
        raw = node.get(key)
        if isinstance(raw, Raw) and (setting := values.boolean(raw)):
            model[key] = setting
    if task and task.text == "embedding" and "dimension" not in model:
        model["dimension"] = dimension_setting(model_id, None, values)
    model |= {**_vision(node, values), **_pricing(node, values)}
    mapped = {"model_id", "task", *_MODEL_KEYS, *_MODEL_FLAGS, *_PRICES, "vision_capabilities", "max_image_size"}
    for key, child in node.items():
        if key not in mapped and not is_empty(child):
            values.report.leave_out(place_of(child), _NO_SETTING)
    return model


def _vision(node: dict[str, V1Node], values: Values) -> Section:
    given = node.get("vision_capabilities")
    found: Section = {}
    size = node.get("max_image_size")
    if isinstance(size, Raw) and (setting := _scaled(size, Decimal("1e-6"), values)):  # in bytes
        found["max_image_size_mb"] = setting
    for key, child in given.items() if isinstance(given, dict) else ():
        if key == "supported_formats" and isinstance(child, list):
            words = [setting for one in child if (setting := _setting(one, values))]
            found[key] = Setting(", ".join(word.text for word in words), place_of(child), is_list=True)
        elif key in _VISION_KEYS and (setting := _setting(child, values)):
            found[key] = setting
        elif not is_empty(child):
            values.report.leave_out(place_of(child), _NO_SETTING)
    return {"vision_capabilities": found} if found else {}


def _pricing(node: dict[str, V1Node], values: Values) -> Section:
    """Returns the prices, which v1's documentation gives per thousand tokens."""
    found: Section = {}
    for key, ours in _PRICES.items():
        raw = node.get(key)
        if isinstance(raw, Raw) and (setting := _scaled(raw, Decimal(1000), values)):
            found[ours] = setting
    return {"pricing": found} if found else {}


def _scaled(raw: Raw, factor: Decimal, values: Values) -> Setting | None:
    setting = values.setting(raw)
    try:
        number = Decimal(setting.text) * factor if setting else None
    except InvalidOperation:
        return setting  # to be refused, with a message
    return setting._replace(text=f"{number.normalize():f}") if setting and number is not None else None


def _setting(node: V1Node | None, values: Values) -> Setting | None:
    return values.setting(node) if isinstance(node, Raw) else None


def _host(node: dict[str, V1Node]) -> str:
    raw = node.get("base_url")
    try:
        return (urlsplit(str(raw.value)).hostname or "") if isinstance(raw, Raw) else ""
    except ValueError:
        return ""


def is_empty(node: V1Node) -> bool:
    """Whether the node has no value: null, an empty text, list or object."""
    return node.value is None or node.value == "" if isinstance(node, Raw) else not node


def place_of(node: V1Node) -> str:
    """Returns the place of a node, for messages: that of its first value, without the last step."""
    if isinstance(node, Raw):
        return node.place
    first = next(iter(node.values() if isinstance(node, dict) else node), None)
    if first is None:
        return "an empty entry"
    return re.sub(r"(\.[^.\[\]]+|\[\d+\])$", "", place_of(first))

"""Removes what the bridge would refuse, by asking the bridge's own loader."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from sekha_llm_bridge.cli.migrate_env.report import Report
from sekha_llm_bridge.cli.migrate_env.target import Node, Section, Setting, fixed
from sekha_llm_bridge.cli.migrate_env.yaml_writer import yaml_of
from sekha_llm_bridge.config.checks import check_sections
from sekha_llm_bridge.config.document import Document, read_document
from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.config.faults import fault_from_pydantic
from sekha_llm_bridge.config.models import ConfigFile
from sekha_llm_bridge.config.resolution import resolve

# An entry of a list has no meaning without a valid value of these. An invalid `base_url` must not become the vendor's
# own address: the key would be sent there.
_ENTRY_KEYS = frozenset({"id", "provider_type", "base_url", "models", "model_id", "task", "tasks", "dimension"})
_DEFAULTS = {"context_window": fixed("8192")}  # v1's
_WHOLE_SECTIONS = frozenset({"pricing", "vision_capabilities"})


def remove_invalid(tree: Section, report: Report) -> None:
    """Removes every setting that is invalid, and the entries that need it; adds each to the report."""
    while fault := next(_faults(tree), None):  # one at a time: a removal moves what follows it
        _remove(tree, fault, report)


def _faults(tree: Section) -> Iterator[Fault]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llm_providers.yaml"
        path.write_text(yaml_of(tree), encoding="utf-8")
        document = read_document(path)
    resolved = resolve(document.data, environ={}, secrets=None)
    for unresolved in resolved.unresolved:
        if unresolved.is_malformed or unresolved.key_path[0] != "providers":
            yield Fault(unresolved.key_path, unresolved.reason)
    try:
        ConfigFile.model_validate(resolved.data)
    except ValidationError as error:
        yield from _validation_faults(document, error)
    yield from check_sections(document, resolved.data, frozenset())


def _validation_faults(document: Document, error: ValidationError) -> Iterator[Fault]:
    for detail in error.errors(include_url=False, include_input=False):
        key_path = tuple(step for step in detail["loc"] if step != "[key]")
        yield fault_from_pydantic(detail, key_path, document.value_at(key_path))


def _remove(tree: Section, fault: Fault, report: Report) -> None:
    """Removes the setting or entry at the fault."""
    chain = _chain(tree, fault.key_path)
    parents, (holder, key) = chain[:-1], chain[-1]
    node = _get(holder, key)
    index = fault.key_path[len(chain)] if len(fault.key_path) > len(chain) else None
    if place := _place(node, holder):  # none: v1 had the value built in
        report.leave_out(place, fault.message)
    if isinstance(node, Setting) and node.is_list and isinstance(index, int) and _drop_word(holder, key, index):
        return
    if key in _DEFAULTS and isinstance(holder, dict):
        holder[str(key)] = _DEFAULTS[str(key)]
        return
    target = next((pair for pair in reversed(parents) if pair[1] in _WHOLE_SECTIONS), None)
    if target is None and key in _ENTRY_KEYS and not _is_default_address(holder, key):
        target = next((pair for pair in reversed(parents) if isinstance(pair[1], int)), None)
    _delete(*(target or (holder, key)))
    _delete_empty_lists(tree)


def _chain(tree: Section, key_path: KeyPath) -> list[tuple[Node, str | int]]:
    """Returns the (container, key) pairs on the way to the fault, as far as the tree has them."""
    chain: list[tuple[Node, str | int]] = []
    node: Node = tree
    for step in key_path:
        key = "task" if step == "tasks" and isinstance(node, dict) and "tasks" not in node else step
        child = _get(node, key)
        if child is None:
            break
        chain.append((node, key))
        node = child
    return chain


def _get(node: Node, key: str | int) -> Node | None:
    if isinstance(node, dict):
        return node.get(str(key))
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None


def _place(node: Node | None, holder: Node) -> str:
    """Returns the place of the v1 setting at fault: the node's own, else the first near it."""
    for candidate in (node, holder):
        if isinstance(candidate, Setting):
            if candidate.place:
                return candidate.place
        elif isinstance(candidate, dict):
            found = next((_place(child, child) for child in candidate.values() if _place(child, child)), "")
            if found:
                return found
        elif isinstance(candidate, list) and candidate:
            return _place(candidate[0], candidate[0])
    return ""


def _drop_word(holder: Node, key: str | int, index: int) -> bool:
    setting = _get(holder, key)
    if not isinstance(holder, dict) or not isinstance(setting, Setting):
        return False
    words = setting.text.split(", ")
    kept = [word for position, word in enumerate(words) if position != index]
    if kept:
        holder[str(key)] = setting._replace(text=", ".join(kept))
    return bool(kept)


def _is_default_address(holder: Node, key: str | int) -> bool:
    """Whether the entry may have the default address instead: only an Ollama, which is asked on this machine."""
    provider_type = holder.get("provider_type") if isinstance(holder, dict) else None
    return key == "base_url" and isinstance(provider_type, Setting) and provider_type.text == "ollama"


def _delete(holder: Node, key: str | int) -> None:
    if isinstance(holder, dict):
        holder.pop(str(key), None)
    elif isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        del holder[key]


def _delete_empty_lists(tree: Section) -> None:
    """Removes providers without models, the list without providers, and sections without settings."""
    providers = tree.get("providers")
    if isinstance(providers, list):
        providers[:] = [one for one in providers if one.get("models")]
    for name in [name for name, node in tree.items() if not isinstance(node, Setting) and not node]:
        del tree[name]

"""Writes the tree as YAML: references and quotes where they are needed, and the place of each value as a comment."""

import json
import re
from collections.abc import Iterator

from sekha_llm_bridge.cli.migrate_env.target import Node, Section, Setting

# Keys whose values are text, so that editors do not take `1.0` for a number. All others may be numbers or booleans.
_TEXT_KEYS = frozenset(
    {"version", "id", "base_url", "api_key", "model_id", "embedding_space", "url", "auth_token", "tenant", "database"}
    | {"embedding", "chat_fast", "chat_smart", "chat_vision", "default_collection", "supported_formats"}
)
_PLAIN_TEXT = re.compile(r"[A-Za-z][\w./-]*(:[\w.][\w./-]*)*|https?://[\w.:/-]*\w", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def yaml_of(tree: Section) -> str:
    """Returns the text of the file, with an empty line before each section."""
    blocks = ["\n".join(_mapping({key: node}, "")) for key, node in tree.items()]
    return "\n\n".join(blocks) + "\n"


def _mapping(section: Section, indent: str, commented: str = "") -> Iterator[str]:
    for key, node in section.items():
        name = "tasks" if key == "task" and isinstance(node, Setting) and node.is_list else key
        if isinstance(node, Setting):
            yield f"{indent}{name}: {_value(name, node)}{_comment(node.place, commented)}"
            continue
        variables = _variables(node)
        inside = variables.pop() if len(variables) == 1 else commented
        yield f"{indent}{name}:{_comment(inside, commented)}"
        if isinstance(node, list):
            yield from _sequence(node, f"{indent}  ", inside)
        else:
            yield from _mapping(node, f"{indent}  ", inside)


def _sequence(entries: list[dict[str, Node]], indent: str, commented: str) -> Iterator[str]:
    for entry in entries:
        lines = list(_mapping(entry, f"{indent}  ", commented))
        yield f"{indent}- {lines[0].lstrip()}"
        yield from lines[1:]


def _variables(node: Node) -> set[str]:
    """Returns the variables from which the values of a node come."""
    if isinstance(node, Setting):
        return {_variable(node.place)} if node.place else set()
    children = node.values() if isinstance(node, dict) else node
    return {name for child in children for name in _variables(child)}


def _variable(place: str) -> str:
    return re.split(r"[.\[]", place, maxsplit=1)[0]


def _comment(place: str, commented: str) -> str:
    """Returns the comment with the variable, unless the section has it already."""
    variable = _variable(place)
    return f"  # {variable}" if variable.isupper() and variable != commented else ""


def _value(key: str, setting: Setting) -> str:
    if not setting.is_list:
        return _scalar(key, setting.text)
    return "[" + ", ".join(_scalar(key, word) for word in setting.text.split(", ")) + "]"


def _scalar(key: str, text: str) -> str:
    is_word = _PLAIN_TEXT.fullmatch(text) and text.lower() not in _YAML_WORDS
    is_number = key not in _TEXT_KEYS and (_NUMBER.fullmatch(text) or text in {"true", "false"})
    is_reference = re.fullmatch(r"\$\{\w+(:-[\w.:/-]*)?\}", text, re.ASCII)
    return text if is_word or is_number or is_reference else quoted(text)


def quoted(text: str) -> str:
    """Returns the text in double quotes. A JSON string is YAML, except for characters that YAML forbids."""
    return _UNPRINTABLE.sub(lambda match: f"\\U{ord(match[0]):08x}", json.dumps(text, ensure_ascii=False))

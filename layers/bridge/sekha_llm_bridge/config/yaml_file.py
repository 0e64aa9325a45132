"""Parses the text of a YAML file into plain data, with the line of each value for error messages.

Only a process that has to parse imports this: `yaml` compiles patterns when it is imported, which takes 8 % of the time
in which an empty function starts. It needs no compiled package, because a layer is built on another machine than it
runs on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import yaml
from yaml.reader import ReaderError

from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.errors import ConfigError

Data: TypeAlias = "dict[str, Data] | list[Data] | str | None"
Pair: TypeAlias = tuple[yaml.Node, yaml.Node]

MAX_DEPTH = 40  # also stops at an alias that contains itself
MAX_NODES = 300_000  # limits nested aliases, which can multiply nodes; a file with 300 providers has 17,000

_YAML = "tag:yaml.org,2002:"

# The C loader is seven times faster, but some builds of PyYAML do not have it.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_REMEDIES = (
    ("tab", "indent with spaces, not tabs"),
    (r"'\t'", "indent with spaces, not tabs"),  # the same error from the Python loader
    ("cannot start any token", "put a value that starts with %, @, ` or a tab in quotes"),
    ("mapping values are not allowed", "put a value that contains `: ` in quotes, and check the indentation"),
    ("undefined alias", "put a value that starts with * in quotes"),
    ("another document", "one file has one document: remove the second `---`"),
    ("end of stream", "close the quote"),
    ("expected ',' or", "close the bracket, and put a reference inside {…} or […] in quotes"),
)


class Parsed(NamedTuple):
    """What the file says. `lines` has the line (from 1) of every key and list item; `()` is the file itself.
    `faults` are the faults that do not stop parsing, for example a duplicate key.
    """

    data: dict[str, Data]
    faults: tuple[Fault, ...]
    lines: dict[KeyPath, int]


def parse(path: Path, text: str) -> Parsed:
    """Parses the text of the file at `path`. Raises `ConfigError` when it is not YAML or not a mapping."""
    root = _compose(path, text)
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else f"contains {_describe_node(root)}, not a mapping"
        raise ConfigError([f"{path}:1: the file {what}: it needs at least the key `providers`"])
    constructor = _Constructor(lines={(): root.start_mark.line + 1})
    data = constructor.mapping(root, ())
    return Parsed(data, tuple(constructor.faults), constructor.lines)


def _compose(path: Path, text: str) -> yaml.Node | None:
    """Returns the root node. Error messages do not contain the text of the file, which may be an API key."""
    try:
        node: yaml.Node | None = _LOADER(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        fault = f"{path}:{_syntax_line(error)}: not valid YAML: {_syntax_problem(error)}"
    except ReaderError as error:
        line = text.count("\n", 0, text.find(chr(int(error.character)))) + 1
        fault = f"{path}:{line}: not valid YAML: a control character (code {error.character}): remove it"
    except RecursionError:
        fault = f"{path}:1: nested too deeply"
    else:
        return node
    raise ConfigError([fault])


def _syntax_line(error: yaml.MarkedYAMLError) -> int:
    """Returns the line of the mistake. For an unclosed bracket or quote this is the line where it opens."""
    is_unclosed = any(word in (error.context or "") for word in ("flow", "quoted"))
    marks = (error.context_mark, error.problem_mark) if is_unclosed else (error.problem_mark, error.context_mark)
    return next((mark.line + 1 for mark in marks if mark), 1)


def _syntax_problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "syntax error"
    if "alias" in problem:
        problem = problem.split(" '")[0]  # removes the alias's name, which is text of the file
    context = "" if error.context is None or "anchor" in error.context else f" ({error.context})"
    remedy = next((f"; {remedy}" for text, remedy in _REMEDIES if text in problem), "")
    return f"{problem}{context}{remedy}"


@dataclass(slots=True)
class _Constructor:
    """Converts nodes to data, and collects the faults and the lines."""

    faults: list[Fault] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    nodes: int = 0

    def value(self, node: yaml.Node, key_path: KeyPath) -> Data:
        self.nodes += 1
        if not node.tag.startswith(_YAML):
            self._fault(node, key_path, f"the tag `{node.tag}` has no meaning here: remove it")
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == f"{_YAML}null" else str(node.value)
        if len(key_path) > MAX_DEPTH or self.nodes > MAX_NODES:
            self._fault(node, key_path[:3], "nested too deeply, or an alias that contains itself")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self._child(item, item, (*key_path, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, key_path)

    def mapping(self, node: yaml.Node, key_path: KeyPath) -> dict[str, Data]:
        self._check_keys(node, key_path)
        return {name: self._child(key, value, (*key_path, name)) for name, (key, value) in _entries(node).items()}

    def _child(self, place: yaml.Node, value: yaml.Node, key_path: KeyPath) -> Data:
        self.lines[key_path] = place.start_mark.line + 1
        return self.value(value, key_path)

    def _check_keys(self, node: yaml.Node, key_path: KeyPath) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                message = f"a key must be text, not {_describe_node(key)}; a value that starts with {{ needs quotes"
                self._fault(key, key_path, message)
            elif key.value in seen:
                where = f"first on line {seen[key.value]}"
                self._fault(key, (*key_path, key.value), f"duplicate key `{key.value}` ({where}): keep one of them")
            elif _is_merge(key) and not all(isinstance(base, yaml.MappingNode) for base in _merged_nodes(value)):
                self._fault(key, key_path, "`<<` merges mappings: give it an alias of one, or a list of such aliases")
            else:
                seen[key.value] = key.start_mark.line + 1

    def _fault(self, node: yaml.Node, key_path: KeyPath, message: str) -> None:
        self.faults.append(Fault(key_path, message, node.start_mark.line + 1))


def _entries(node: yaml.Node) -> dict[str, Pair]:
    """Returns the keys of a mapping with their nodes. Its own keys take precedence over merged ones."""
    found: dict[str, Pair] = {}
    for source in _mappings_to_merge(node, set()):
        for key, value in source.value:
            if isinstance(key, yaml.ScalarNode) and not _is_merge(key):
                found.setdefault(key.value, (key, value))
    return found


def _mappings_to_merge(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """Yields the mapping and the mappings merged into it, nearest first, each once: aliases can be cyclic."""
    seen.add(id(node))
    yield node
    for key, value in node.value:
        if _is_merge(key):
            for base in _merged_nodes(value):
                if isinstance(base, yaml.MappingNode) and id(base) not in seen:
                    yield from _mappings_to_merge(base, seen)


def _merged_nodes(node: yaml.Node) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else [node]


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.tag == f"{_YAML}merge")


def _describe_node(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

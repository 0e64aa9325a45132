"""Parses a YAML file into plain data and finds the line of each value for error messages.

Scalars stay text, except null: the models convert types. So `1.10` does not become 1.1, `no` can be a name, and a value
from an environment variable is parsed like a value in the file. Lines are looked up only to report a fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.reader import ReaderError

from sekha_llm_bridge.config.faults import Fault, KeyPath, format_key_path
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


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed file. `faults` are the faults that do not stop parsing, for example a duplicate key."""

    path: Path
    data: dict[str, Data]
    faults: tuple[Fault, ...]
    _root: yaml.Node = field(repr=False)

    def line_of(self, key_path: KeyPath) -> int:
        """Returns the line (from 1) of the key or list item at `key_path`, or of its nearest existing parent."""
        node, line = self._root, self._root.start_mark.line
        for step in key_path:
            pair = _child(node, step)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        return line + 1

    def value_at(self, key_path: KeyPath) -> Data:
        """Returns the value as it is written, with references, or None when there is none."""
        value: Data = self.data
        for step in key_path:
            match value, step:
                case dict(), str():
                    value = value.get(step)
                case list(), int():
                    value = value[step]
                case _:
                    return None
        return value

    def error_for(self, faults: list[Fault]) -> ConfigError:
        """Returns the error that lists `faults` in the order of their lines, each once."""
        located = [(fault.line or self.line_of(fault.key_path), fault) for fault in faults]
        located.sort(key=lambda pair: pair[0])
        messages = [f"{self.path}:{line}: {_format_fault(fault)}" for line, fault in located]
        return ConfigError(list(dict.fromkeys(messages)))


def _format_fault(fault: Fault) -> str:
    """Returns the text of a fault, with `?` for each control character: a terminal would execute it."""
    text = f"{format_key_path(fault.key_path)}: {fault.message}" if fault.key_path else fault.message
    return "".join(character if character.isprintable() else "?" for character in text)


def read_document(path: Path) -> Document:
    """Parses the file at `path`. Raises `ConfigError` when it is not YAML or not a mapping."""
    root = _compose(path, _read_text(path))
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else f"contains {_describe_node(root)}, not a mapping"
        raise ConfigError([f"{path}:1: the file {what}: it needs at least the key `providers`"])
    constructor = _Constructor()
    data = constructor.mapping(root, ())
    return Document(path, data, tuple(constructor.faults), root)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = f"{path}: the file cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = f"{path}:{line}: the file is not UTF-8 text: save it in that encoding"
    raise ConfigError([reason])


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
    """Converts nodes to data and collects the faults."""

    faults: list[Fault] = field(default_factory=list)
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
            return [self.value(item, (*key_path, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, key_path)

    def mapping(self, node: yaml.Node, key_path: KeyPath) -> dict[str, Data]:
        self._check_keys(node, key_path)
        return {name: self.value(value, (*key_path, name)) for name, (_, value) in _entries(node).items()}

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


def _child(node: yaml.Node, step: str | int) -> Pair | None:
    if isinstance(node, yaml.MappingNode):
        return _entries(node).get(str(step))
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step], node.value[step]
    return None


def _describe_node(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

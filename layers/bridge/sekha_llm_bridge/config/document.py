"""A YAML file as plain data, which still knows the line of every part.

Scalars stay text, and null stays null: the models give types, so that `1.10` is not 1.1, `no` can be a name, and
a value from the environment is read like one from the file. Lines are looked up only to report a fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.reader import ReaderError

from sekha_llm_bridge.config.faults import Fault, Place, place_text
from sekha_llm_bridge.errors import ConfigError

Data: TypeAlias = "dict[str, Data] | list[Data] | str | None"
Pair: TypeAlias = tuple[yaml.Node, yaml.Node]

MAX_DEPTH = 40  # also ends a mapping that contains itself
MAX_NODES = 300_000  # aliases of aliases multiply; a file of 300 providers has 17,000

_YAML = "tag:yaml.org,2002:"

# The one in C is seven times faster, but not in every build of PyYAML.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_REMEDIES = (
    ("tab", "indent with spaces, not tabs"),
    (r"'\t'", "indent with spaces, not tabs"),  # the same, as the loader in Python puts it
    ("cannot start any token", "put a value that starts with %, @, ` or a tab in quotes"),
    ("mapping values are not allowed", "put a value that holds `: ` in quotes, and check the indentation"),
    ("undefined alias", "put a value that starts with * in quotes"),
    ("another document", "one file holds one document: remove the second `---`"),
    ("end of stream", "close the quote"),
    ("expected ',' or", "close the bracket, and put a reference inside {…} or […] in quotes"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed file. `faults` are those that parsing survives, such as a duplicate key."""

    path: Path
    data: dict[str, Data]
    faults: tuple[Fault, ...]
    _root: yaml.Node = field(repr=False)

    def line_of(self, place: Place) -> int:
        """The line (from 1) of the key or list item at `place`, or of the nearest part around it that exists."""
        node, line = self._root, self._root.start_mark.line
        for step in place:
            pair = _step(node, step)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        return line + 1

    def value_at(self, place: Place) -> Data:
        """The value as it is written, references and all; None where there is nothing."""
        value: Data = self.data
        for step in place:
            match value, step:
                case dict(), str():
                    value = value.get(step)
                case list(), int():
                    value = value[step]
                case _:
                    return None
        return value

    def report(self, faults: list[Fault]) -> ConfigError:
        """The error that tells of `faults`, in the order of the file."""
        lines = [(fault.line or self.line_of(fault.place), fault) for fault in faults]
        lines.sort(key=lambda numbered: numbered[0])
        return ConfigError(list(dict.fromkeys(f"{self.path}:{line}: {_told(fault)}" for line, fault in lines)))


def _told(fault: Fault) -> str:
    return f"{place_text(fault.place)}: {fault.message}" if fault.place else fault.message


def read(path: Path) -> Document:
    """The file at `path`. Raises `ConfigError` when it is not YAML, or not a mapping."""
    root = _compose(path, _text(path))
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else f"holds {_kind(root)}, not a mapping"
        raise ConfigError([f"{path}:1: the file {what}: it needs at least the key `providers`"])
    construction = _Construction()
    data = construction.mapping(root, ())
    return Document(path, data, tuple(construction.faults), root)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = f"{path}: the file cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = f"{path}:{line}: the file is not UTF-8 text: save it in that encoding"
    raise ConfigError([reason])


def _compose(path: Path, text: str) -> yaml.Node | None:
    """The tree of nodes. PyYAML's errors are told without the text around them, which may be a key."""
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
    """Where to look: what is left open is noticed only later, so there the line where it begins."""
    begins = any(sign in (error.context or "") for sign in ("flow", "quoted"))
    marks = (error.context_mark, error.problem_mark) if begins else (error.problem_mark, error.context_mark)
    return next((mark.line + 1 for mark in marks if mark), 1)


def _syntax_problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "syntax error"
    if "alias" in problem:
        problem = problem.split(" '")[0]  # its name is the text after a `*`
    context = "" if error.context is None or "anchor" in error.context else f" ({error.context})"
    remedy = next((f"; {remedy}" for sign, remedy in _REMEDIES if sign in problem), "")
    return f"{problem}{context}{remedy}"


@dataclass(slots=True)
class _Construction:
    """Nodes turned into data, with the faults met on the way."""

    faults: list[Fault] = field(default_factory=list)
    nodes: int = 0

    def value(self, node: yaml.Node, place: Place) -> Data:
        self.nodes += 1
        if not node.tag.startswith(_YAML):
            self._fault(node, place, f"the tag `{node.tag}` has no meaning here: remove it")
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == f"{_YAML}null" else str(node.value)
        if len(place) > MAX_DEPTH or self.nodes > MAX_NODES:
            self._fault(node, place[:3], "nested too deeply, or an alias that contains itself")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, place)

    def mapping(self, node: yaml.Node, place: Place) -> dict[str, Data]:
        self._check_keys(node, place)
        return {name: self.value(value, (*place, name)) for name, (_, value) in _members(node).items()}

    def _check_keys(self, node: yaml.Node, place: Place) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                message = f"a key must be text, not {_kind(key)}; a value that starts with {{ needs quotes"
                self._fault(key, place, message)
            elif key.value in seen:
                where = f"first on line {seen[key.value]}"
                self._fault(key, (*place, key.value), f"duplicate key `{key.value}` ({where}): keep one of them")
            elif _is_merge(key) and not all(isinstance(base, yaml.MappingNode) for base in _bases(value)):
                self._fault(key, place, "`<<` merges mappings: give it an alias of one, or a list of such aliases")
            else:
                seen[key.value] = key.start_mark.line + 1

    def _fault(self, node: yaml.Node, place: Place, message: str) -> None:
        self.faults.append(Fault(place, message, node.start_mark.line + 1))


def _members(node: yaml.Node) -> dict[str, Pair]:
    """The keys of a mapping with their nodes; its own before merged ones, as YAML's merge key has it."""
    found: dict[str, Pair] = {}
    for source in _sources(node, set()):
        for key, value in source.value:
            if isinstance(key, yaml.ScalarNode) and not _is_merge(key):
                found.setdefault(key.value, (key, value))
    return found


def _sources(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """The mapping and those merged into it, nearest first, each once: aliases can go in circles."""
    seen.add(id(node))
    yield node
    for key, value in node.value:
        if _is_merge(key):
            for base in _bases(value):
                if isinstance(base, yaml.MappingNode) and id(base) not in seen:
                    yield from _sources(base, seen)


def _bases(node: yaml.Node) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else [node]


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.tag == f"{_YAML}merge")


def _step(node: yaml.Node, step: str | int) -> Pair | None:
    if isinstance(node, yaml.MappingNode):
        return _members(node).get(str(step))
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step], node.value[step]
    return None


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

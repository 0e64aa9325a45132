"""The parsed file: plain data, and the line of each value for error messages.

Scalars stay text, except null: the models convert types. So `1.10` does not become 1.1, `no` can be a name, and a value
from an environment variable is parsed like a value in the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from sekha_llm_bridge.config.fault import Fault, KeyPath
from sekha_llm_bridge.config.faults import format_key_path
from sekha_llm_bridge.config.parsed_file import read_parsed
from sekha_llm_bridge.errors import ConfigError

Data: TypeAlias = "dict[str, Data] | list[Data] | str | None"


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed file. `faults` are the faults that do not stop parsing, for example a duplicate key."""

    path: Path
    data: dict[str, Data]
    faults: tuple[Fault, ...]
    lines: Mapping[KeyPath, int] = field(repr=False)

    def line_of(self, key_path: KeyPath) -> int:
        """Returns the line (from 1) of the key or list item at `key_path`, or of its nearest existing parent."""
        known = (key_path[:length] for length in range(len(key_path), -1, -1))
        return next(self.lines[part] for part in known if part in self.lines)

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
    """Parses the file at `path`. Raises `ConfigError` when it is not YAML or not a mapping.

    The file in a layer was parsed when the layer was built.
    """
    content = _read(path)
    if (known := read_parsed(path, content)) is not None:
        return Document(path, known.data, (), known.lines)
    from sekha_llm_bridge.config.yaml_file import parse  # see there

    parsed = parse(path, _text_of(path, content))
    return Document(path, parsed.data, parsed.faults, parsed.lines)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: the file cannot be read: {error.strerror or error}"]) from None


def _text_of(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
    raise ConfigError([f"{path}:{line}: the file is not UTF-8 text: save it in that encoding"])

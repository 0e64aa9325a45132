"""One fault of the file, and the path to the value that it is about."""

from dataclasses import dataclass
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the value at `key_path`. `line` is set only when it cannot be found by the key path."""

    key_path: KeyPath
    message: str
    line: int | None = None

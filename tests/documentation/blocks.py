"""The examples of the Markdown pages: every fenced block, and the commands of those that are for a shell."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
GUIDE = Path(__file__).with_name("migration-guide.md")
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block. `line` is the number of its first line in the page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Returns every Markdown page of the project, also the migration guide, which is the specification of v2."""
    found = (path for path in ROOT.rglob("*.md") if not any(_is_hidden(part) for part in path.relative_to(ROOT).parts))
    return sorted(found)


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "node_modules"


def blocks() -> list[Block]:
    """Returns the blocks of all pages, in the order of each page."""
    return [block for page in pages() for block in blocks_of(page)]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yields the blocks of one page."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        yield Block(str(page.relative_to(ROOT)), line, match[1], match[2])


def commands_of(block: Block) -> list[str]:
    """Returns the commands of a shell block: a command may have several lines, by `\\` or within quotes."""
    commands, current = [], ""
    for line in block.text.splitlines():
        current = f"{current}\n{line}" if current else line
        if not _is_complete(current):
            continue
        if shlex.split(current, comments=True):
            commands.append(current.strip())
        current = ""
    if current:
        raise ValueError(f"{block}: this command has no end: {current}")
    return commands


def _is_complete(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quotation mark is still open
        return False
    return True

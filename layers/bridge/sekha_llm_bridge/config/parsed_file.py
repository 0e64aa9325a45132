"""Keeps a YAML file in parsed form beside it, as `llm_providers.yaml.parsed.json`. The build of the layer writes it.

JSON is parsed faster, and without importing `yaml`, see `yaml_file`. The parsed form has the hash of the file that it
was made of, so a file that was changed since is parsed again. References such as `${OPENAI_API_KEY}` are in it as they
are written: they are resolved at the start.

    python -m sekha_llm_bridge.config.parsed_file FILE…
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sekha_llm_bridge.config.fault import KeyPath
from sekha_llm_bridge.errors import ConfigError

if TYPE_CHECKING:
    from sekha_llm_bridge.config.document import Data


class KnownContent(NamedTuple):
    """What a file without faults says. `lines` has the line of every key and list item."""

    data: "dict[str, Data]"
    lines: Mapping[KeyPath, int]


def read_parsed(path: Path, content: bytes) -> KnownContent | None:
    """Returns the parsed form of the file at `path` with that content; None where there is none of this content."""
    try:
        parsed = json.loads(_beside(path).read_bytes())
        if parsed["sha256"] != hashlib.sha256(content).hexdigest():
            return None
        return KnownContent(parsed["data"], {tuple(key_path): line for key_path, line in parsed["lines"]})
    except (OSError, ValueError, LookupError, TypeError):  # none, or not in this form: another release has written it
        return None


def write_parsed(path: Path) -> None:
    """Writes the parsed form of the file at `path`. A file with faults gets none: the start reports them."""
    from sekha_llm_bridge.config.yaml_file import parse  # see there

    content = path.read_bytes()
    try:
        parsed = parse(path, content.decode("utf-8-sig"))
    except (ConfigError, UnicodeDecodeError):
        return
    if parsed.faults:
        return
    written = {"sha256": hashlib.sha256(content).hexdigest(), "data": parsed.data, "lines": list(parsed.lines.items())}
    _beside(path).write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.parsed.json")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_parsed(Path(name))

"""A provider that edits `sums.py` with the tools of the coding agent that asks it, in OpenAI's, Anthropic's and Ollama's
formats.
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.fakes.assistant import Assistant
from tests.fakes.chat_formats import Asked, Said

FILE = "sums.py"
BEFORE = "def add(a, b):\n    return a - b\n"
AFTER = "def add(a, b):\n    return a + b\n"
DONE = "The sum is mended."

_OLD, _NEW = "a - b", "a + b"
_PATH = re.compile(rf"\S*/{re.escape(FILE)}")
_Call = tuple[str, Mapping[str, Any]]


class CodingAssistant(Assistant):
    """Reads the file of the question, edits it, and says so. Each step is a turn of its own; it takes the tools of Claude
    Code, Codex, Continue and pi. A question without tools, such as one for a title, is answered with a text.
    """

    is_broken = False
    """Whether every answer breaks off, as those of a provider whose connections break."""

    def breaks_off(self, asked: Asked) -> bool:
        return self.is_broken

    def said(self, asked: Asked) -> Said:
        steps = _steps(asked)
        n_done = len(asked.results)
        return Said("I do that.", (steps[n_done],)) if n_done < len(steps) else Said(DONE)


def _steps(asked: Asked) -> tuple[_Call, ...]:
    found = _PATH.search(f"{asked.question}\n{asked.latest}")
    if found is None:
        return ()
    path = found[0]
    match asked.tools:
        case {"Read": {"properties": {"filepath": _}}, "MultiEdit": _}:  # Continue, for models that it does not know
            edits = [{"old_string": _OLD, "new_string": _NEW}]
            return ("Read", {"filepath": path}), ("MultiEdit", {"file_path": path, "edits": edits})
        case {"Read": read, "Edit": _}:
            edit = {"file_path": path, "old_string": _OLD, "new_string": _NEW}
            place = "filepath" if "filepath" in read["properties"] else "file_path"  # Continue has the first
            return ("Read", {place: path}), ("Edit", edit)
        case {"exec_command": _}:
            return (
                ("exec_command", {"cmd": f"cat {path}"}),
                ("exec_command", {"cmd": f"sed -i 's/{_OLD}/{_NEW}/' {path}"}),
            )
        case {"read": _, "edit": _}:
            return ("read", {"path": path}), ("edit", {"path": path, "edits": [{"oldText": _OLD, "newText": _NEW}]})
        case _:
            return ()

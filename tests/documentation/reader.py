"""Someone who tries the examples of one page: a folder like the project's, a Python session, and a shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import requests

import environment
from local_stack.testing import RunningStack
from tests.documentation.blocks import GUIDE, ROOT, Block, blocks, blocks_of
from tests.documentation.not_run import python_not_to_run

ALL = blocks()
SEPARATOR = "\x1e"
_BRIDGE = re.compile(r"http://(?:localhost|127\.0\.0\.1):8000|https://[\w….-]*amazonaws\.com/prod")


class Reader:
    """Runs examples of the page `page` in order, in `folder`. Only host and port are replaced."""

    def __init__(self, page: str, folder: Path, stack: RunningStack) -> None:
        self.page, self.folder = page, folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._stack = stack
        self._executed: set[int] = set()
        for path in ROOT.iterdir():
            if path.name not in {".git", ".env"}:
                (folder / path.name).symlink_to(path)
        _write_files_of_v1(folder)
        if not any("import requests" in block.text for block in ALL if block.page == page):
            self.names["requests"] = requests  # the guide's blocks do not import it

    def python(self, block: Block) -> None:
        """Executes the Python blocks of the page up to `block`, those that were not yet."""
        for one in ALL:
            if one.page == self.page and one.language == "python" and one.line <= block.line:
                self._execute(one)

    def _execute(self, block: Block) -> None:
        if block.line in self._executed or not is_run_here(block):
            return
        self._executed.add(block.line)
        code = "\n" * (block.line - 1) + self._localised(block.text)
        exec(compile(code, block.page, "exec"), self.names)  # noqa: S102 — running the examples is the test

    def shell(self, commands: list[str]) -> list[str]:
        """Runs commands in one bash, with the project's programs on PATH, and returns the output of each."""
        programs = environment.HOME / "envs" / "bridge" / "bin"
        variables = {
            "PATH": f"{programs}:{self._jq_folder()}{os.environ['PATH']}",
            "SEKHA_LOCAL_STACKS": str(self._stack.state / "stacks"),  # where the commands find the running stack
        }
        script = self._localised(f"\nprintf '{SEPARATOR}'\n".join(commands))
        done = subprocess.run(
            ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.split(SEPARATOR) if commands else []

    def _jq_folder(self) -> str:
        """Returns a folder with a `jq` that only formats JSON, where this machine has no jq."""
        if shutil.which("jq"):
            return ""
        folder = self.folder / "programs"
        folder.mkdir(exist_ok=True)
        (folder / "jq").write_text("#!/bin/sh\n[ $# -eq 0 ] || exit 2\nexec python -m json.tool\n")
        (folder / "jq").chmod(0o755)
        return f"{folder}:"

    def _localised(self, text: str) -> str:
        return _BRIDGE.sub(self._stack.base_url, text)


def is_run_here(block: Block) -> bool:
    """Returns whether a Python block runs in the session of its page."""
    return python_not_to_run(block.text) is None and not is_for_chromas_client(block)


def is_for_chromas_client(block: Block) -> bool:
    """Returns whether a block needs Chroma's own package, which has an environment of its own: see
    `test_chroma_script.py`."""
    return "chromadb.PersistentClient" in block.text


def _write_files_of_v1(folder: Path) -> None:
    """Writes what a user of v1 has: a `.env`, a copy of it, and a copy of the vectors."""
    v1 = next(block for block in blocks_of(GUIDE) if "OLLAMA_BASE_URL" in block.text).text
    for name in (".env", ".env.backup"):
        (folder / name).write_text(v1, encoding="utf-8")
    (folder / "chroma_data.backup").mkdir()
    (folder / "chroma_data.backup" / "chroma.sqlite3").write_text("backup")

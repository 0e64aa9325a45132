"""The programs of the client libraries: each is there, and a machine without Node.js is told so."""

from pathlib import Path

import pytest

from tests.clients.libraries import Program, all_programs
from tests.clients.programs import NODE, NodeMissingError, expected, has_node, run

CALLS = NODE.parent / "calls"
NPM_PROGRAMS = [one for one in all_programs() if one.environment == "npm"]


def test_each_library_has_its_program_and_an_expectation_for_each_call() -> None:
    for program in all_programs():
        library = program.library
        path = CALLS / f"{library.program}.py" if library.environments else NODE / library.program
        assert path.is_file()
        assert all(expected(program, call) for call in library.calls_with_models())


def test_the_npm_lock_names_no_registry() -> None:
    lock = (NODE / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert "://registry" not in lock
    assert '"resolved"' not in lock


@pytest.mark.parametrize("program", NPM_PROGRAMS, ids=[one.title for one in NPM_PROGRAMS])
def test_without_node_an_npm_library_says_what_to_install(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_node()
    with pytest.raises(NodeMissingError, match=r"install Node\.js 20 or newer"):
        run(program, "http://127.0.0.1:9", embedding_model="e", calls=["chat"])


def test_an_old_node_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.0.0\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeMissingError, match=r"node is v18\.0\.0"):
        run(NPM_PROGRAMS[0], "http://127.0.0.1:9", embedding_model="e", calls=["chat"])

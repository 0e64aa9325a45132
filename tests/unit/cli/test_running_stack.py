"""How a command finds the local stack. A file with a lock stands for a stack that runs, as `infra/local/up` writes it."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import environment
import sekha_llm_bridge
from local_stack import stack_file
from local_stack.stack_file import StackFile
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.cli.running_stack import RunningStack, SeveralStacks, find_stack
from tests.fakes.provider import FakeProvider, Reply

HEALTH = "/api/v1/health"
COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=300&offset=0"
REPORT = {"status": "healthy", "providers": {}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files of stacks."""
    path = tmp_path / "stacks"
    path.mkdir()
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(path))
    return path


@contextmanager
def stack_in(folder: Path, name: str = "1", *, is_default: bool = True, **facts: Any) -> Iterator[None]:
    """A stack that runs during the context."""
    content = {"pid": 1, "url": f"http://h:{name}", "chroma_url": None, "state": "/s", "variables": {}, **facts}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"is_default_state": is_default, **content}))
    with path.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        yield


def url_of_stack() -> str | None:
    found = find_stack()
    return found.url if found else None


def run(*arguments: str, **environ: str) -> Any:
    return CliRunner(env=environ).invoke(app, list(arguments))


def test_the_only_running_stack_is_found_whatever_its_state_folder(folder: Path) -> None:
    with stack_in(folder, is_default=False):
        assert url_of_stack() == "http://h:1"
    assert url_of_stack() is None


def test_of_several_stacks_the_one_with_the_default_state_folder_is_found(folder: Path) -> None:
    with stack_in(folder, "1", is_default=False), stack_in(folder, "2"), stack_in(folder, "3", is_default=False):
        assert url_of_stack() == "http://h:2"


def test_several_stacks_in_other_folders_are_ambiguous_and_the_message_has_their_addresses(folder: Path) -> None:
    with stack_in(folder, "1", is_default=False), stack_in(folder, "2", is_default=False):
        with pytest.raises(SeveralStacks, match=r"http://h:1 .*http://h:2"):
            find_stack()
        answer = run("health")
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert "choose one with --url or SEKHA_BRIDGE_URL" in answer.stderr
        answer = run("backup", str(folder / "b.gz"))
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert "choose a Chroma server with --chroma-url or CHROMA_URL" in answer.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1, "variables": []}'])
def test_a_malformed_file_is_no_stack(folder: Path, text: str) -> None:
    path = folder / "1.json"
    path.write_text(text)
    with path.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        assert find_stack() is None


def test_the_file_of_another_user_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with stack_in(folder):
        assert find_stack() is None


def test_the_file_of_a_killed_stack_is_ignored_and_removed_by_the_next_one(folder: Path) -> None:
    write = (
        "import os, sys; from pathlib import Path; from local_stack.stack_file import StackFile;"
        "file = StackFile(Path(sys.argv[1]));"
        "file.write(url='http://killed', chroma_url=None, state=Path('/s'), variables={}); os.kill(os.getpid(), 9)"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(stack_file.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", write, str(folder)], env=environ, check=False)
    assert len(list(folder.iterdir())) == 1
    assert find_stack() is None
    next_one = StackFile(folder)
    next_one.write(url="http://next", chroma_url=None, state=Path("/s"), variables={"A": "b"})
    assert url_of_stack() == "http://next"
    assert len(list(folder.iterdir())) == 1
    next_one.remove()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("state", "is_default"), [(environment.HOME / "state", True), (Path("/other"), False)])
def test_a_stack_says_whether_its_state_folder_is_the_default_one(
    folder: Path, state: Path, *, is_default: bool
) -> None:
    file = StackFile(folder)
    file.write(url="http://h", chroma_url="http://c", state=state.resolve(), variables={"A": "b", "C": ""})
    found = find_stack()
    file.remove()
    assert found == RunningStack("http://h", "http://c", state.resolve(), is_default=is_default, variables={"A": "b"})


def test_the_stack_is_found_from_a_folder_of_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEKHA_LOCAL_STACKS")
    script = tmp_path / "infra" / "local" / "up"
    script.parent.mkdir(parents=True)
    script.touch()
    stacks = tmp_path / ".local" / "stacks"
    stacks.mkdir(parents=True)
    monkeypatch.setattr(sekha_llm_bridge, "__file__", "/elsewhere/sekha_llm_bridge/__init__.py")
    with stack_in(stacks):
        monkeypatch.chdir(script.parent)
        assert url_of_stack() == "http://h:1"
        monkeypatch.chdir("/")
        assert url_of_stack() is None
        monkeypatch.setattr(sekha_llm_bridge, "__file__", str(tmp_path / "layers" / "x" / "__init__.py"))
        assert url_of_stack() == "http://h:1"


# --- The commands


def test_health_uses_the_running_stack_and_prints_so_on_stderr(folder: Path, fake: FakeProvider) -> None:
    fake.always(HEALTH, Reply(200, REPORT))
    with stack_in(folder, url=fake.url):
        answer = run("health", "--json")
    assert (answer.exit_code, json.loads(answer.stdout)) == (0, REPORT)
    assert answer.stderr == f"using the local stack at {fake.url} (state folder /s)\n"


def test_without_a_stack_health_asks_the_default_address() -> None:
    answer = run("health", "--once")
    assert answer.exit_code == 3
    assert "http://127.0.0.1:8000: cannot be reached" in answer.stderr


def test_the_option_and_the_variable_come_before_the_stack(folder: Path, fake: FakeProvider) -> None:
    fake.always(HEALTH, Reply(200, REPORT))
    with stack_in(folder):
        for answer in (run("health", "--url", fake.url), run("health", SEKHA_BRIDGE_URL=fake.url)):
            assert (answer.exit_code, answer.stderr) == (0, "")


@pytest.mark.parametrize("command", ["migrate-collections", "backup"])
def test_the_chroma_of_the_stack_comes_after_option_variable_and_file(
    command: str, folder: Path, fake: FakeProvider, tmp_path: Path
) -> None:
    fake.always(COLLECTIONS, Reply(401, {"error": "no"}))
    arguments = [command, *([str(tmp_path / "new.gz")] if command == "backup" else [])]
    file = tmp_path / "llm.yaml"
    file.write_text(f"chroma: {{url: '{fake.url}'}}\n")
    with stack_in(folder, chroma_url="http://127.0.0.1:1"):
        for chosen, environ in (
            (["--chroma-url", fake.url], {}),
            ([], {"CHROMA_URL": fake.url}),
            (["--config", str(file)], {}),
            ([], {"LLM_CONFIG_PATH": str(file)}),
        ):
            before = len(fake.calls(COLLECTIONS))
            assert "using" not in run(*arguments, *chosen, **environ).stderr
            assert len(fake.calls(COLLECTIONS)) == before + 1

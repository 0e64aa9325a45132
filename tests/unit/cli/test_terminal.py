"""The commands on a terminal, in a pipe and in a shell, as a new user tries them."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.terminal import COMMAND, VARIABLES, environ_of, in_pipe, on_terminal, with_closed_output

HEALTH = "/api/v1/health"
COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=300&offset=0"
LONG_NAME = "a-model-with-a-name-" + "x" * 90
FILE = f"""
providers:
  - id: local
    provider_type: ollama
    models: [{{model_id: {LONG_NAME}, task: chat_small, context_window: 8192}}]
"""
REPORT: dict[str, Any] = {
    "status": "healthy",
    "providers": {"p" * 70: {"status": "healthy", "models_count": 2, "circuit_breaker": {"state": "closed"}}},
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "llm.yaml"
    file.write_text(FILE)
    return str(file)


@pytest.fixture
def env_file(tmp_path: Path) -> str:
    file = tmp_path / "old.env"
    file.write_text("CHAT_MODEL=a\nPORT=1\n")
    return str(file)


@pytest.fixture
def bridge(fake: FakeProvider) -> str:
    fake.always(HEALTH, Reply(200, REPORT))
    return fake.url


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


# --- Width and colours


def test_in_a_pipe_nothing_is_wrapped_or_coloured(config: str, bridge: str) -> None:
    for arguments in (("check-config", config), ("health", "--url", bridge)):
        answer = in_pipe(*arguments)
        assert "\x1b" not in answer.stdout + answer.stderr
        name = LONG_NAME if "check-config" in arguments else "p" * 70
        assert re.search(rf"^ *{name} .*(free|closed)", answer.stdout, re.MULTILINE)


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_on_a_terminal_a_table_fits_its_width(config: str, bridge: str, columns: int) -> None:
    for arguments in (("check-config", config), ("health", "--once", "--url", bridge)):
        shown = on_terminal(*arguments, columns=columns)
        assert shown.exit_code == 0
        assert shown.has_escapes
        table = [line.rstrip() for line in shown.text.splitlines() if line.startswith(("provider", " ", "pp"))]
        assert table
        assert max(map(len, table[:4])) <= columns


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_and_a_dumb_terminal_get_plain_text(
    config: str, bridge: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VARIABLES, name, value)
    for arguments in (
        ("check-config", config),
        ("health", "--once", "--url", bridge),
        ("--help",),
        ("backup", "--help"),
        ("helth",),
    ):
        shown = on_terminal(*arguments)
        assert shown.text
        assert not shown.has_escapes


def test_a_progress_bar_is_drawn_only_where_it_can_be_redrawn(fake: FakeProvider, tmp_path: Path) -> None:
    fake.always(COLLECTIONS, Reply(200, []))
    arguments = ("backup", str(tmp_path / "b.gz"), "--force", "--chroma-url", fake.url)
    assert on_terminal(*arguments).has_escapes
    for shown in (on_terminal(*arguments, NO_COLOR="1"), on_terminal(*arguments, TERM="dumb")):
        assert (shown.exit_code, shown.has_escapes) == (0, False)
    assert "\x1b" not in in_pipe(*arguments).stderr


def test_help_and_errors_are_plain_lines_in_a_pipe_and_boxes_on_a_terminal() -> None:
    assert "╭" in on_terminal("health", "--help").text
    assert "╭" not in in_pipe("health", "--help").stdout
    assert in_pipe("helth").stderr.splitlines()[-1] == "Error: No such command 'helth'. Did you mean 'health'?"


def test_a_name_that_the_encoding_lacks_is_no_reason_to_fail(tmp_path: Path) -> None:
    file = tmp_path / "llm.yaml"
    file.write_text(FILE.replace(LONG_NAME, "modèle-→"), encoding="utf-8")
    answer = in_pipe("check-config", str(file), PYTHONIOENCODING="ascii")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "mod?le-?" in answer.stdout


# --- Wrong arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["helth"], "No such command 'helth'. Did you mean 'health'?"),
        (["migrate"], "Did you mean 'migrate-env'"),
        (["health", "--ulr", "x"], "No such option: --ulr (Possible options: --url)"),
        (["restore"], "Missing argument 'FILE'"),
        (["health", "--interval", "soon"], "unable to parse string as a number"),
        (["--show-completion", "csh"], "'csh' is not one of 'bash', 'zsh', 'fish'"),
        (["migrate-env", "/missing/.env"], "/missing/.env: no such file"),
        (["migrate-env", "/"], "/: cannot be read, Is a directory"),
        (["check-config", "/missing.yaml"], "/missing.yaml"),
    ],
)
def test_a_wrong_argument_gives_2_and_says_what_is_meant(arguments: list[str], said: str) -> None:
    answer = in_pipe(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_help_of_every_command_has_its_exit_codes() -> None:
    assert "Exit codes" in in_pipe("--help").stdout
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]  # the group of the commands
        assert "exit code" in (command.help or "").lower(), name


# --- No server, and servers that refuse


@pytest.mark.parametrize("command", ["migrate-collections", "backup"])
def test_a_chroma_that_does_not_answer_is_named_without_a_traceback(command: str, tmp_path: Path) -> None:
    file = [str(tmp_path / "b.gz")] if command == "backup" else []
    answer = in_pipe(command, *file, "--chroma-url", "http://127.0.0.1:1")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "http://127.0.0.1:1" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_another_kind_of_server_is_not_taken_for_chroma(bridge: str, tmp_path: Path) -> None:
    answer = in_pipe("backup", str(tmp_path / "b.gz"), "--chroma-url", bridge)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"{bridge}: Chroma did not list collections" in answer.stderr
    assert "is this the address of a Chroma server, 1.0 or newer?" in answer.stderr


def test_a_chroma_that_rejects_the_token_is_named_and_the_token_is_not(fake: FakeProvider, tmp_path: Path) -> None:
    fake.always(COLLECTIONS, Reply(401, {"error": "no"}))
    answer = in_pipe("backup", str(tmp_path / "b.gz"), "--chroma-url", fake.url, "--chroma-token", "hunter2")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert fake.url in answer.stderr
    assert "hunter2" not in answer.stderr


# --- Pipes


@pytest.mark.parametrize("command", ["schema", "check-config", "migrate-env", "health", "--help", "--show-completion"])
def test_a_reader_that_has_gone_ends_the_command_silently(
    command: str, config: str, env_file: str, bridge: str
) -> None:
    arguments = {
        "check-config": [config],
        "migrate-env": [env_file],
        "health": ["--json", "--url", bridge],
        "--show-completion": ["zsh"],
    }
    answer = with_closed_output(command, *arguments.get(command, []))
    assert answer.stderr == ""
    assert answer.returncode == 141


# --- Ctrl-C


def test_ctrl_c_in_a_backup_says_that_nothing_was_written(silent: socket.socket, tmp_path: Path) -> None:
    arguments = ("backup", str(tmp_path / "b.gz"), "--chroma-url", address_of(silent))
    shown = on_terminal(*arguments, interrupt_when=silent.accept)
    assert shown.exit_code == 130
    assert shown.text.rstrip().endswith("interrupted: nothing was written; run the same command again")


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_ctrl_c_while_the_report_is_awaited_gives_130(silent: socket.socket, option: str) -> None:
    shown = on_terminal("health", option, "--url", address_of(silent), interrupt_when=silent.accept)
    assert shown.exit_code == 130
    assert "Traceback" not in shown.text


# --- Completion


@pytest.mark.parametrize(
    ("shell", "part"),
    [
        ("bash", "complete -o default -F _sekha_bridge_completion sekha-bridge"),
        ("zsh", "#compdef sekha-bridge"),
        ("fish", "complete --command sekha-bridge"),
    ],
)
def test_the_completion_script_is_printed_and_no_file_is_written(shell: str, part: str, tmp_path: Path) -> None:
    answer = in_pipe("--show-completion", shell, HOME=str(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert part in answer.stdout
    assert "_SEKHA_BRIDGE_COMPLETE" in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_completion_script_is_installed_when_asked(tmp_path: Path) -> None:
    answer = in_pipe("--install-completion", "fish", HOME=str(tmp_path))
    script = tmp_path / ".config" / "fish" / "completions" / "sekha-bridge.fish"
    assert (answer.returncode, answer.stdout) == (0, f"written to {script}; it takes effect in a new fish\n")
    assert script.read_text() == in_pipe("--show-completion", "fish").stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [("sekha-bridge mig", {"migrate-env", "migrate-collections"}), ("sekha-bridge health --on", {"--once"})],
)
def test_the_program_answers_the_shell_with_commands_and_options(words: str, found: set[str]) -> None:
    answer = in_pipe(_SEKHA_BRIDGE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert (answer.returncode, set(answer.stdout.split())) == (0, found)


def test_bash_completes_a_command_with_the_printed_script(tmp_path: Path) -> None:
    program = tmp_path / "sekha-bridge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sekha_llm_bridge.cli "$@"\n')
    program.chmod(0o755)
    ask = 'eval "$(sekha-bridge --show-completion bash)"; COMP_WORDS=(sekha-bridge sch); COMP_CWORD=1'
    ask += '; _sekha_bridge_completion sekha-bridge; echo "${COMPREPLY[*]}"'
    environ = environ_of(PATH=f"{tmp_path}:{os.environ['PATH']}")
    answer = subprocess.run(["/bin/bash", "-c", ask], capture_output=True, text=True, env=environ, check=False)
    assert (answer.stdout, answer.stderr) == ("schema\n", "")


# --- Missing packages, and faults of the program


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in an interpreter that does not have the module."""
    program = f"import sys; sys.modules[{module!r}] = None\n{COMMAND[-1]}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environ_of(), check=False
    )


@pytest.mark.parametrize(
    ("module", "arguments", "wanted"),
    [
        ("typer", ["--help"], "sekha-llm-bridge"),
        ("yaml", ["check-config"], "sekha-llm-bridge"),
        ("dotenv", ["migrate-env", "ENV"], "sekha-llm-bridge"),
        ("chromadb", ["migrate-collections", "--chroma-url", "http://127.0.0.1:1"], "'sekha-llm-bridge[chroma]'"),
        ("chromadb", ["backup", "BACKUP", "--chroma-url", "http://127.0.0.1:1"], "'sekha-llm-bridge[chroma]'"),
        ("aws_lambda_powertools", ["check-config"], "sekha-llm-bridge"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    module: str, arguments: list[str], wanted: str, env_file: str, tmp_path: Path
) -> None:
    paths = {"ENV": env_file, "BACKUP": str(tmp_path / "b.gz")}
    answer = without(module, *(paths.get(one, one) for one in arguments))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"needs the package {module}: pip install {wanted}\n" in answer.stderr
    assert "Traceback" not in answer.stderr


def failing(**environ: str) -> subprocess.CompletedProcess[str]:
    program = f"from sekha_llm_bridge.config import schema; schema.schema_text = lambda: 1 / 0\n{COMMAND[-1]}"
    return subprocess.run(
        [sys.executable, "-c", program, "schema"],
        capture_output=True,
        text=True,
        env=environ_of(**environ),
        check=False,
    )


def test_a_fault_of_the_program_is_one_sentence_unless_the_traceback_is_asked_for() -> None:
    answer = failing()
    assert (answer.returncode, answer.stdout) == (70, "")
    assert answer.stderr.startswith("unexpected ZeroDivisionError: division by zero\n")
    assert "Traceback" not in answer.stderr
    answer = failing(SEKHA_BRIDGE_TRACEBACK="1")
    assert (answer.returncode, "Traceback" in answer.stderr) == (70, True)


# --- JSON


def test_every_command_with_json_prints_one_document_on_stdout(
    config: str, env_file: str, fake: FakeProvider, bridge: str, tmp_path: Path
) -> None:
    fake.always(COLLECTIONS, Reply(200, []))
    file = str(tmp_path / "b.gz")
    for arguments in (
        ["check-config", config],
        ["migrate-env", env_file],
        ["health", "--url", bridge],
        ["backup", file, "--chroma-url", fake.url],
        ["restore", file, "--chroma-url", fake.url],
        ["migrate-collections", "--chroma-url", fake.url],
    ):
        answer = CliRunner().invoke(app, [*arguments, "--json"])
        assert isinstance(json.loads(answer.stdout), dict), arguments

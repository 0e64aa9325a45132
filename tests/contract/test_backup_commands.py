"""`sekha-bridge backup` and `sekha-bridge restore`, run as commands on real Chroma servers."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.backup.file_format import Start
from sekha_llm_bridge.embeddings.backup.reading import collection_summaries, read_lines
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from tests.fakes.chroma import chroma_server
from tests.fakes.collections import collection_contents, fill, record_contents

RECORDS = 2000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("source")) as url:
        fill(on(url).find_or_create("notes", metadata={"embedding_space": "mini"}, configuration={}), RECORDS)
        fill(on(url).find_or_create("few", metadata=None, configuration={}), 5)
        yield url


@pytest.fixture(scope="module")
def _target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("target")) as url:
        yield url


@pytest.fixture
def target(_target: str) -> str:
    """The URL of a server without collections."""
    for collection in list(on(_target).collections()):
        on(_target).delete(collection.name)
    return _target


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.gz"


def on(url: str) -> ChromaServer:
    return ChromaServer(ChromaConfig(url=url), timeout_s=60)


def run(*arguments: str | Path, **environ: str) -> Any:
    done = CliRunner(env=environ).invoke(app, [str(one) for one in arguments])
    assert "secret" not in done.output
    return done


def started(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "sekha_llm_bridge.cli", *arguments])


def test_a_backup_and_its_restore_print_their_results(source: str, target: str, file: Path) -> None:
    made = run("backup", file, "--chroma-url", source)
    assert made.exit_code == 0, made.output
    assert f"{file}: 2 collections, 2,005 records" in made.stdout
    notes = next(one for one in collection_summaries(file) if one.start.name == "notes")
    assert notes.end.checksum[:12] in made.stdout
    brought = run("restore", file, CHROMA_URL=target)
    assert brought.exit_code == 0, brought.output
    assert "verified, 2,000 written" in brought.stdout
    assert collection_contents(on(target), "notes") == collection_contents(on(source), "notes")


def test_standard_output_has_only_json(source: str, target: str, file: Path) -> None:
    made = run("backup", file, "--collection", "few", "--json", "--chroma-url", source)
    (few,) = json.loads(made.stdout)["collections"]
    assert (few["name"], few["records"], few["on_server"], made.stderr) == ("few", 5, 5, "")
    planned = run("restore", file, "--dry-run", "--json", "--chroma-url", target)
    assert json.loads(planned.stdout)["collections"][0]["held_before"] is None
    brought = run("restore", file, "--json", "--chroma-url", target)
    (again,) = json.loads(brought.stdout)["collections"]
    assert (again["verified"], again["checksum"]) == (True, few["checksum"])


def test_a_dry_run_writes_nothing(source: str, target: str, file: Path) -> None:
    run("backup", file, "--chroma-url", source)
    planned = run("restore", file, "--dry-run", "--chroma-url", target)
    assert (planned.exit_code, planned.stdout.count("would be created")) == (0, 2)
    assert list(on(target).collections()) == []


@pytest.mark.parametrize("name", ["[b", "[/b]", ":smile:[red]x[1]"])
def test_the_files_name_is_printed_unchanged(source: str, target: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    made = run("backup", file, "--collection", "few", "--chroma-url", source)
    assert (made.exit_code, f"{file}: 1 collections" in made.stdout) == (0, True), made.output
    assert run("restore", file, "--chroma-url", target).exit_code == 0


@pytest.mark.parametrize("more", [[], ["--force"]])
def test_a_folder_is_refused_as_the_file(source: str, tmp_path: Path, more: list[str]) -> None:
    done = run("backup", tmp_path, "--chroma-url", source, *more)
    assert (done.exit_code, "is a folder" in done.stderr) == (2, True)
    assert not tmp_path.with_name(f"{tmp_path.name}.partial").exists()


def test_a_dry_run_and_a_restore_print_what_they_replace(source: str, target: str, file: Path) -> None:
    run("backup", file, "--collection", "few", "--chroma-url", source)
    few = on(target).find_or_create("few", metadata=None, configuration={})
    fill(few, 1, first=1)
    few.upsert(replace(few.get(["id 1 é"]), documents=["newer"]))
    planned = run("restore", file, "--dry-run", "--json", "--chroma-url", target)
    assert json.loads(planned.stdout)["collections"][0]["would_be_replaced"] == 1
    said = run("restore", file, "--dry-run", "--chroma-url", target).stdout
    assert "would be added to the 1 records on the server, and replace 1 of them" in " ".join(said.split())
    said = run("restore", file, "--chroma-url", target).stdout
    assert "5 written, 1 of them replaced records with the same id" in " ".join(said.split())


def test_a_resumed_backup_is_reported_as_resumed(source: str, file: Path) -> None:
    run("backup", file, "--collection", "few", "--chroma-url", source)
    partial = file.with_name("backup.gz.partial")
    (started,) = {one.line.written_at for one in read_lines(file) if isinstance(one.line, Start)}
    file.rename(partial)
    said = run("backup", file, "--collection", "few", "--chroma-url", source).stdout
    assert f"resumed the backup that was started at {started}" in said
    file.rename(partial)
    data = json.loads(run("backup", file, "--collection", "few", "--json", "--chroma-url", source).stdout)
    assert (data["begun_at"], data["went_on"]) == (started, True)
    file.rename(partial)
    assert "goes on" not in run("backup", file, "--collection", "few", "--restart", "--chroma-url", source).stdout


def test_an_existing_file_is_replaced_only_by_force(source: str, file: Path) -> None:
    file.write_text("precious")
    kept = run("backup", file, "--collection", "few", "--chroma-url", source)
    assert (kept.exit_code, file.read_text()) == (2, "precious")
    assert "--force" in kept.stderr
    assert run("backup", file, "--collection", "few", "--force", "--chroma-url", source).exit_code == 0
    assert [one.end.records for one in collection_summaries(file)] == [5]


def test_a_refused_collection_gives_exit_code_1(source: str, target: str, file: Path) -> None:
    fill(on(target).find_or_create("notes", metadata=None, configuration={}), 3, dimension=7)
    run("backup", file, "--chroma-url", source)
    for more in (["--dry-run"], []):
        done = run("restore", file, "--chroma-url", target, *more)
        assert done.exit_code == 1
        assert "refused: the server's vectors have 7 dimensions" in " ".join(done.stdout.split())
    assert on(target).find("few") is not None


def test_unusable_input_gives_exit_code_2_and_the_reason(source: str, target: str, file: Path) -> None:
    cases = [
        (("backup", file, "--collection", "nope", "--chroma-url", source), "the server has few, notes"),
        (("backup", file, "--chroma-url", "nonsense"), "--chroma-url (or CHROMA_URL): must be a URL"),
        (("backup", file), "no Chroma server: give --chroma-url"),
        (("backup", file, "--config", "nowhere.yaml", "--chroma-url", source), "nowhere.yaml: no such file"),
        (("backup", file, "--chroma-url", "http://127.0.0.1:9"), "Chroma did not list collections"),
        (("backup", file.parent / "no" / "folder", "--chroma-url", source), "No such file"),
        (("restore", file, "--chroma-url", target), "No such file"),
    ]
    for arguments, reason in cases:
        done = run(*arguments)
        assert (done.exit_code, reason in done.stderr) == (2, True), done.stderr
    assert list(file.parent.iterdir()) == []


def test_a_damaged_file_is_refused_and_nothing_is_written(source: str, target: str, file: Path) -> None:
    run("backup", file, "--chroma-url", source)
    file.write_bytes(file.read_bytes()[:-30])
    done = run("restore", file, "--chroma-url", target)
    assert done.exit_code == 2
    assert f"{file}: cut" in done.stderr
    assert list(on(target).collections()) == []


def test_a_configuration_that_cannot_be_read_does_not_stop_a_rollback(source: str, file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("providers: 7")
    done = run("backup", file, "--collection", "few", "--chroma-url", source, LLM_CONFIG_PATH=str(broken))
    assert done.exit_code == 0


def test_without_an_option_the_configured_server_is_used(source: str, file: Path, tmp_path: Path) -> None:
    config = tmp_path / "llm.yaml"
    config.write_text(
        "providers: [{id: a, provider_type: ollama, models: "
        f"[{{model_id: m, task: chat_small, context_window: 9}}]}}]\nchroma: {{url: '{source}'}}\n"
    )
    assert run("backup", file, "--config", config).exit_code == 0
    assert len(collection_summaries(file)) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_an_interrupted_restore_can_be_run_again(
    source: str, target: str, file: Path, number: signal.Signals, code: int
) -> None:
    run("backup", file, "--chroma-url", source)
    process = started("restore", file, "--chroma-url", target)
    while process.poll() is None and on(target).find("notes") is None:
        pass  # its collections are made before the first record is written
    process.send_signal(number)
    assert process.wait(60) == code
    again = run("restore", file, "--chroma-url", target)
    assert again.exit_code == 0, again.output
    there, wanted = collection_contents(on(target), "notes"), collection_contents(on(source), "notes")
    assert record_contents(there[2]) == record_contents(wanted[2])
    assert there == wanted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_an_interrupted_backup_can_be_run_again(source: str, file: Path, number: signal.Signals, code: int) -> None:
    process = started("backup", file, "--chroma-url", source)
    partial = file.with_name("backup.gz.partial")
    while process.poll() is None and not (partial.exists() and partial.stat().st_size):
        pass
    process.send_signal(number)
    assert process.wait(60) == code
    assert not file.exists()
    assert run("backup", file, "--chroma-url", source).exit_code == 0
    assert [one.end.records for one in collection_summaries(file)] == [5, RECORDS]

"""`sekha-bridge migrate-collections`, run as a user types it, on a real Chroma server."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as Bars
from typer.testing import CliRunner

from sekha_llm_bridge.aws.state_table import MIGRATION_LEASE
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.cli.migrate_collections import BarsOnTerminal, Rate
from sekha_llm_bridge.embeddings.migration.moving import Migrated, Progress
from sekha_llm_bridge.embeddings.migration.plan import MigrationAction
from tests.fakes.chroma import chroma_server, emptied_client_of
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=300&offset=0"
FILE = """
providers:
  - id: p
    provider_type: ollama
    models: [{model_id: mini, task: embedding, dimension: 3, context_window: 10}]
default_models: {embedding: mini}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@pytest.fixture
def client(url: str) -> Any:
    """Chroma's own client, for a server without collections."""
    return emptied_client_of(url)


def fill(client: Any, name: str, records: int = 3, **made: Any) -> None:
    collection = client.create_collection(name, embedding_function=None, **made)
    collection.add(ids=[f"{name}-{one}" for one in range(records)], embeddings=[[1, 2, one] for one in range(records)])


def names(client: Any) -> list[str]:
    return sorted(one.name for one in client.list_collections())


def migrate(url: str | None, *options: str, **environ: str) -> Any:
    chosen = ["--chroma-url", url] if url else []
    return CliRunner(env={"COLUMNS": "150", **environ}).invoke(app, ["migrate-collections", *chosen, *options])


def test_moved_collections_are_printed_during_the_migration_and_in_a_table_at_the_end(url: str, client: Any) -> None:
    fill(client, "conversations", 1200)
    fill(client, "query_results")
    fill(client, "query_results_3")
    answer = migrate(url)
    assumed = "unmarked collections of 768 dimensions are assumed to hold vectors of nomic-embed-text\n"
    assert (answer.exit_code, answer.stderr) == (0, assumed)
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    assert lines[:4] == [
        "query_results → query_results_3: 0 of 3 records",
        "query_results → query_results_3: 3 of 3 records",
        "query_results → query_results_3: merged, 3 copied",
        "conversations → conversations_3: 0 of 1200 records",
    ]
    assert lines[4] == "conversations → conversations_3: renamed"
    assert [line.split() for line in lines[5:]] == [
        ["collection", "now", "in", "how", "records"],
        ["conversations", "conversations_3", "renamed", "1,200"],
        ["query_results", "query_results_3", "merged,", "3", "copied", "3"],
        [
            "query_results_3",
            "query_results_3",
            "not",
            "changed:",
            "its",
            "name",
            "ends",
            "with",
            "its",
            "dimension",
            "already",
        ],
    ]
    assert names(client) == ["conversations_3", "query_results_3"]


def test_a_dry_run_prints_the_plan_and_changes_nothing(url: str, client: Any) -> None:
    fill(client, "conversations")
    answer = migrate(url, "--dry-run")
    assert answer.exit_code == 0
    assert [line.split() for line in answer.stdout.splitlines()] == [
        ["collection", "would", "be", "in", "how", "records"],
        ["conversations", "conversations_3", "rename", "3"],
        ["a", "dry", "run:", "nothing", "was", "written"],
    ]
    assert names(client) == ["conversations"]


def test_with_keep_a_merged_collection_is_not_deleted(url: str, client: Any) -> None:
    fill(client, "conversations")
    fill(client, "conversations_3")
    answer = migrate(url, "--keep")
    assert answer.exit_code == 0
    assert "merged, 3 copied; the old one is kept" in answer.stdout
    assert names(client) == ["conversations", "conversations_3"]


def test_with_json_only_the_report_is_printed(url: str, client: Any) -> None:
    fill(client, "conversations")
    report = json.loads(migrate(url, "--json").stdout)
    assert report["migrated"][0]["target"] == "conversations_3"
    assert report["finished"]
    planned = json.loads(migrate(url, "--json", "--dry-run").stdout)
    assert (planned["planned"], planned["dry_run"]) == ([], True)


def test_a_failed_collection_is_in_the_table_and_sets_the_exit_code(url: str, client: Any) -> None:
    fill(client, "conversations", metadata={"embedding_space": "a"})
    fill(client, "conversations_3", metadata={"embedding_space": "b"})
    answer = migrate(url)
    assert answer.exit_code == 1
    assert "conversations: failed: conversations_3 holds vectors of the space b, not a" in answer.stdout
    assert "failed: " in answer.stdout.splitlines()[-1]
    assert names(client) == ["conversations", "conversations_3"]
    assert migrate(url, "--dry-run").exit_code == 1


def test_a_server_without_collections_is_a_success(url: str, client: Any) -> None:
    answer = migrate(url)
    assert (answer.exit_code, answer.stdout) == (0, "there is no collection\n")


def test_the_configuration_names_the_server_and_the_space_of_old_vectors(url: str, client: Any, tmp_path: Path) -> None:
    file = tmp_path / "llm.yaml"
    file.write_text(f"{FILE}chroma: {{url: '{url}'}}\n")
    fill(client, "conversations")
    assert migrate(None, "--config", str(file)).exit_code == 0
    assert client.get_collection("conversations_3").metadata == {"embedding_space": "mini", "dimension": 3}


def test_a_provider_whose_key_is_not_set_here_still_names_the_space_of_old_vectors(
    url: str, client: Any, tmp_path: Path
) -> None:
    file = tmp_path / "llm.yaml"
    keyed = FILE.replace("provider_type: ollama", "provider_type: openai\n    api_key: ${KEY_OF_THE_SERVER}")
    file.write_text(f"{keyed}chroma: {{url: '{url}'}}\n")
    fill(client, "conversations")
    answer = migrate(None, "--config", str(file))
    assert answer.stderr == "unmarked collections of 3 dimensions are assumed to hold vectors of mini\n"
    assert client.get_collection("conversations_3").metadata == {"embedding_space": "mini", "dimension": 3}


def test_a_server_that_does_not_answer_delays_ctrl_c_by_seconds_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-collections", "--chroma-url", address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)  # the request itself has a minute, four times
            connection.close()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted: no record is lost; run the same command again to finish"


def test_an_invalid_configuration_is_ignored_when_a_url_is_given(url: str, client: Any, tmp_path: Path) -> None:
    fill(client, "conversations")
    assert migrate(url, LLM_CONFIG_PATH=str(tmp_path / "missing.yaml")).exit_code == 0
    assert client.get_collection("conversations_3").metadata is None


def test_the_chroma_url_can_come_from_the_environment(url: str, client: Any) -> None:
    fill(client, "conversations")
    assert migrate(None, CHROMA_URL=url).exit_code == 0
    assert names(client) == ["conversations_3"]


@pytest.mark.parametrize(
    ("options", "stderr"),
    [
        (["--chroma-url", "ftp://somewhere"], "--chroma-url"),
        (["--chroma-url", "http://127.0.0.1:9"], "Chroma did not list collections"),
        (["--config", "/missing.yaml"], "/missing.yaml"),
        (["--config", "FILE"], "no Chroma server"),
    ],
)
def test_without_a_usable_server_the_exit_code_is_2(options: list[str], stderr: str, tmp_path: Path) -> None:
    file = tmp_path / "llm.yaml"
    file.write_text(FILE)
    answer = migrate(None, *(str(file) if one == "FILE" else one for one in options))
    assert answer.exit_code == 2
    assert stderr in answer.stderr
    assert "Traceback" not in answer.output


def test_a_token_is_sent_and_never_printed(fake: FakeProvider) -> None:
    fake.always(COLLECTIONS, Reply(401, {"error": "secret-token"}))
    answer = migrate(fake.url, CHROMA_TOKEN="secret-token")
    assert answer.exit_code == 2
    assert fake.calls(COLLECTIONS)[0].headers["authorization"] == "Bearer secret-token"
    assert "secret-token" not in answer.output


# --- The lease


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDb]:
    monkeypatch.setenv("AWS_REGION", REGION)
    with DynamoDb() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", server.url)
        yield server


def test_with_a_table_the_lease_is_acquired_and_released(url: str, client: Any, dynamodb: DynamoDb) -> None:
    fill(client, "conversations")
    table = dynamodb.new_table()
    assert migrate(url, "--table", table).exit_code == 0
    assert [one.action for one in dynamodb.requests if one.action != "CreateTable"] == ["UpdateItem", "UpdateItem"]
    assert dynamodb.item(table, MIGRATION_LEASE).keys() == {"pk", "sk"}


def test_the_holder_of_a_lease_that_is_taken_is_printed(url: str, client: Any, dynamodb: DynamoDb) -> None:
    fill(client, "conversations")
    table = dynamodb.new_table()
    dynamodb.set_attributes(table, MIGRATION_LEASE, holder={"S": "somebody"}, lease_until={"N": "4102444800000"})
    answer = migrate(url, STATE_TABLE=table)
    assert answer.exit_code == 1
    assert "another migration is running: somebody holds the lease until 00:00:00 UTC" in answer.stdout
    assert names(client) == ["conversations"]


def test_a_table_without_a_region_is_a_usage_error(url: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    answer = migrate(url, "--table", "breakers")
    assert answer.exit_code == 2
    assert "AWS_REGION" in answer.stderr


# --- People


def test_ctrl_c_prints_that_the_command_can_be_run_again(fake: FakeProvider) -> None:
    fake.always(COLLECTIONS, Reply(body=[], delay_s=1))
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-collections", "--chroma-url", fake.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not fake.calls(COLLECTIONS):
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted: no record is lost; run the same command again to finish"


def test_on_a_terminal_each_collection_has_a_bar_with_its_rate() -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with Bars("{task.description}", Rate(), console=console, auto_refresh=False) as bars:
        display = BarsOnTerminal(bars)
        for done in (0, 500, 1000):
            display(Progress("conversations", "conversations_3", MigrationAction.MERGE, done, 1000))
            bars.refresh()
        display(Migrated("conversations", "conversations_3", MigrationAction.MERGE, 1000))
        assert [(task.completed, task.total, task.finished) for task in bars.tasks] == [(1000, 1000, True)]
    assert "conversations → conversations_3" in screen.getvalue()
    assert "records/s" in screen.getvalue()

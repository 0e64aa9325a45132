"""A run of the migration: its lease, its time limit, and its Lambda function."""

import asyncio
import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.bootstrap.live import live_bridge
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_server import ChromaServer
from sekha_llm_bridge.embeddings.migration.lease import LeaseHolder, LeaseUnavailable, NoLease
from sekha_llm_bridge.embeddings.migration.moving import Progress
from sekha_llm_bridge.embeddings.migration.plan import SUFFIXED, MigrationAction, PlannedMigration
from sekha_llm_bridge.embeddings.migration.run import Event, MigrationReport, migrate_all, plan_only
from sekha_llm_bridge.jobs.migrate import MigrationRequest, log_report, migrate
from tests.fakes.chroma import chroma_server, emptied_client_of
from tests.fakes.clock import FakeClock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.settings import embedding_model, make_settings, provider

FUNCTION = Path(__file__).parents[2] / "functions" / "migrate_collections" / "app.py"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@pytest.fixture
def client(url: str) -> Any:
    """Chroma's own client, on a server without collections."""
    return emptied_client_of(url)


@pytest.fixture
def server(url: str, client: Any) -> ChromaServer:
    return ChromaServer(ChromaConfig(url=url))


def fill(client: Any, name: str, records: int = 3) -> None:
    collection = client.create_collection(name, embedding_function=None)
    collection.add(ids=[f"{name}-{one}" for one in range(records)], embeddings=[[1, 2, one] for one in range(records)])


def names(client: Any) -> list[str]:
    return sorted(one.name for one in client.list_collections())


@dataclass
class FakeLease:
    """A lease whose renewal of that number fails."""

    held: LeaseHolder | LeaseUnavailable | None = None
    lost_at: int = 1_000
    said: list[str] = field(default_factory=list)

    async def acquire(self) -> LeaseHolder | None:
        self.said.append("acquire")
        if isinstance(self.held, LeaseUnavailable):
            raise self.held
        return self.held

    async def renew(self) -> bool:
        self.said.append("renew")
        return self.said.count("renew") < self.lost_at

    async def release(self) -> None:
        self.said.append("release")


def test_the_lease_is_renewed_after_each_event_and_released_at_the_end(server: ChromaServer, client: Any) -> None:
    fill(client, "notes", 1200)
    fill(client, "notes_3")
    lease, events = FakeLease(), list[Event]()
    report = asyncio.run(migrate_all(server, None, lease, on_event=events.append))
    assert report.is_success
    done = [one.done for one in events if isinstance(one, Progress)]
    assert done[:6] == [0, 250, 500, 750, 1000, 1200]
    assert set(done[6:]) == {1200}
    assert lease.said == ["acquire", *["renew"] * len(events), "release"]


def test_a_run_that_loses_its_lease_stops_with_a_note_and_the_next_one_continues(
    server: ChromaServer, client: Any
) -> None:
    fill(client, "notes", 1200)
    fill(client, "notes_3")
    lease = FakeLease(lost_at=3)
    report = asyncio.run(migrate_all(server, None, lease))
    assert not report.finished
    assert report.note == "the lease was lost, so it stopped in notes, 250 of 1200 records: run it again"
    assert lease.said[-1] == "release"
    assert names(client) == ["notes", "notes_3"]
    assert asyncio.run(migrate_all(server, None, FakeLease())).migrated[0].copied == 950


@pytest.mark.parametrize(
    ("held", "note"),
    [
        (LeaseUnavailable("no table"), "the lease is not available, so nothing was migrated: no table"),
        (LeaseHolder("who", FakeClock().now()), "another migration is running: who holds the lease until 03:04:05 UTC"),
    ],
)
def test_without_the_lease_nothing_is_migrated(
    server: ChromaServer, client: Any, held: LeaseHolder | LeaseUnavailable, note: str
) -> None:
    fill(client, "notes")
    report = asyncio.run(migrate_all(server, None, FakeLease(held)))
    assert report == MigrationReport(finished=False, note=note)
    assert names(client) == ["notes"]


def test_a_run_stops_when_its_time_is_over_and_the_next_one_continues(server: ChromaServer, client: Any) -> None:
    for name in ("first", "second", "third"):
        fill(client, name)
    left = iter([True, True, True, False])
    report = asyncio.run(migrate_all(server, None, NoLease(), has_time=lambda: next(left)))
    assert report.note == "time was up, so it stopped after second: run it again"
    assert names(client) == ["first", "second_3", "third_3"]
    assert asyncio.run(migrate_all(server, None, NoLease())).is_success
    assert names(client) == ["first_3", "second_3", "third_3"]


def test_a_cancelled_run_waits_for_its_page_and_releases_the_lease(server: ChromaServer, client: Any) -> None:
    fill(client, "notes", 1200)
    fill(client, "notes_3")
    lease = FakeLease()

    async def cancelled() -> None:
        running = asyncio.ensure_future(migrate_all(server, None, lease, on_event=lambda _event: running.cancel()))
        await asyncio.wait([running])
        assert running.cancelled()

    asyncio.run(cancelled())
    assert lease.said[-1] == "release"


def test_a_dry_run_returns_the_plan_and_acquires_no_lease(server: ChromaServer, client: Any) -> None:
    fill(client, "notes")
    report = asyncio.run(plan_only(server, None))
    assert report.planned == [PlannedMigration("notes", "notes_3", MigrationAction.RENAME, 3)]
    assert report.as_json() == {
        "migrated": [],
        "planned": [{"collection": "notes", "target": "notes_3", "how": "rename", "records": 3}],
        "left_alone": [],
        "failed": [],
        "finished": True,
        "note": "a dry run: nothing was written",
        "dry_run": True,
    }
    assert names(client) == ["notes"]


# --- The function


def bridge_on(url: str, clock: FakeClock, table: str = "") -> Any:
    settings = make_settings(
        provider("p", embedding_model("mini", dimension=3)), default_models={"embedding": "mini"}, chroma={"url": url}
    )
    return make_bridge(settings, clock=clock, table=table)


def invoked(
    url: str, clock: FakeClock, *, table: str = "", has_time: Callable[[], bool] = lambda: True, **event: Any
) -> Any:
    """Returns the report as the function does."""
    made = bridge_on(url, clock, table)
    with asyncio.Runner() as runner:
        report = runner.run(migrate(made, MigrationRequest(**event), has_time=has_time))
        runner.run(made.connections.aclose())
    log_report(report)
    return json.loads(json.dumps(report.as_json()))


def test_the_function_migrates_and_returns_the_report(url: str, client: Any, clock: FakeClock, log: StringIO) -> None:
    fill(client, "conversations")
    fill(client, "other_3")
    assert invoked(url, clock) == {
        "migrated": [
            {
                "collection": "conversations",
                "target": "conversations_3",
                "how": "rename",
                "records": 3,
                "copied": 0,
                "kept": False,
            }
        ],
        "left_alone": [{"collection": "other_3", "reason": SUFFIXED}],
        "failed": [],
        "finished": True,
        "note": None,
        "dry_run": False,
    }
    assert client.get_collection("conversations_3").metadata == {"embedding_space": "mini", "dimension": 3}
    line = json.loads(log.getvalue())
    assert (line["level"], line["moved"]) == ("INFO", {"conversations": "conversations_3 (rename, 3 records)"})


def test_an_event_can_request_a_dry_run(url: str, client: Any, clock: FakeClock) -> None:
    fill(client, "conversations")
    assert invoked(url, clock, dry_run=True)["planned"][0]["target"] == "conversations_3"
    assert names(client) == ["conversations"]


def test_an_event_can_request_to_keep_merged_collections(url: str, client: Any, clock: FakeClock) -> None:
    fill(client, "conversations")
    fill(client, "conversations_3")
    assert invoked(url, clock, keep=True)["migrated"][0]["kept"]
    assert names(client) == ["conversations", "conversations_3"]


@pytest.mark.parametrize("event", [{"dry_run": "perhaps"}, {"dry-run": True}, {"dryRun": True}])
def test_an_event_with_an_unknown_field_is_refused(event: Any) -> None:
    with pytest.raises(ValidationError):
        MigrationRequest.model_validate(event)


def test_without_a_chroma_server_the_report_has_a_note(clock: FakeClock) -> None:
    report = invoked("", clock)
    assert (report["finished"], report["note"]) == (
        True,
        "no Chroma server is configured: there is nothing to migrate",
    )


def test_a_server_that_is_down_is_reported(clock: FakeClock, log: StringIO) -> None:
    report = invoked("http://127.0.0.1:9", clock)
    assert not report["finished"]
    assert report["note"].startswith("the collections cannot be listed: Chroma did not")
    assert json.loads(log.getvalue())["level"] == "WARNING"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A table of a local DynamoDB."""
    monkeypatch.setenv("AWS_REGION", REGION)
    with DynamoDb() as dynamodb:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
        yield dynamodb.new_table()


def test_two_functions_do_not_migrate_at_the_same_time(url: str, client: Any, clock: FakeClock, table: str) -> None:
    """The second is invoked while the first is between two events."""
    fill(client, "conversations", 1200)
    fill(client, "conversations_3")
    second: list[Mapping[str, Any]] = []

    def meanwhile() -> bool:
        if not second:
            with ThreadPoolExecutor(1) as pool:
                second.append(pool.submit(invoked, url, clock, table=table).result())
        return True

    first = invoked(url, clock, table=table, has_time=meanwhile)
    assert first["migrated"][0]["copied"] == 1200
    assert second[0]["migrated"] == []
    assert second[0]["note"].startswith("another migration is running: ")
    assert invoked(url, clock, table=table)["finished"]


def test_nothing_is_migrated_if_the_table_cannot_be_reached(
    url: str, client: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, log: StringIO
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    fill(client, "conversations")
    report = invoked(url, clock, table="gone")
    assert not report["finished"]
    assert report["note"] == (
        "the lease is not available, so nothing was migrated: DynamoDB request failed (ConnectError)"
    )
    assert report["note"] in log.getvalue()
    assert names(client) == ["conversations"]


@dataclass
class Context:
    """Lambda's context, with this many milliseconds left."""

    left_ms: int = 900_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@pytest.fixture
def handler(url: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The function's handler, imported as Lambda does."""
    file = tmp_path / "llm_providers.yaml"
    file.write_text(
        f"providers: [{{id: p, provider_type: ollama, models: [{{model_id: m, task: chat_small, context_window: 9}}]}}]\nchroma: {{url: '{url}'}}\n"
    )
    monkeypatch.setenv("LLM_CONFIG_PATH", str(file))
    live_bridge.cache_clear()
    yield runpy.run_path(str(FUNCTION))["handler"]
    live_bridge.cache_clear()


def test_a_scheduled_invocation_migrates(handler: Callable[..., Any], client: Any) -> None:
    fill(client, "conversations")
    report = handler({}, Context())
    assert report["migrated"][0]["target"] == "conversations_3"
    assert handler(None, Context())["left_alone"] == [{"collection": "conversations_3", "reason": SUFFIXED}]


def test_an_invocation_with_little_time_left_stops_after_the_first_event(
    handler: Callable[..., Any], client: Any
) -> None:
    fill(client, "conversations")
    fill(client, "conversations_3")
    report = handler({}, Context(left_ms=44_000))
    assert not report["finished"]
    assert report["note"].startswith("time was up")

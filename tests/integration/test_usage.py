"""Usage as a whole: the local stack with keys, whose requests are counted from their log lines."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from typer.testing import CliRunner

from local_stack.testing import RunningStack, running_stack
from sekha_llm_bridge import LlmBridge, UsageReport
from sekha_llm_bridge.access.usage_records.amounts import pico_usd
from sekha_llm_bridge.cli.app import app
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, embedding_model, provider

pytestmark = pytest.mark.stack
PROMPT = "the secret plan of the whale"
N_CHATS, N_STREAMS = 3, 2
_LIMIT_S = 30.0


@pytest.fixture(scope="module")
def answering() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello.") as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, answering: FakeProvider) -> Iterator[RunningStack]:
    config = tmp_path_factory.mktemp("config") / "providers.yaml"
    models = (chat_model("gpt", price=(0.15, 0.6)), chat_model("backup", price=(0.1, 0.4)), embedding_model("mini"))
    row = provider("paid", *models, base_url=f"{answering.url}/v1")
    # A Chroma server that is not there: none is started, and nothing here stores anything.
    config.write_text(yaml.safe_dump({"providers": [row], "chroma": {"url": "http://127.0.0.1:9"}}))
    with running_stack(config=config, on_demand=True, auth=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _commands_find_the_stack(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(stack.state / "stacks"))


def command(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def new_key(stack: RunningStack, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(stack.state / "stacks"))
    created: dict[str, Any] = json.loads(command("keys", "create", "--json", *options))
    return created


def until_counted(bridge: LlmBridge, requests: int) -> UsageReport:
    """Waits until so many requests are counted."""
    pause, waited_s = threading.Event(), 0.0
    while (used := bridge.usage("model")).total.requests < requests and waited_s < _LIMIT_S:
        pause.wait(0.2)
        waited_s += 0.2
    return used


def chats(stack: RunningStack, key: str, answering: FakeProvider) -> list[Decimal]:
    """Chats, whole and streamed, of which one fails over, and an embedding. Returns the costs in their receipts."""
    costs = []
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key, max_retries=0) as sdk:
        for number in range(N_CHATS):
            if number == 1:
                answering.script("/v1/chat/completions", Reply(500, {}))
            whole: Any = sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": PROMPT}])
            costs.append(whole.bridge["cost"])
        for _ in range(N_STREAMS):
            chunks: Any = list(
                sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": PROMPT}], stream=True)
            )
            costs += [chunk.bridge["cost"] for chunk in chunks if getattr(chunk, "bridge", None)]
        embedded: Any = sdk.embeddings.create(model="mini", input=[PROMPT], extra_body={"store": False})
        costs.append(embedded.bridge["cost"])
    return [Decimal(str(cost)) for cost in costs]


def test_usage_of_two_keys_equals_the_sums_of_their_receipts_over_http_and_in_the_operators_table(
    stack: RunningStack, answering: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [new_key(stack, monkeypatch, "--name", name, "--label", f"team={name}") for name in ("one", "two")]
    costs = [chats(stack, made[0]["key"], answering), chats(stack, made[1]["key"], answering)]
    n_requests = N_CHATS + N_STREAMS + 1
    assert [len(one) for one in costs] == [n_requests, n_requests]
    for key, spent in zip(made, costs, strict=True):
        with LlmBridge(stack.base_url, key["key"]) as bridge:
            used = until_counted(bridge, n_requests)
            assert (used.key_id, used.total.requests) == (key["id"], n_requests)
            assert pico_usd(used.total.cost) == pico_usd(sum(spent, Decimal(0))) > 0
            assert used.total.cost == sum(row.cost for row in used.sums)
            assert {row.name for row in used.sums} == {"paid/gpt", "paid/backup", "paid/mini"}
            assert [row.name for row in bridge.usage("key").sums] == [key["id"]]
    everything = json.loads(command("usage", "--by", "key", "--json"))
    assert {row["key"] for row in everything["data"]} == {key["id"] for key in made}
    total = sum(sum(one, Decimal(0)) for one in costs)
    assert pico_usd(Decimal(str(everything["total"]["cost"]))) == pico_usd(Decimal(total))
    own = json.loads(command("usage", "--by", "key", "--json", "--url", stack.base_url, "--api-key", made[0]["key"]))
    assert [row["key"] for row in own["data"]] == [made[0]["id"]]
    rows = list(csv.DictReader(io.StringIO(command("usage", "--by", "model", "--csv"))))
    assert sum(int(row["requests"]) for row in rows) == 2 * n_requests
    assert "paid/gpt" in command("usage", "--by", "model")
    the_lines_have_the_key_and_its_labels_but_no_prompt_and_no_key_text(stack, made)


def the_lines_have_the_key_and_its_labels_but_no_prompt_and_no_key_text(
    stack: RunningStack, made: list[dict[str, Any]]
) -> None:
    log = stack.log("chat_completions")
    lines = [json.loads(line) for line in log.splitlines() if '"message":"request"' in line]
    assert {(line["key_id"], line["labels"]["team"]) for line in lines} == {
        (made[0]["id"], "one"),
        (made[1]["id"], "two"),
    }
    everything = "".join(path.read_text(errors="replace") for path in (Path(stack.state) / "logs").glob("*.log"))
    assert PROMPT not in everything
    assert not any(key["key"] in everything for key in made)

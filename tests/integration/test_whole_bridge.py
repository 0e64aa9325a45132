"""The whole bridge on this machine, started as a user starts it and driven over HTTP."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from langchain_openai import OpenAIEmbeddings

from local_stack.testing import RunningStack, running_stack
from sekha_llm_bridge.pricing.token_table import TokenTable
from tests.fakes.chroma import chroma_server, client_of
from tests.fakes.provider import FakeProvider, Reply, vector_of
from tests.fakes.settings import chat_model, embedding_model, provider

pytestmark = pytest.mark.stack
CL100K_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
DIMENSION, WIDE = 16, 1_024


@pytest.fixture(scope="module")
def primary() -> Iterator[FakeProvider]:
    with FakeProvider(dimension=DIMENSION, text="Hello from the first.") as fake:
        yield fake


@pytest.fixture(scope="module")
def backup() -> Iterator[FakeProvider]:
    with FakeProvider(dimension=DIMENSION, text="Hello from the second.") as fake:
        yield fake


@pytest.fixture(scope="module")
def wide() -> Iterator[FakeProvider]:
    with FakeProvider(dimension=WIDE) as fake:
        yield fake


@pytest.fixture(scope="module")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    primary: FakeProvider,
    backup: FakeProvider,
    wide: FakeProvider,
    chroma_url: str,
) -> Iterator[RunningStack]:
    """The bridge with fake providers: a paid one first, a local one second, and one of long vectors."""
    paid = provider(
        "paid",
        chat_model("gpt"),
        embedding_model("mini", dimension=DIMENSION),
        base_url=f"{primary.url}/v1",
        api_key="${KEY}",
    )
    local = provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=backup.url, priority=60)
    long = provider(
        "wide", embedding_model("wide", dimension=WIDE), base_url=f"{wide.url}/v1", api_key="${KEY}", priority=90
    )
    config = tmp_path_factory.mktemp("config") / "providers.yaml"
    defaults = {"embedding": "mini", "chat_fast": "gpt"}
    config.write_text(
        yaml.safe_dump(
            {"providers": [paid, local, long], "default_models": defaults, "chroma": {"url": "${CHROMA_URL}"}}
        )
    )
    with running_stack(
        config=config, schedules=True, env={"KEY": "sk-secret-key", "CHROMA_URL": chroma_url}
    ) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> openai.OpenAI:
    """The official client, pointed at the bridge as a user would."""
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", max_retries=0)


def get(stack: RunningStack, path: str, **how: Any) -> httpx.Response:
    return httpx.get(stack.base_url + path, timeout=30, **how)


def test_the_openai_client_chats(client: openai.OpenAI, primary: FakeProvider) -> None:
    reply = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}])
    assert reply.choices[0].message.content == "Hello from the first."
    assert reply.model == "gpt"
    assert primary.calls("/v1/chat/completions")[-1].headers["authorization"] == "Bearer sk-secret-key"


def test_the_openai_client_reads_a_stream_and_its_end(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}], stream=True)
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello from the first."
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_failover_is_not_seen_by_the_client(client: openai.OpenAI, primary: FakeProvider) -> None:
    primary.script("/v1/chat/completions", Reply(500, {}))
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Hello"}]
    )
    assert raw.parse().choices[0].message.content == "Hello from the second."
    assert raw.headers["x-bridge-attempts"] == "2"


def test_the_openai_clients_vectors_are_in_chromas_collection_of_their_dimension(
    client: openai.OpenAI, chroma_url: str
) -> None:
    texts = ["the first text", "the second text"]
    reply = client.embeddings.create(model="mini", input=texts)
    assert [row.embedding for row in reply.data] == [pytest.approx(vector_of(text, DIMENSION)) for text in texts]
    kept = client_of(chroma_url).get_collection(f"conversations_{DIMENSION}").get(include=["documents"])
    assert set(texts) <= set(kept["documents"])


@pytest.fixture
def _tiktokens_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LangChain's tokenizer would fetch its table over the network; it looks here first, and checks what it finds."""
    tokens = enumerate(TokenTable.load("cl100k_base"))
    table = b"".join(base64.b64encode(token) + f" {rank}\n".encode() for rank, token in tokens)
    (tmp_path / hashlib.sha1(CL100K_URL.encode(), usedforsecurity=False).hexdigest()).write_bytes(table)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))


@pytest.mark.usefixtures("_tiktokens_table")
def test_langchains_vectors_are_of_the_texts_that_it_sends_as_tokens(
    stack: RunningStack, primary: FakeProvider
) -> None:
    address: Any = {"base_url": f"{stack.base_url}/v1", "api_key": "unused"}
    langchain = OpenAIEmbeddings(model="mini", tiktoken_model_name="text-embedding-3-small", **address)
    texts = ["Token arrays, as LangChain sends them.", "日本語 too."]
    vectors = langchain.embed_documents(texts)
    assert vectors == [pytest.approx(vector_of(text, DIMENSION), abs=1e-6) for text in texts]
    assert isinstance(primary.calls("/v1/embeddings")[-1].body["input"][0], str)


def test_an_answer_larger_than_lambdas_buffered_limit_arrives(stack: RunningStack) -> None:
    texts = [f"text {i}" for i in range(800)]
    answer = httpx.post(f"{stack.base_url}/v1/embeddings", json={"input": texts, "model": "wide"}, timeout=120)
    assert len(answer.content) > 6_291_556
    rows = answer.json()["data"]
    assert [row["embedding"] for row in rows[:2]] == [pytest.approx(vector_of(text, WIDE)) for text in texts[:2]]
    assert answer.json()["bridge"]["stored"] == 800


def test_stored_texts_are_found(stack: RunningStack, client: openai.OpenAI) -> None:
    client.embeddings.create(
        model="mini",
        input=["a cat", "a stone"],
        extra_body={"collection": "things", "ids": ["cat", "stone"], "metadatas": [{"alive": True}, {"alive": False}]},
    )
    body = {"query": "a cat", "collection": "things", "where": {"alive": True}}
    answer = httpx.post(f"{stack.base_url}/api/v1/search", json=body, timeout=30).json()
    assert [(match["id"], match["metadata"]) for match in answer["matches"]] == [("cat", {"alive": True})]


def test_the_legacy_embed_endpoint_keeps_its_format(stack: RunningStack) -> None:
    answer = httpx.post(f"{stack.base_url}/embed", json={"text": "one"}, timeout=30).json()
    assert answer == {
        "embedding": vector_of("one", DIMENSION),
        "model": "mini",
        "dimension": DIMENSION,
        "tokens_used": 3,
    }


def checked_health(stack: RunningStack) -> Any:
    """Health, once the scheduled check has seen every provider."""
    for _ in range(300):
        body = get(stack, "/api/v1/health").json()
        if all(row["last_checked"] for row in body["providers"].values()):
            return body
        time.sleep(0.1)
    raise AssertionError("the scheduled check has not run within 30 s")


def test_health_has_the_guides_shape_after_the_scheduled_check(stack: RunningStack) -> None:
    body = checked_health(stack)
    assert (body["status"], body["version"]) == ("healthy", "2.0.0")
    for row in body["providers"].values():
        assert row["status"] == "healthy"
        assert row["circuit_breaker"]["state"] == "closed"
        assert isinstance(row["latency_ms"], int)


def test_the_old_health_redirects(stack: RunningStack) -> None:
    answer = get(stack, "/health")
    assert answer.status_code == 307
    assert answer.json()["status"] == "healthy"
    followed = get(stack, "/health", follow_redirects=True)
    assert (followed.status_code, followed.url.path) == (200, "/api/v1/health")


def test_route_explains(stack: RunningStack) -> None:
    answer = httpx.post(f"{stack.base_url}/api/v1/route", json={"task": "chat_small"}, timeout=30).json()
    assert {"provider_id": "paid", "model_id": "gpt"}.items() <= answer.items()
    assert len(answer["candidates"]) == 4


def test_models_are_listed_also_for_the_openai_client(stack: RunningStack, client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:4] == ["gpt", "mini", "llama", "wide"]
    assert {"auto", "chat_fast", "embedding"} <= set(names[4:])
    assert [client.models.retrieve(name).id for name in names] == names
    assert [row["model_id"] for row in get(stack, "/api/v1/models").json()] == ["gpt", "mini", "llama", "wide"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing/here", 404, "not_found"), ("GET", "/v1/chat/completions", 405, "method_not_allowed")],
)
def test_unknown_paths_and_models_have_openais_error_envelope(
    stack: RunningStack, method: str, path: str, status: int, code: str
) -> None:
    answer = httpx.request(method, stack.base_url + path, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["request_id"]


def test_a_request_larger_than_lambdas_limit_is_a_413_and_the_next_one_works(
    stack: RunningStack, client: openai.OpenAI
) -> None:
    huge = {"messages": [{"role": "user", "content": "x" * 6_400_000}]}
    answer = httpx.post(f"{stack.base_url}/v1/chat/completions", json=huge, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"]["request_id"]
    assert client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}]).choices


def test_neither_key_nor_prompt_is_in_any_log(stack: RunningStack, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "a yellow submarine"}])
    logs = "".join(file.read_text(errors="replace") for file in (stack.state / "logs").iterdir())
    assert "/v1/chat/completions" in logs
    assert "submarine" not in logs
    assert "sk-secret-key" not in logs + stack.printed()


def sekha_bridge(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that has no address, and finds the stack by the file that the stack has written."""
    environ = {**os.environ, "SEKHA_LOCAL_STACKS": str(stack.state / "stacks")}
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


def test_commands_without_an_address_use_the_running_stack_and_its_chroma(
    stack: RunningStack, chroma_url: str, tmp_path: Path
) -> None:
    health = sekha_bridge(stack, "health", "--json")
    assert json.loads(health.stdout)["providers"].keys() == {"paid", "local", "wide"}
    assert f"using the local stack at {stack.base_url}" in health.stderr
    backup = sekha_bridge(stack, "backup", str(tmp_path / "backup.gz"), "--json")
    names = {one["name"] for one in json.loads(backup.stdout)["collections"]}
    assert names == {collection.name for collection in client_of(chroma_url).list_collections()}
    for answer in (backup, sekha_bridge(stack, "restore", str(tmp_path / "backup.gz"), "--dry-run")):
        assert (answer.returncode, f"using {chroma_url}, the Chroma server of" in answer.stderr) == (0, True)


def test_a_migration_without_an_address_uses_the_lease_and_the_models_of_the_running_stack(stack: RunningStack) -> None:
    migrated = sekha_bridge(stack, "migrate-collections", "--json")
    assert migrated.returncode == 0, migrated.stderr
    assert json.loads(migrated.stdout)["finished"]
    assert f"unmarked collections of {DIMENSION} dimensions are assumed to hold vectors of mini" in migrated.stderr
    variables = json.loads(next((stack.state / "stacks").glob("*.json")).read_text())["variables"]
    assert variables["STATE_TABLE"]
    assert "sk-secret-key" not in json.dumps(variables)


def test_three_hundred_providers_work(tmp_path: Path, primary: FakeProvider) -> None:
    providers = [provider(f"p{i}", chat_model(f"m{i}"), base_url=f"{primary.url}/v1") for i in range(300)]
    config = tmp_path / "many.yaml"
    config.write_text(yaml.safe_dump({"providers": providers, "chroma": {"url": "http://127.0.0.1:9"}}))
    hello = {"messages": [{"role": "user", "content": "Hello"}]}
    with running_stack(config=config, schedules=True) as running:
        assert httpx.post(f"{running.base_url}/v1/chat/completions", json=hello, timeout=30).status_code == 200
        rows = checked_health(running)["providers"]
        assert len(rows) == 300
        assert {row["status"] for row in rows.values()} == {"healthy"}

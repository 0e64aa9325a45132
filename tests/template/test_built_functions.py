"""Every function, as `sam build` makes it, answers an event of its kind under Lambda's runtime client.

Nothing of the checkout is importable. AWS is moto over HTTP, the provider is a fake in Ollama's format, Chroma is a
real server. The environment is that of the translated template.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from local_stack.invocation import FunctionFault
from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller
from sekha_llm_bridge.access.keys.key_text import new_key
from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.embeddings.deferred_writes.message_encoding import encode_batch
from sekha_llm_bridge.embeddings.records import Batch, VectorRecord
from tests.fakes.chroma import chroma_server, client_of
from tests.fakes.dynamodb import DynamoDb
from tests.fakes.functions import rest_event
from tests.fakes.provider import FakeProvider, Reply, ollama_chat
from tests.template.built import Build
from tests.template.cloudformation import ROOT, Function, Template
from tests.template.deployed import Deployed
from tests.template.function_process import WRAPPER, Answer, RunningFunction

pytestmark = pytest.mark.sam

FUNCTIONS = Template().functions
EVENTS = ROOT / "infra" / "local" / "events"
DIMENSION = 768  # of nomic-embed-text in the bundled configuration
NAP = "A cat naps."
KEY = new_key()
REFERENCE = re.compile(r"<(\w+)>")


class Request(NamedTuple):
    """A request to an HTTP function, and a text that must be in its answer. `model`: what the chat model answers."""

    method: str
    path: str
    body: dict[str, object] | None
    says: str
    model: str = "Hello from the fake."
    status: int = 200


REQUESTS = {
    "ChatCompletionsFunction": Request(
        "POST",
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hello!"}], "stream": True},
        "data: [DONE]",
    ),
    "MessagesFunction": Request(
        "POST",
        "/v1/messages",
        {"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}], "stream": True},
        "event: message_stop",
    ),
    "ResponsesFunction": Request(
        "POST",
        "/v1/responses",
        {"model": "auto", "input": "Hello!", "stream": True},
        "event: response.completed",
    ),
    "OllamaFunction": Request(
        "POST",
        "/api/chat",
        {"model": "auto", "messages": [{"role": "user", "content": "Hello!"}], "stream": True},
        '"done":true',
    ),
    "EmbeddingsFunction": Request("POST", "/v1/embeddings", {"input": [NAP]}, '"embedding":['),
    "EmbedFunction": Request("POST", "/embed", {"text": "Shares fell."}, '"embedding":['),
    "SummarizeFunction": Request("POST", "/summarize", {"messages": ["Hi."], "level": "daily"}, "Hello from the fake."),
    "ExtractFunction": Request(
        "POST",
        "/extract",
        {"text": "Anna explains vector search."},
        "Anna",
        '{"people": ["Anna"], "organizations": [], "technical_terms": [], "concepts": []}',
    ),
    "ScoreFunction": Request(
        "POST", "/score", {"message": "Fire!"}, '"score":9', '{"score": 9, "reasoning": "urgent"}'
    ),
    "SearchFunction": Request("POST", "/api/v1/search", {"query": NAP, "n_results": 1}, f'"document":"{NAP}"'),
    "RouteFunction": Request("POST", "/api/v1/route", {"task": "chat_smart"}, "llama3.1:70b"),
    "ModelsFunction": Request("GET", "/v1/models", None, "llama3.1:8b"),
    "HealthFunction": Request("GET", "/api/v1/health", None, '"version"'),
    "UsageFunction": Request("GET", "/api/v1/usage", None, '"total"'),
    "LandingFunction": Request("GET", "/v1/modelz", None, '"not_found"', status=404),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The servers of all functions. `names`: logical id → the table's name, or the queue's URL."""

    aws: DynamoDb
    provider: FakeProvider
    chroma_url: str
    names: Mapping[str, str]

    def environment(self, properties: Mapping[str, Any]) -> dict[str, str]:
        """Returns the template's variables with the names of the resources here, and the addresses of the servers."""
        variables = properties["Environment"]["Variables"]
        resolved = {name: REFERENCE.sub(lambda found: self._name(found[1]), text) for name, text in variables.items()}
        return {**resolved, "AWS_ENDPOINT_URL": self.aws.url, "OLLAMA_URL": self.provider.url}

    def _name(self, logical_id: str) -> str:
        return self.names.get(logical_id, logical_id)


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with DynamoDb() as aws, FakeProvider(dimension=DIMENSION) as provider:
        names = {table: aws.new_table(table) for table in ("StateTable", "KeysTable", "AnswersTable")}
        queues = aws.new_queue()
        names |= {"VectorQueue": queues.url, "VectorDeadLetters": queues.dead_letters_url}
        record: Any = KeyRecord(KEY.key_id, KEY.digest, "a key", datetime(2026, 1, 1, tzinfo=UTC)).as_attributes()
        aws.client.put_item(TableName=names["KeysTable"], Item=record)
        with chroma_server(tmp_path_factory.mktemp("chroma")) as chroma_url:
            yield Surroundings(aws, provider, chroma_url, names)


@pytest.fixture(scope="module")
def empty_python(lambda_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which nothing is installed."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([lambda_python, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def run(
    arm64_build: Build,
    opt: Callable[[Sequence[str]], Path],
    runtime: Path,
    empty_python: Path,
    deployed: Callable[..., Deployed],
    surroundings: Surroundings,
    tmp_path: Path,
) -> Callable[[str], RunningFunction]:
    """Returns a function of the build. Its own code depends on no processor, so that of the arm64 build runs here."""
    translated = deployed({"ChromaUrl": surroundings.chroma_url}).of_type("AWS::Lambda::Function")
    layers = {one.name: one.layers for one in FUNCTIONS}

    def of(name: str) -> RunningFunction:
        return RunningFunction(
            python=empty_python,
            task=arm64_build.folder / name,
            opt=opt(layers[name]),
            runtime=runtime,
            properties=translated[name],
            environment=surroundings.environment(translated[name]),
            log=tmp_path / f"{name}.log",
        )

    return of


def event_of(request: Request) -> bytes:
    """Returns API Gateway's event, with what the authorizer said."""
    body = None if request.body is None else json.dumps(request.body)
    event = rest_event(request.method, request.path, body, {"content-type": "application/json"})
    event["requestContext"]["authorizer"] = {CONTEXT_FIELD: Caller(KEY.key_id).context_text()}
    return json.dumps(event).encode()


def file_event(name: str) -> bytes:
    return (EVENTS / f"{name}.json").read_bytes()


def only_answer(function: RunningFunction, event: bytes) -> Answer:
    """Returns the answer of a function that writes nothing into its own folders, and logs no error."""
    before = folder_times(function)
    try:
        (answer,) = function.answers(event)
    except FunctionFault as fault:
        pytest.fail(f"{fault}\n{function.log.read_text()}")
    log = function.log.read_text()
    assert "Traceback" not in log
    assert '"level":"ERROR"' not in log
    assert folder_times(function) == before
    return answer


def folder_times(function: RunningFunction) -> dict[str, int]:
    """Returns when each folder of the function was last changed: a new file changes its folder."""
    return {
        folder: os.stat(folder).st_mtime_ns  # noqa: PTH116 — os.walk gives texts
        for root in (function.task, function.opt)
        for folder, _, _ in os.walk(root)
    }


@pytest.mark.parametrize("name", [one.name for one in FUNCTIONS if one.events("Api")])
def test_a_built_function_answers_a_request_of_api_gateway(
    name: str, run: Callable[[str], RunningFunction], surroundings: Surroundings
) -> None:
    assert name in REQUESTS, f"add a request for {name} to REQUESTS"
    request, function = REQUESTS[name], run(name)
    surroundings.provider.reset()
    if not (request.body or {}).get("stream"):
        surroundings.provider.always("/api/chat", Reply(body=ollama_chat(request.model)))
    if name == "SearchFunction":
        only_answer(run("EmbeddingsFunction"), event_of(REQUESTS["EmbeddingsFunction"]))
    answer = only_answer(function, event_of(request))
    if answer.status == 503:  # moto, in this busy process, took longer than the function waits for a table
        answer = only_answer(function, event_of(request))
    assert (answer.status, answer.is_streamed) == (request.status, WRAPPER in function.environment), answer.text
    assert request.says in answer.text


def test_every_other_function_has_a_test_below() -> None:
    others = {one.name for one in FUNCTIONS if not one.events("Api")}
    tested = {"AuthorizerFunction", "HealthCheckFunction", "DrainFunction", "MigrateCollectionsFunction"}
    assert others == tested | {"UsageRecordsFunction"}


def test_the_built_authorizer_allows_the_owner_of_a_key_and_rejects_others(
    run: Callable[[str], RunningFunction],
) -> None:
    event = json.loads(file_event("authorizer"))
    event["multiValueHeaders"]["Authorization"] = [f"Bearer {KEY.text}"]
    answer = only_answer(run("AuthorizerFunction"), json.dumps(event).encode()).json()
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert answer["context"]["keyId"] == KEY.key_id
    with pytest.raises(FunctionFault, match="Unauthorized"):
        run("AuthorizerFunction").answers(file_event("authorizer"))


def test_the_built_health_check_reports_every_provider(run: Callable[[str], RunningFunction]) -> None:
    answer = only_answer(run("HealthCheckFunction"), file_event("health_check")).json()
    assert {name: one["status"] for name, one in answer.items()} == {"ollama_local": "healthy"}


def test_the_built_drain_stores_what_is_in_the_queue(
    run: Callable[[str], RunningFunction], surroundings: Surroundings
) -> None:
    record = VectorRecord("a", "A dog barks.", [0.5] * DIMENSION)
    (message,) = encode_batch(Batch("drained", DIMENSION, "ollama/nomic-embed-text", (record,)), max_bytes=250_000)
    surroundings.aws.sqs.send_message(
        QueueUrl=surroundings.names["VectorQueue"],
        MessageBody=message.body,
        MessageGroupId="drained",
        MessageDeduplicationId="1",
    )
    assert only_answer(run("DrainFunction"), file_event("drain")).json()["stored"] == 1
    stored = client_of(surroundings.chroma_url).get_collection(f"drained_{DIMENSION}").get()
    assert stored["documents"] == ["A dog barks."]


def test_the_built_migration_renames_a_collection_of_v1(
    run: Callable[[str], RunningFunction], surroundings: Surroundings
) -> None:
    chroma = client_of(surroundings.chroma_url)
    chroma.create_collection("old").add(ids=["a"], embeddings=[[0.1] * DIMENSION], documents=["from v1"])
    answer = only_answer(run("MigrateCollectionsFunction"), file_event("migrate_collections")).json()
    assert answer["finished"], answer
    assert chroma.get_collection(f"old_{DIMENSION}").count() == 1


def test_the_built_function_of_usage_counts_a_batch_of_log_lines_once(run: Callable[[str], RunningFunction]) -> None:
    batch = file_event("usage_records")
    first, again = run("UsageRecordsFunction").answers(batch, batch)
    assert (first.json(), again.json()) == ({"is_new": True}, {"is_new": False})


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_nothing_but_its_folders_and_the_standard_library_is_on_a_functions_import_path(
    function: Function, run: Callable[[str], RunningFunction], lambda_python: Path
) -> None:
    built = run(function.name)
    code = "import json, sys; print(json.dumps(sys.path[1:]))"
    done = subprocess.run(
        [built.python, "-c", code], env=built.lambda_variables(), capture_output=True, text=True, check=True
    )
    base = subprocess.run([lambda_python, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
    allowed = (str(built.opt), str(built.runtime), base.stdout.strip())
    outside = [path for path in json.loads(done.stdout) if not path.startswith(allowed)]
    assert [list(Path(path).iterdir()) for path in outside] == [[]]  # the empty folder of packages

"""A bridge that needs API keys, as a whole: the local stack with `--auth`, real clients, and the table of keys."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic
import boto3
import httpx
import ollama
import openai
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from sekha_llm_bridge import AuthenticationFailed, LlmBridge
from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.cli.health.command import run as health_command
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.stack
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


HELLO: Any = [{"role": "user", "content": "Hello"}]


def anthropics_client_asks(address: str, key: str) -> str:
    with anthropic.Anthropic(base_url=address, api_key=key, max_retries=0) as sdk:
        (block,) = sdk.messages.create(model="auto", max_tokens=9, messages=HELLO).content
        return block.text if block.type == "text" else ""


def openais_client_asks_for_a_response(address: str, key: str) -> str:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as sdk:
        return sdk.responses.create(model="auto", input="Hello").output_text


def ollamas_client_asks(address: str, key: str) -> str:
    with ollama.Client(host=address, headers={"authorization": f"Bearer {key}"}) as sdk:
        return sdk.chat(model="auto", messages=HELLO).message.content or ""


CLIENTS: Mapping[Callable[[str, str], str], type[Exception]] = {
    anthropics_client_asks: anthropic.AuthenticationError,
    openais_client_asks_for_a_response: openai.AuthenticationError,
    ollamas_client_asks: ollama.ResponseError,
}


class Keys:
    """The table of keys of a running stack."""

    def __init__(self, stack: RunningStack) -> None:
        (file,) = (stack.state / "stacks").glob("*.json")
        self.variables = json.loads(file.read_text())["variables"]
        self._client = boto3.client(
            "dynamodb",
            endpoint_url=self.variables["AWS_ENDPOINT_URL_DYNAMODB"],
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def add(self, *, revoked: bool = False) -> KeyText:
        key, now = new_key(), datetime.now(UTC)
        record = KeyRecord(key.key_id, key.digest, "a key", now, revoked=now if revoked else None)
        self._client.put_item(TableName=self.variables["KEYS_TABLE"], Item=record.as_attributes())
        return key


@pytest.fixture(scope="module")
def answering() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello.") as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, answering: FakeProvider) -> Iterator[RunningStack]:
    config = tmp_path_factory.mktemp("config") / "providers.yaml"
    row = provider("only", chat_model("gpt"), base_url=f"{answering.url}/v1")
    # A Chroma server that is not there: none is started, and nothing here stores anything.
    config.write_text(yaml.safe_dump({"providers": [row], "chroma": {"url": "http://127.0.0.1:9"}}))
    with running_stack(config=config, on_demand=True, auth=True) as running:
        yield running


@pytest.fixture(scope="module")
def keys(stack: RunningStack) -> Keys:
    return Keys(stack)


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=40, trust_env=False) as made:
        yield made


def bearer(key: KeyText) -> dict[str, str]:
    return {"authorization": f"Bearer {key.text}"}


def test_a_caller_without_a_key_gets_a_401_that_says_where_keys_come_from(
    client: httpx.Client, answering: FakeProvider
) -> None:
    before = len(answering.calls("/v1/chat/completions"))
    answer = client.post("/v1/chat/completions", json=CHAT)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert "sekha-bridge keys create" in error["message"]
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-should-retry"] == "false"
    assert error["request_id"] == answer.headers["x-request-id"]
    assert len(answering.calls("/v1/chat/completions")) == before


def test_openais_client_chats_and_streams_with_a_key(stack: RunningStack, keys: Keys) -> None:
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=keys.add().text) as sdk:
        whole = sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}])
        assert whole.choices[0].message.content == "Hello."
        chunks = sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello."


def sekha_bridge_keys(stack: RunningStack, *arguments: str) -> str:
    """Runs a command that finds the stack by itself. Returns what it prints."""
    environ = {**os.environ, "SEKHA_LOCAL_STACKS": str(stack.state / "stacks")}
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout.strip()


def test_keys_of_the_command_open_the_bridge_until_they_are_rotated_or_revoked(
    stack: RunningStack, client: httpx.Client
) -> None:
    def status(text: str) -> int:
        return client.get("/v1/models", headers={"authorization": f"Bearer {text}"}).status_code

    first = sekha_bridge_keys(stack, "create", "--name", "app", "--model", "only/gpt")
    assert status(first) == 200
    second = sekha_bridge_keys(stack, "rotate", "app", "--keep-old", "1h")
    assert (status(second), status(first)) == (200, 200)
    other = sekha_bridge_keys(stack, "create", "--name", "other")
    assert status(other) == 200
    assert status(sekha_bridge_keys(stack, "rotate", "other")) == 200
    assert status(other) == 401
    unused = sekha_bridge_keys(stack, "create", "--name", "unused")
    sekha_bridge_keys(stack, "revoke", "unused")
    assert status(unused) == 401


def test_openais_client_recognises_a_wrong_key(stack: RunningStack) -> None:
    with (
        openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=new_key().text, max_retries=0) as sdk,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        sdk.models.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("ask", CLIENTS, ids=lambda ask: ask.__name__)
def test_the_clients_of_the_other_apis_are_answered_with_a_key_and_recognise_a_wrong_one(
    stack: RunningStack, keys: Keys, ask: Callable[[str, str], str]
) -> None:
    assert ask(stack.base_url, keys.add().text) == "Hello."
    with pytest.raises(CLIENTS[ask], match="sekha-bridge keys create") as refused:
        ask(stack.base_url, new_key().text)
    assert vars(refused.value)["status_code"] == 401


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_the_headers_of_other_vendors_clients_are_understood(client: httpx.Client, keys: Keys, header: str) -> None:
    assert client.get("/v1/models", headers={header: keys.add().text}).status_code == 200


def test_every_path_but_the_open_ones_needs_a_key(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    is_open = {"/", "/health", "/api/v1/health", "/openapi.json"}
    assert description["paths"].keys() > is_open
    for path, operations in description["paths"].items():
        for method in operations:
            answer = client.request(method, path.replace("{model}", "gpt"))
            assert (answer.status_code == 401) == (path not in is_open), (method, path)


def test_revoked_keys_and_two_different_keys_are_refused(client: httpx.Client, keys: Keys) -> None:
    assert client.get("/v1/models", headers=bearer(keys.add(revoked=True))).status_code == 401
    two = {**bearer(keys.add()), "x-api-key": keys.add().text}
    assert client.get("/v1/models", headers=two).status_code == 401


def test_a_path_with_a_pattern_is_denied(client: httpx.Client, keys: Keys) -> None:
    answer = client.get("/v1/models/*", headers=bearer(keys.add()))
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")


def test_a_forged_context_or_a_header_that_names_a_caller_opens_nothing(client: httpx.Client) -> None:
    forged = {"caller": '{"key_id":"key_1","labels":{},"policy":{}}', "x-amzn-authorizer": "key_1"}
    assert client.get("/v1/models", headers=forged).status_code == 401


def test_the_health_is_told_to_everybody_and_the_providers_to_known_callers(client: httpx.Client, keys: Keys) -> None:
    for path in ("/api/v1/health", "/health", "/"):
        assert client.get(path).json().keys() - {"ollama"} == {"status", "version"}
        assert client.get(path, headers=bearer(keys.add())).json()["providers"].keys() == {"only"}


def test_the_python_client_and_the_health_command_work_with_a_key_and_say_without_one_what_they_need(
    stack: RunningStack, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    key = keys.add().text
    with LlmBridge(stack.base_url, key) as known, LlmBridge(stack.base_url) as unknown:
        assert str(known.chat("Hello")) == "Hello."
        assert known.health().providers.keys() == {"only"}
        assert (unknown.health().status, dict(unknown.health().providers)) == ("healthy", {})
        with pytest.raises(AuthenticationFailed, match="keys create"):
            unknown.chat("Hello")
    assert health_command(stack.base_url, None, interval_s=1, once=True, as_json=False) == 0
    assert "--api-key" in " ".join(capsys.readouterr().out.split())
    assert health_command(stack.base_url, key, interval_s=1, once=True, as_json=False) == 0
    assert "only" in capsys.readouterr().out


def test_no_key_is_in_any_log(stack: RunningStack, client: httpx.Client, keys: Keys) -> None:
    good, bad = keys.add(), new_key()
    for key in (good, bad):
        for path in ("/v1/models", "/", "/api/v1/health"):
            client.get(path, headers=bearer(key))
    logs = "".join(path.read_text() for path in (stack.state / "logs").glob("*.log")) + stack.printed()
    assert "API key rejected" in logs
    assert [key.key_id for key in (good, bad) if key.text in logs] == []


def test_the_output_of_the_stack_says_how_to_make_a_key(stack: RunningStack) -> None:
    printed = stack.printed()
    assert "sekha-bridge keys create" in printed
    assert "-H 'authorization: Bearer <key>'" in printed


def test_a_table_that_does_not_answer_is_a_503_with_the_time_of_a_retry_and_never_an_open_api(
    stack: RunningStack, client: httpx.Client, keys: Keys, answering: FakeProvider
) -> None:
    known, unknown = keys.add(), keys.add()
    assert client.get("/v1/models", headers=bearer(known)).status_code == 200
    server = aws_server_of(stack)
    before = len(answering.calls("/v1/chat/completions"))
    os.kill(server, signal.SIGSTOP)
    try:
        refused = client.post("/v1/chat/completions", json=CHAT, headers=bearer(unknown))
        nobody = client.post("/v1/chat/completions", json=CHAT)
        still_known = client.get("/v1/models", headers=bearer(known))
    finally:
        os.kill(server, signal.SIGCONT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "access_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert nobody.status_code == 401
    assert still_known.status_code == 200
    assert len(answering.calls("/v1/chat/completions")) == before


def aws_server_of(stack: RunningStack) -> int:
    """The id of the stack's process that stands in for DynamoDB."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            is_server = b"local_stack.aws_server" in file.read_bytes()
            parent = (file.parent / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        if is_server and int(parent) == stack.process.pid:
            return int(file.parent.name)
    raise LookupError("the stack has no such process")

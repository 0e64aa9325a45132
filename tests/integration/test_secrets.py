"""Secrets on the whole local stack: throttled while a function starts, rotated under load, and never in a log."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider
from tests.fakes.secret_stores import KeyedProvider, SecretStores
from tests.fakes.settings import chat_model, embedding_model, provider

pytestmark = pytest.mark.stack

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
KEYS = ("hunter2-key-number-one", "hunter2-key-number-two", "hunter2-key-number-three")
BODIES: dict[str, dict[str, object]] = {
    CHAT: {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]},
    EMBEDDINGS: {"model": "e", "input": "Hi"},
}


@pytest.fixture(scope="module")
def stores() -> Iterator[SecretStores]:
    with SecretStores({"/sekha/openai": KEYS[0]}, failing="ThrottlingException") as running:
        yield running


@pytest.fixture(scope="module")
def cloud() -> Iterator[KeyedProvider]:
    with KeyedProvider(KEYS[0]) as running:
        yield running


@pytest.fixture(scope="module")
def stack(
    stores: SecretStores, cloud: FakeProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    file = tmp_path_factory.mktemp("secrets") / "llm.yaml"
    models = [chat_model(), embedding_model("e")]
    file.write_text(
        yaml.safe_dump({"providers": [provider("p", *models, base_url=f"{cloud.url}/v1", api_key="${OPENAI_API_KEY}")]})
    )
    parameters = {"OpenAiKeySecret": "ssm:/sekha/openai", "LogLevel": "DEBUG"}
    with running_stack(config=file, on_demand=True, parameters=parameters, env=stores.environment) as running:
        yield running


def test_a_secret_that_was_throttled_while_functions_started_is_used_without_a_restart(
    stack: RunningStack, stores: SecretStores
) -> None:
    url = stack.base_url
    throttled = [httpx.post(url + path, json=body, timeout=60) for path, body in BODIES.items()]
    assert [answer.status_code for answer in throttled] == [503, 503]
    assert {answer.headers["retry-after"] for answer in throttled} == {"3"}
    assert "${ssm:/sekha/openai} could not be fetched yet" in throttled[0].json()["error"]["message"]
    models = httpx.get(f"{url}/v1/models", timeout=60).json()["data"]
    assert {model["id"] for model in models} >= {"m", "e"}, "what is configured can be listed without secrets"
    stores.failing = None
    time.sleep(3.1)  # what `retry-after` says
    for path, body in BODIES.items():
        answer = httpx.post(url + path, json=body, timeout=60)
        assert answer.status_code == 200, answer.text


def test_a_secret_rotated_under_load_fails_no_request(
    stack: RunningStack, stores: SecretStores, cloud: KeyedProvider
) -> None:
    is_over = threading.Event()

    def keep_asking(path: str, *, is_streamed: bool) -> list[int]:
        statuses = []
        body = {**BODIES[path], "stream": True} if is_streamed else BODIES[path]
        with httpx.Client(base_url=stack.base_url, timeout=60) as client:
            while not is_over.is_set():
                answer = client.post(path, json=body)
                statuses.append(500 if '"error"' in answer.text else answer.status_code)
        return statuses

    with ThreadPoolExecutor(3) as pool:
        asked = [(CHAT, False), (CHAT, True), (EMBEDDINGS, False)]
        askers = [pool.submit(keep_asking, path, is_streamed=streamed) for path, streamed in asked]
        for key in KEYS[1:]:
            time.sleep(0.5)
            stores.values["/sekha/openai"] = key
            cloud.accepted = key
        time.sleep(0.5)
        is_over.set()
        statuses = [status for asker in askers for status in asker.result()]
    assert set(statuses) == {200}
    assert cloud.rejected >= 2, "the old keys were rejected"


def test_no_log_of_any_function_has_a_secret(stack: RunningStack) -> None:
    logs = {path.stem: path.read_text(errors="replace") for path in (stack.state / "logs").glob("*.log")}
    assert {"chat_completions", "embeddings"} <= logs.keys()
    for name, text in (*logs.items(), ("output", stack.printed())):
        assert "hunter2" not in text, name

"""The API keeps what its description promises, and says what a wrong path meant: over HTTP, on the local stack.

`infra/local/fuzz` runs this longer. Not tried is whether a valid request is answered with success: a limit of $0, or a
model that is not for the task, is valid, too.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from local_stack.testing import RunningStack, running_stack
from tests.fakes.chroma import chroma_server
from tests.fakes.schema_answers import SchemaFollowingProvider
from tests.fakes.settings import chat_model, embedding_model, provider

pytestmark = pytest.mark.stack

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"),
)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The bridge with a fake provider in two wire formats, and a real Chroma."""
    with SchemaFollowingProvider() as fake, chroma_server(tmp_path_factory.mktemp("chroma")) as chroma_url:
        abilities: dict[str, Any] = {"supports_vision": True, "supports_function_calling": True, "task": "chat_smart"}
        paid = (chat_model("gpt", **abilities), embedding_model("mini", context_window=100_000))
        config = {
            "providers": [
                provider("paid", *paid, base_url=f"{fake.url}/v1"),
                provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=fake.url),
            ],
            "default_models": {"chat_fast": "llama", "embedding": "mini"},
            "chroma": {"url": "${CHROMA_URL}"},
        }
        path = tmp_path_factory.mktemp("config") / "providers.yaml"
        path.write_text(yaml.safe_dump(config))
        with running_stack(config=path, on_demand=True, env={"CHROMA_URL": chroma_url}) as running:
            yield running


def test_generated_requests_find_no_fault(stack: RunningStack, tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    options = {"--url": stack.base_url, "--seed": SEED, "--max-examples": str(EXAMPLES), "--checks": ",".join(CHECKS)}
    options["--request-timeout"] = "60"  # a function that starts on a busy machine
    flags = [part for pair in options.items() for part in pair]
    phases = ["--phases", "examples,coverage,fuzzing", "--workers", "2", "--continue-on-failure", "--no-color"]
    done = subprocess.run(
        [tool, "run", f"{stack.base_url}/openapi.json", *flags, *phases],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_event_of_a_stream_is_as_described(stack: RunningStack) -> None:
    schemas = httpx.get(f"{stack.base_url}/openapi.json").json()["components"]["schemas"]
    chunk = {"$ref": "#/components/schemas/ChatCompletionChunk", "components": {"schemas": schemas}}
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    text = httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=30).text
    *events, last = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    for event in events:
        Draft202012Validator(chunk).validate(orjson.loads(event))
    assert last == "[DONE]"
    assert len(events) > 2


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/chat/completions", "did you mean /v1/chat/completions?"),
        ("POST", "/v1//chat/completions", "did you mean /v1/chat/completions?"),
        ("GET", "/v1/responses/resp_1", "stores no responses"),
        ("POST", "/v1/messages/batches", "no batches"),
        ("POST", "/v1/v1/messages", "leave /v1 out of the base URL"),
        ("POST", "/v1/completions", "POST /v1/chat/completions"),
        ("GET", "/models", "did you mean /v1/models?"),
        ("GET", "/docs", "GET /openapi.json"),
        ("DELETE", "/v1", "base URL"),
    ],
)
def test_a_wrong_path_says_what_was_meant(stack: RunningStack, method: str, path: str, said: str) -> None:
    answer = httpx.request(method, stack.base_url + path, timeout=30)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "not_found")
    assert said in error["message"]


def test_a_path_of_ollamas_api_that_the_bridge_does_not_have_says_so_as_ollamas_clients_read_it(
    stack: RunningStack,
) -> None:
    answer = httpx.post(f"{stack.base_url}/api/pull", json={"model": "llama3.1:8b"}, timeout=30)
    assert answer.status_code == 404
    assert "the server itself" in answer.json()["error"]


def test_slashes_at_the_beginning_and_at_the_end_change_nothing(stack: RunningStack) -> None:
    for path in ("/v1/chat/completions/", "//v1/chat/completions"):
        assert httpx.post(stack.base_url + path, json=HELLO, timeout=30).status_code == 200
    models = httpx.get(f"{stack.base_url}/v1/models").json()
    assert httpx.get(f"{stack.base_url}/v1/models/").json() == models


def test_the_first_page_is_html_for_a_browser_and_json_for_a_program(stack: RunningStack) -> None:
    page = httpx.get(f"{stack.base_url}/", headers={"accept": BROWSER})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"{stack.base_url}/v1" in page.text
    program: Any = httpx.get(f"{stack.base_url}/").json()
    assert program["base_url"] == f"{stack.base_url}/v1"


def test_the_command_on_the_page_works_as_it_is_written(stack: RunningStack) -> None:
    command = httpx.get(f"{stack.base_url}/").json()["example"]
    done = subprocess.run(["/bin/sh", "-c", f"{command} --silent"], capture_output=True, check=False, timeout=60)
    assert orjson.loads(done.stdout)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/favicon.ico"])
def test_head_is_answered_without_a_body(stack: RunningStack, path: str) -> None:
    answer = httpx.head(stack.base_url + path, headers={"accept": BROWSER})
    assert (answer.is_success, answer.content) == (True, b"")


def test_the_icon_is_an_empty_answer(stack: RunningStack) -> None:
    answer = httpx.get(f"{stack.base_url}/favicon.ico")
    assert (answer.status_code, answer.content) == (204, b"")

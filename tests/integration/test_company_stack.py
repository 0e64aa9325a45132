"""The local stack as a company may run it: a domain with a base path, secrets in Parameter Store, and Lambda's own switch
AWS_LAMBDA_LOG_LEVEL=DEBUG. Real functions under both runtimes answer below the base path, and write neither a secret nor a
prompt to any log.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import openai
import pytest
import yaml
from moto.server import ThreadedMotoServer

from local_stack.testing import RunningStack, running_stack
from tests.fakes.chroma import chroma_server
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, embedding_model, provider

pytestmark = pytest.mark.stack

KEY, CHROMA_TOKEN, ACCESS_KEY = "sk-secret-of-the-provider", "secret-of-chroma", "secret-access-key"
CALLERS_KEY = "sk-of-a-caller"
PROMPT, TEXT, ANSWER = "the prompt of a caller", "the text of a caller", "The answer of a model."
MUST_NOT_BE_LOGGED = (KEY, CHROMA_TOKEN, ACCESS_KEY, CALLERS_KEY, PROMPT, TEXT, ANSWER)
DIMENSION = 8
PARAMETERS = {
    "DomainName": "llm.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1",
    "BasePath": "llm",
}


@pytest.fixture(scope="module")
def secrets_url() -> Iterator[str]:
    """A Parameter Store with the secrets."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    known = {"aws_access_key_id": "testing", "aws_secret_access_key": ACCESS_KEY}
    ssm = boto3.client("ssm", "us-east-1", endpoint_url=url, **known)  # type: ignore[call-overload]  # keywords of a mapping
    for name, value in (("/sekha/key", KEY), ("/sekha/chroma", CHROMA_TOKEN)):
        ssm.put_parameter(Name=name, Value=value, Type="SecureString")
    yield url
    server.stop()


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(dimension=DIMENSION, text=ANSWER) as started:
        yield started


@pytest.fixture(scope="module")
def stack(fake: FakeProvider, secrets_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    listed = provider(
        "p",
        chat_model("gpt"),
        embedding_model("mini", dimension=DIMENSION),
        base_url=f"{fake.url}/v1",
        api_key="${ssm:/sekha/key}",
    )
    with chroma_server(tmp_path_factory.mktemp("chroma")) as chroma_url:
        config = tmp_path_factory.mktemp("config") / "providers.yaml"
        chroma = {"url": chroma_url, "auth_token": "${ssm:/sekha/chroma}"}
        config.write_text(yaml.safe_dump({"providers": [listed], "chroma": chroma}))
        environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_ENDPOINT_URL_SSM": secrets_url,
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        }
        with running_stack(config=config, on_demand=True, parameters=PARAMETERS, env=environment) as running:
            yield running


def test_the_address_that_the_stack_prints_has_the_base_path(stack: RunningStack) -> None:
    assert stack.base_url.endswith("/llm")
    assert f"curl {stack.base_url}/v1/chat/completions" in stack.printed()


def test_an_openai_client_chats_and_streams_below_the_base_path(stack: RunningStack) -> None:
    client = openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", max_retries=0)
    with client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Hello"}], stream=True
    ) as stream:
        texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(texts) == ANSWER
    assert "gpt" in [model.id for model in client.models.list().data]


def test_the_old_address_of_health_leads_to_the_new_one_below_the_base_path(stack: RunningStack) -> None:
    with httpx.Client(timeout=30, follow_redirects=True) as client:
        answer = client.get(f"{stack.base_url}/health")
    assert str(answer.url) == f"{stack.base_url}/api/v1/health"
    assert answer.json()["status"] in {"healthy", "unknown", "degraded"}


def test_the_links_of_the_first_page_work(stack: RunningStack) -> None:
    with httpx.Client(timeout=30) as client:
        page = client.get(stack.base_url).json()
        assert client.get(page["openapi_url"]).json()["openapi"]
        assert client.get(page["health_url"]).status_code == 200
        assert page["base_url"] == f"{stack.base_url}/v1"
        wrong = client.post(f"{stack.base_url}/chat/completions", content=json.dumps({}))
    assert "did you mean /v1/chat/completions?" in wrong.json()["error"]["message"]


def test_a_path_beside_the_base_path_is_not_the_apis(stack: RunningStack) -> None:
    beside = stack.base_url.removesuffix("/llm")
    assert httpx.get(f"{beside}/v1/models", timeout=30).status_code == 403


def test_the_command_line_finds_the_stack_by_the_folder_of_stacks(stack: RunningStack) -> None:
    (found,) = Path(stack.state / "stacks").glob("*.json")
    assert json.loads(found.read_text())["url"] == stack.base_url


def post(stack: RunningStack, path: str, body: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {CALLERS_KEY}"}
    return httpx.post(stack.base_url + path, json=body, headers=headers, timeout=60)


def chat(stack: RunningStack, **fields: Any) -> httpx.Response:
    return post(stack, "/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], **fields})


def test_no_log_has_a_secret_or_a_prompt(stack: RunningStack, fake: FakeProvider) -> None:
    assert chat(stack).status_code == 200  # under the bridge's own loop
    assert chat(stack, stream=True).status_code == 200
    fake.script("/v1/chat/completions", Reply(500, {"error": {"message": f"{PROMPT} by {KEY}"}}))
    assert chat(stack).status_code == 502
    fake.script("/v1/chat/completions", Reply(400, {"error": {"message": f"{PROMPT} by {KEY}"}}))
    assert chat(stack).status_code == 400
    assert post(stack, "/v1/embeddings", {"model": "mini", "input": TEXT}).status_code == 200
    assert post(stack, "/api/v1/embed", {"text": TEXT}).status_code == 200  # under Lambda's own runtime
    assert fake.calls("/v1/chat/completions")[0].headers["authorization"] == f"Bearer {KEY}"
    logs = {file.stem: file.read_text() for file in (stack.state / "logs").glob("*.log")}
    assert {"chat_completions", "embeddings", "embed"} <= logs.keys()
    found = [(name, secret) for name, text in logs.items() for secret in MUST_NOT_BE_LOGGED if secret in text]
    assert not found
    assert '"message":"request"' in logs["chat_completions"]
    assert not [secret for secret in MUST_NOT_BE_LOGGED if secret in stack.printed()]

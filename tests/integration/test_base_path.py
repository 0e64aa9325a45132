"""A domain with a base path, on the whole local stack: both runtimes, keys, a stream, the links of the first page."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.stack

PARAMETERS = {
    "DomainName": "llm.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1",
    "BasePath": "llm",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with FakeProvider(text="Hello.") as fake:
        config = tmp_path_factory.mktemp("config") / "providers.yaml"
        config.write_text(yaml.safe_dump({"providers": [provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1")]}))
        with running_stack(config=config, on_demand=True, parameters=PARAMETERS) as running:
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
    assert "".join(texts) == "Hello."
    assert client.models.list().data[0].id == "gpt"


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

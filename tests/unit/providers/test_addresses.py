"""Tests which URLs are requested from a provider."""

import asyncio
from typing import Any

import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import EmbeddingCall, make_provider
from sekha_llm_bridge.providers.addresses import Addresses, addresses_of, masked_addresses_of
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.openai_format import chat_call
from tests.fakes.provider import FakeProvider, Reply, chat_completion, embeddings
from tests.fakes.settings import chat_model, provider

AZURE = "https://r.openai.azure.com/openai"


def config(base_url: str, kind: str = "openai", **fields: Any) -> ProviderConfig:
    return ProviderConfig.model_validate(
        provider("p", chat_model("m"), provider_type=kind, base_url=base_url, api_key="key", **fields)
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (config("http://h/v1"), ("http://h/v1/chat/completions", "http://h/v1/embeddings", "http://h/v1/models")),
        (
            config("http://h/x/embeddings"),
            ("http://h/x/chat/completions", "http://h/x/embeddings", "http://h/x/models"),
        ),
        (
            config("http://h/api", "ollama"),
            ("http://h/api/chat", "http://h/api/embed", "http://h/api/tags", "", "http://h/api/show"),
        ),
        (
            config("http://h/x/v1", "anthropic", query={"a": "1"}),
            ("http://h/x/v1/messages?a=1", "", "http://h/x/v1/models?a=1", "http://h/x/v1/messages/count_tokens?a=1"),
        ),
        (
            config(f"{AZURE}/deployments/d", "azure_openai", query={"api-version": "2024-10-21"}),
            tuple(
                f"{AZURE}/{path}?api-version=2024-10-21"
                for path in ("deployments/d/chat/completions", "deployments/d/embeddings", "models")
            ),
        ),
        (
            config("https://dbc.example.com/serving-endpoints", paths={"models": "/api/2.0/serving-endpoints"}),
            (
                "https://dbc.example.com/serving-endpoints/chat/completions",
                "https://dbc.example.com/serving-endpoints/embeddings",
                "https://dbc.example.com/api/2.0/serving-endpoints",
            ),
        ),
        (
            config("http://u:p@h", paths={"chat": "/c", "embeddings": "/e", "models": "/m"}, query={"a b": "1&2"}),
            ("http://u:p@h/c?a%20b=1%262", "http://u:p@h/e?a%20b=1%262", "http://u:p@h/m?a%20b=1%262"),
        ),
    ],
)
def test_the_addresses_come_from_base_url_paths_and_query(given: ProviderConfig, expected: tuple[str, ...]) -> None:
    assert addresses_of(given) == Addresses(*expected)


def test_addresses_for_people_have_no_password_and_only_the_version_of_the_query() -> None:
    given = config("http://u:hunter2@h/v1", query={"api-version": "1", "key": "hunter3"})
    shown = masked_addresses_of(given)
    assert shown.chat == "http://***@h/v1/chat/completions?api-version=1&key=***"
    assert "hunter" not in f"{shown}{given!r}"


async def use(given: ProviderConfig) -> None:
    http = JsonHttp(SystemClock())
    adapter = make_provider(given, http, SystemClock())
    await adapter.chat(chat_call("m", {"messages": [{"role": "user", "content": "hi"}]}, None, 100), timeout_s=5)
    await adapter.embed(EmbeddingCall("m", ["text"]), timeout_s=5)
    await adapter.probe(timeout_s=5)
    await http.aclose()


def test_an_azure_deployment_is_requested_with_its_api_version(fake: FakeProvider) -> None:
    paths = ["deployments/d/chat/completions", "deployments/d/embeddings", "models"]
    chat, embed, models = (f"/openai/{path}?api-version=2024-10-21" for path in paths)
    fake.always(chat, Reply(body=chat_completion("hi")))
    fake.always(embed, Reply(body=embeddings(["text"], 8)))
    fake.always(models, Reply(body={"data": []}))
    full = f"{fake.url}/openai/deployments/d/chat/completions"
    asyncio.run(use(config(full, "azure_openai", query={"api-version": "2024-10-21"})))
    assert [one.path for one in fake.received] == [chat, embed, models]
    assert {one.headers["api-key"] for one in fake.received} == {"key"}


@pytest.mark.parametrize("end", ["", "/v1", "/v1/chat/completions", "/v1/embeddings/", "/v1/models"])
def test_every_form_of_the_base_url_of_an_openai_server_works(fake: FakeProvider, end: str) -> None:
    asyncio.run(use(config(f"{fake.url}{end}")))
    assert [one.path for one in fake.received] == ["/v1/chat/completions", "/v1/embeddings", "/v1/models"]


@pytest.mark.parametrize("end", ["", "/", "/api", "/api/chat", "/api/generate/", "/api/tags", "/v1", "/v1/models"])
def test_every_form_of_the_base_url_of_an_ollama_works(fake: FakeProvider, end: str) -> None:
    asyncio.run(use(config(f"{fake.url}{end}", "ollama")))
    assert [one.path for one in fake.received] == ["/api/chat", "/api/embed", "/api/tags"]


def test_databricks_is_requested_without_a_version(fake: FakeProvider) -> None:
    fake.always("/serving-endpoints/chat/completions", Reply(body=chat_completion("hi")))
    fake.always("/serving-endpoints/embeddings", Reply(body=embeddings(["text"], 8)))
    fake.always("/api/2.0/serving-endpoints", Reply(body={"endpoints": []}))
    asyncio.run(use(config(f"{fake.url}/serving-endpoints", paths={"models": "/api/2.0/serving-endpoints"})))
    assert len(fake.received) == 3

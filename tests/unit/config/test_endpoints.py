"""Tests the default URLs of providers and the normalisation of URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.endpoints import ENDPOINTS, check_server_url, complete_base_url, mask_user_info
from sekha_llm_bridge.config.models import ProviderType

P = ProviderType


@pytest.mark.parametrize(
    ("provider_type", "url"),
    [
        (P.OLLAMA, "http://localhost:11434"),
        (P.OPENAI, "https://api.openai.com/v1"),
        (P.ANTHROPIC, "https://api.anthropic.com"),
        (P.OPENROUTER, "https://openrouter.ai/api/v1"),
        (P.GEMINI, "https://generativelanguage.googleapis.com/v1beta/openai"),
        (P.LITELLM, "http://localhost:4000/v1"),
        (P.BEDROCK, None),
    ],
)
def test_each_provider_type_has_its_default_url(provider_type: ProviderType, url: str | None) -> None:
    assert complete_base_url(provider_type, None) == url


def test_every_provider_type_has_an_endpoint() -> None:
    assert set(ENDPOINTS) == set(ProviderType)


def test_azure_requires_a_base_url() -> None:
    with pytest.raises(ValueError, match="azure_openai has no default"):
        complete_base_url(P.AZURE_OPENAI, None)


@pytest.mark.parametrize(
    ("provider_type", "raw_value", "full"),
    [
        (P.OPENAI, "https://api.openai.com", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com/", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com/v1", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com/v1/", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com/v1/v1", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com//v1//", "https://api.openai.com/v1"),
        (P.OPENAI, "http://gpu:8000", "http://gpu:8000/v1"),
        (P.OPENAI, "http://gpu:8000/llm", "http://gpu:8000/llm/v1"),
        (P.OPENAI, "http://[::1]:8000", "http://[::1]:8000/v1"),
        (P.OPENAI, "http://user:pw@gpu:8000", "http://user:pw@gpu:8000/v1"),
        (P.OPENAI, "https://ark.example.com/api/v3", "https://ark.example.com/api/v3"),
        (P.OPENAI, "https://x.example.com/v1beta/openai", "https://x.example.com/v1beta/openai"),
        (P.OPENAI, "https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1"),
        (
            P.OPENAI,
            "https://gateway.example.com/v1/account/name/openai",
            "https://gateway.example.com/v1/account/name/openai",
        ),
        (P.OPENROUTER, "https://openrouter.ai", "https://openrouter.ai/api/v1"),
        (P.OPENROUTER, "https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        (P.OPENROUTER, "https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        (
            P.GEMINI,
            "https://generativelanguage.googleapis.com",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        (
            P.GEMINI,
            "https://generativelanguage.googleapis.com/v1beta",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        (P.LITELLM, "http://localhost:4000", "http://localhost:4000/v1"),
        (P.AZURE_OPENAI, "https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
        (P.AZURE_OPENAI, "https://r.openai.azure.com/openai/", "https://r.openai.azure.com/openai/v1"),
        (P.AZURE_OPENAI, "https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1"),
        (P.OLLAMA, "http://localhost:11434/", "http://localhost:11434"),
        (P.OLLAMA, "http://localhost:11434/v1", "http://localhost:11434"),
        (P.OLLAMA, "http://localhost:11434/v1/", "http://localhost:11434"),
        (P.OLLAMA, "https://host/ollama/v1", "https://host/ollama"),
        (P.ANTHROPIC, "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        (
            P.BEDROCK,
            "https://vpce-1.bedrock-runtime.eu-west-1.amazonaws.com/",
            "https://vpce-1.bedrock-runtime.eu-west-1.amazonaws.com",
        ),
    ],
)
def test_a_missing_or_extra_version_in_a_base_url_is_corrected(
    provider_type: ProviderType, raw_value: str, full: str
) -> None:
    assert complete_base_url(provider_type, raw_value) == full


@pytest.mark.parametrize(
    ("provider_type", "raw_value", "full"),
    [
        (P.OPENAI, "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        (P.OPENAI, "https://api.openai.com/chat/completions", "https://api.openai.com/v1"),
        (P.OPENAI, "http://gpu:8000/v1/chat/completions/", "http://gpu:8000/v1"),
        (P.OPENAI, "http://gpu:8000/v1/embeddings", "http://gpu:8000/v1"),
        (P.OPENAI, "http://gpu:8000/v1/models", "http://gpu:8000/v1"),
        (P.OPENAI, "http://gpu:8000/v1/completions", "http://gpu:8000/v1"),
        (P.OPENAI, "http://gpu:8000/models/", "http://gpu:8000/v1"),
        (P.OPENAI, "https://x.example.com/api/v3/chat/completions", "https://x.example.com/api/v3"),
        (P.OPENROUTER, "https://openrouter.ai/api/v1/chat/completions", "https://openrouter.ai/api/v1"),
        (P.AZURE_OPENAI, "https://r.openai.azure.com/openai/v1/embeddings", "https://r.openai.azure.com/openai/v1"),
        (
            P.GEMINI,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        *(
            (P.OLLAMA, f"http://localhost:11434/{path}", "http://localhost:11434")
            for path in (
                *("api", "api/", "api/chat", "api/chat/", "api/generate", "api/tags", "api/embed", "api/embeddings"),
                *("v1/chat/completions", "v1/models", "v1/embeddings/", "/api//chat"),
            )
        ),
        (P.OLLAMA, "https://host/ollama/api/chat", "https://host/ollama"),
        (P.OLLAMA, "https://host/api/ollama", "https://host/api/ollama"),
        (P.ANTHROPIC, "https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        (P.ANTHROPIC, "https://openrouter.ai/api", "https://openrouter.ai/api"),
    ],
)
def test_the_url_of_an_operation_is_reduced_to_the_base_url(
    provider_type: ProviderType, raw_value: str, full: str
) -> None:
    assert complete_base_url(provider_type, raw_value) == full


@pytest.mark.parametrize(
    "base_url",
    [
        "https://dbc-1.cloud.databricks.com/serving-endpoints",
        "https://models.github.ai/inference",
        "https://models.github.ai/orgs/acme/inference",
        "https://r.services.ai.azure.com/models",
        "https://models.inference.ai.azure.com",
        "https://r.openai.azure.com/openai/deployments/gpt-4o",
        "https://gateway.example.com/eu/openai/deployments/gpt-4o",
    ],
)
def test_a_known_server_without_a_version_in_its_paths_gets_none(base_url: str) -> None:
    for end in ("", "/", "/chat/completions", "/embeddings"):
        assert complete_base_url(P.OPENAI, f"{base_url}{end}") == base_url
        assert complete_base_url(P.AZURE_OPENAI, f"{base_url}{end}") == base_url


@pytest.mark.parametrize(
    "base_url", ["http://gpu:8000/chat/completions", "https://host/inference/chat/completions", "http://h/x/embeddings"]
)
def test_the_complete_url_of_an_operation_without_a_version_is_not_changed(base_url: str) -> None:
    assert complete_base_url(P.OPENAI, base_url) == base_url
    assert complete_base_url(P.OPENAI, f"{base_url}/") == base_url


def test_a_query_in_a_base_url_is_rejected_with_the_name_of_its_own_key() -> None:
    with pytest.raises(ValueError, match="parameters such as api-version belong in `query`"):
        complete_base_url(P.AZURE_OPENAI, "https://r.openai.azure.com/openai/deployments/x?api-version=2024-10-21")


SEGMENTS = [
    *(
        "v1",
        "api",
        "openai",
        "v1beta",
        "v3",
        "x",
        "chat/completions",
        "embeddings",
        "models",
        "chat",
        "serving-endpoints",
    ),
    *("completions", "inference", "deployments", "tags", "messages"),
]


@given(
    st.sampled_from(ProviderType),
    st.lists(st.sampled_from(SEGMENTS), max_size=4).map("/".join),
)
def test_normalising_a_base_url_is_idempotent(provider_type: ProviderType, path: str) -> None:
    once = complete_base_url(provider_type, f"https://host/{path}")
    assert complete_base_url(provider_type, once) == once


@pytest.mark.parametrize(
    "raw_value",
    [
        *("localhost:11434", "//host", "ftp://host", "http://", "http:///v1", "a b"),
        *(
            "http://host:port",
            "http://host:99999",
            "http://[::1",
            "http://host/a b",
            "http://host?key=x",
            "http://host#x",
        ),
    ],
)
def test_an_invalid_base_url_is_rejected(raw_value: str) -> None:
    with pytest.raises(ValueError, match="must ") as caught:
        complete_base_url(P.OPENAI, raw_value)
    assert "port" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "https://chroma.example.com:443",
        "https://chroma.example.com",
        "http://[::1]:8000",
        "http://h:1/",
    ],
)
def test_a_server_url_with_scheme_host_and_port_is_accepted(url: str) -> None:
    assert check_server_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://localhost", "localhost:8000", "http://h:1/path", "http://u:p@h:1", "http://h:1?x"]
)
def test_an_invalid_server_url_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match="must "):
        check_server_url(url)


def test_the_password_of_a_url_is_masked() -> None:
    assert mask_user_info("https://user:p@ss@host/v1") == "https://***@host/v1"

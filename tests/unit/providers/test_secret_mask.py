"""Secrets in a provider's text."""

import base64
import json
from urllib.parse import quote

import pytest

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers.secret_mask import MASK, SecretMask, secrets_of
from tests.fakes.settings import chat_model, provider

KEY = 'quite/secret+"key"=1'


@pytest.mark.parametrize(
    "quoted",
    [
        KEY,
        KEY.upper(),
        quote(KEY, safe=""),
        json.dumps(KEY)[1:-1],
        *(base64.b64encode(b"x" * before + KEY.encode() + b"yz").decode() for before in range(3)),
    ],
)
def test_a_configured_secret_is_masked_in_every_encoding(quoted: str) -> None:
    masked = SecretMask([KEY])(f"the key {quoted} is wrong")
    assert quoted not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdEFGH1234",
        "sk-abc***wxyz",
        "gsk_abcdefghij",
        "AIzaSyA-1234567890",
        "AKIAIOSFODNN7EXAMPLE",
        "hf_abcdefghijk",
        "Bearer abcdefgh",
        "0123456789abcdef0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.e30.abc",
    ],
)
def test_what_looks_like_a_key_is_masked(key: str) -> None:
    assert key not in SecretMask([])(f"Incorrect API key provided: {key}.")


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 8192 tokens.",
        "registry.ollama.ai/library/gemma:2b does not support tools",
        "gpt-4o-mini-2024-07-18 has no 'temperature'; request 7c9e6679-7425-40de-944b-e07fc1f90ae7",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert SecretMask(["a-configured-key"])(text) == text


def test_the_secrets_of_a_provider_are_its_key_its_headers_and_the_password_in_its_url() -> None:
    fields = provider("p", chat_model("m"), base_url="http://user:p%40ss@host/v1", api_key="k1", headers={"x-a": "k2"})
    assert set(secrets_of(ProviderConfig.model_validate(fields))) == {"k1", "k2", "p@ss"}


def test_placeholders_of_servers_without_keys_are_not_masked() -> None:
    assert SecretMask(["x", ""])("a box of x") == "a box of x"


def test_a_secret_that_was_cut_at_the_end_is_masked() -> None:
    assert SecretMask(["Zq8-plain-secret-key-of-mine"])("the key is Zq8-plain-secret-key-of-mi") == f"the key is {MASK}"

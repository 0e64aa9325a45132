"""What is made of a plain URL without httpx is what httpx makes of it."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge import connections
from sekha_llm_bridge.connections import _PLAIN_URL, _parse_target, _parse_unusual_target


@given(st.from_regex(_PLAIN_URL, fullmatch=True))
def test_a_plain_url_is_parsed_as_httpx_does(url: str) -> None:
    assert _parse_target(url) == _parse_unusual_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/chat/completions",
        "https://dynamodb.eu-west-1.amazonaws.com/",
        "http://127.0.0.1:11434",
        "https://bedrock-runtime.eu-west-1.amazonaws.com:443/model/anthropic.claude-v1%3A0/invoke",
        "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
    ],
)
def test_the_urls_of_providers_and_of_aws_are_plain(url: str) -> None:
    assert _PLAIN_URL.fullmatch(url)
    assert _parse_target(url) == _parse_unusual_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:password@host/",
        "http://[::1]:8000/",
        "https://bücher.example/",
        "http://999.0.0.1/",
        "http://host/a/../b",
        "http://host/a b",
        "http://host:99999/",
        "http://host/#part",
        "ftp://host/",
        "HTTP://HOST/",
    ],
)
def test_any_other_url_is_left_to_httpx(url: str) -> None:
    assert _PLAIN_URL.fullmatch(url) is None


def test_the_user_agent_is_that_of_the_installed_httpx() -> None:
    assert connections._DEFAULT_HEADERS["user-agent"] == f"python-httpx/{httpx.__version__}"

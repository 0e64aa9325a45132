"""Warnings about credentials that are sent without encryption."""

from typing import Any

import pytest

from sekha_llm_bridge.config.plain_http import plain_http_warnings
from tests.fakes.settings import chat_model, make_settings, provider

REASON = "is sent without encryption, because base_url is http: use https"


def warnings(base_url: str, **fields: Any) -> list[str]:
    return list(plain_http_warnings(make_settings(provider("p", chat_model(), base_url=base_url, **fields))))


@pytest.mark.parametrize(
    ("base_url", "fields", "named"),
    [
        ("http://gpu:8000", {"api_key": "k"}, "api_key"),
        ("http://10.0.0.5:8000", {"api_key": "k", "headers": {"X-Token": "t"}}, "api_key"),
        ("http://[fd00::1]:8000", {"headers": {"X-Tenant": "a", "Authorization": "b"}}, "headers.Authorization"),
        ("http://gpu:8000", {"query": {"api-version": "1", "code_key": "k"}}, "query.code_key"),
        ("http://user:password@gpu:8000", {}, "the password in base_url"),
    ],
)
def test_a_credential_over_http_to_another_machine_gives_one_warning_that_names_its_key(
    base_url: str, fields: dict[str, Any], named: str
) -> None:
    assert warnings(base_url, **fields) == [f"p: {named} {REASON}"]


@pytest.mark.parametrize(
    "base_url",
    ["https://gpu:8000", "http://localhost:8000", "http://127.0.0.2:1", "http://[::1]:8000", "http://api.localhost"],
)
def test_https_and_this_machine_give_no_warning(base_url: str) -> None:
    assert warnings(base_url, api_key="k") == []


def test_a_server_without_a_credential_gives_no_warning() -> None:
    assert warnings("http://gpu:8000", headers={"X-Tenant": "a"}, query={"api-version": "1"}) == []


@pytest.mark.parametrize(
    ("url", "count"), [("http://db:8000", 1), ("https://db:8000", 0), ("http://localhost:8000", 0)]
)
def test_chromas_token_over_http_to_another_machine_gives_a_warning(url: str, count: int) -> None:
    section = {"url": url, "auth_token": "t"}
    local = provider("p", chat_model(), provider_type="ollama")
    found = list(plain_http_warnings(make_settings(local, chroma=section)))
    assert found == ["chroma: auth_token is sent without encryption, because url is http: use https"] * count
    assert list(plain_http_warnings(make_settings(local, chroma={"url": url}))) == []

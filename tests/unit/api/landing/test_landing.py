"""`GET /`: a page for a browser, and the same in JSON for a program."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from sekha_llm_bridge.api.landing.accept import prefers_html
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.loaded import DisabledProvider
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.jobs.health_check import check_all
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HOST = "abc123.execute-api.eu-west-1.amazonaws.com"
HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture
def bridge(fake: FakeProvider) -> Bridge:
    return make_bridge(
        make_settings(
            provider("local", chat_model("llama", price=(0, 0)), provider_type="ollama", base_url=fake.url),
            provider(
                "cloud",
                chat_model("org/gpt", supports_vision=True, price=(0.15, 0.6)),
                embedding_model("e"),
                base_url="http://user:password@127.0.0.1:9/v1",
                api_key="sk-secret-key",
            ),
            aliases={"gpt-4o": ["org/gpt"]},
        )
    )


def ask(bridge: Bridge | Exception, *, accept: str = "", **headers: str) -> FunctionResponse:
    sent = {"Host": HOST, "X-Forwarded-Proto": "https", "Accept": accept, **headers}
    return Function("landing", bridge)("GET", "/", headers=sent)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(bridge: Bridge, **headers: str) -> Page:
    return Page(ask(bridge, accept=BROWSER, **headers).text)


def test_a_program_gets_everything_as_json(bridge: Bridge) -> None:
    asyncio.run(check_all(bridge))
    answer = ask(bridge)
    body = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (body["status"], body["version"]) == ("degraded", "2.0.0")
    assert body["base_url"] == f"https://{HOST}/prod/v1"
    assert {name: (row["provider_type"], row["status"]) for name, row in body["providers"].items()} == {
        "local": ("ollama", "healthy"),
        "cloud": ("openai", "unhealthy"),
    }
    assert [(row["model_id"], row["provider_id"], row["tasks"]) for row in body["models"]] == [
        ("llama", "local", ["chat_small"]),
        ("org/gpt", "cloud", ["chat_small", "vision"]),
        ("e", "cloud", ["embedding"]),
    ]
    assert {"auto", "gpt-4o"} <= set(body["names"])
    assert {"method": "POST", "path": "/v1/chat/completions"}.items() <= body["paths"][0].items()


def test_a_browser_gets_a_page_with_the_same(bridge: Bridge) -> None:
    asyncio.run(check_all(bridge))
    answer = ask(bridge, accept=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = Page(answer.text).text
    for shown in (
        "degraded",
        "local",
        "cloud",
        "connect_failed",
        "org/gpt",
        "$0.15",
        "$0.60",
        "8,192 tokens",
        "gpt-4o",
    ):
        assert shown in text
    assert "/api/v1/search" in text


def test_it_is_answered_also_where_every_provider_is_down_and_calls_none(bridge: Bridge, fake: FakeProvider) -> None:
    assert ask(bridge, accept=BROWSER).status == ask(bridge).status == 200
    assert fake.calls("/api/tags") == []


def test_neither_keys_nor_addresses_of_providers_are_shown(bridge: Bridge, fake: FakeProvider) -> None:
    for shown in (ask(bridge).text, ask(bridge, accept=BROWSER).text):
        assert not [secret for secret in ("sk-secret", "password", "127.0.0.1", fake.url) if secret in shown]


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/*, application/json;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("application/json, text/plain, */*", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=zero", False),
        ("TEXT/HTML", True),
        (",;,", False),
    ],
)
def test_html_is_sent_only_where_it_is_preferred_to_json(accept: str, *, is_html: bool) -> None:
    assert prefers_html(accept) is is_html


@pytest.mark.parametrize("accept", ["", BROWSER])
def test_neither_answer_may_be_stored_or_be_taken_for_something_else(bridge: Bridge, accept: str) -> None:
    headers = ask(bridge, accept=accept).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["vary"] == "accept"


def test_the_page_may_load_and_run_nothing_but_its_own_style(bridge: Bridge) -> None:
    answer = ask(bridge, accept=BROWSER)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    [style] = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_has_no_script_and_no_resource_from_elsewhere(bridge: Bridge) -> None:
    shown = page(bridge)
    assert not {"script", "iframe", "img", "form", "object"} & {tag for tag, _ in shown.tags}
    assert [link["href"][:5] for link in shown.all("link") if link["href"]] == ["data:"]
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on") or name == "style"]
    assert "url(" not in ask(bridge, accept=BROWSER).text


def test_the_page_has_a_language_landmarks_headings_and_table_headers(bridge: Bridge) -> None:
    shown = page(bridge)
    assert shown.all("html") == [{"lang": "en"}]
    assert [len(shown.all(tag)) for tag in ("title", "h1", "header", "main", "footer")] == [1, 1, 1, 1, 1]
    ids = {attributes.get("id") for _, attributes in shown.tags}
    assert {table["aria-labelledby"] for table in [*shown.all("table"), *shown.all("section")]} <= ids
    assert {head["scope"] for head in shown.all("th")} == {"col", "row"}


def test_everything_from_the_configuration_is_escaped(fake: FakeProvider) -> None:
    settings = make_settings(
        provider("p", chat_model(HOSTILE), embedding_model(f"{HOSTILE}2"), base_url=f"{fake.url}/v1"),
        aliases={f"alias {HOSTILE}": [HOSTILE]},
    )
    shown = ask(make_bridge(settings), accept=BROWSER).text
    assert "<script" not in shown
    assert Page(shown).text.count(HOSTILE) >= 3


def test_a_disabled_provider_is_shown_with_its_reason(bridge: Bridge) -> None:
    config = ProviderConfig.model_validate(provider("off", chat_model("off-model"), base_url="http://127.0.0.1:9/v1"))
    reason = f"OPENAI_API_KEY is not set {HOSTILE}"
    object.__setattr__(bridge.settings, "disabled", (DisabledProvider(config, reason),))
    assert ask(bridge).json()["disabled_providers"] == {"off": reason}
    assert reason in page(bridge).text


def test_an_unusable_configuration_is_an_error_without_details() -> None:
    answer = ask(ConfigError(["providers[0].api_key: sk-secret-key is wrong"]), accept=BROWSER)
    assert (answer.status, answer.json()["error"]["code"]) == (500, "config_invalid")
    assert "sk-secret" not in answer.text


def test_head_is_answered(bridge: Bridge) -> None:
    assert Function("landing", bridge)("HEAD", "/").status == 200


def test_another_method_is_a_405(bridge: Bridge) -> None:
    answer = Function("landing", bridge)("POST", "/", {})
    assert (answer.status, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({}, f"https://{HOST}/prod"),
        ({"Host": "127.0.0.1:9000", "X-Forwarded-Proto": "http"}, "http://127.0.0.1:9000/prod"),
        ({"X-Forwarded-Host": "llm.example.com, 10.0.0.1"}, "https://llm.example.com/prod"),
        ({"X-Forwarded-Host": "llm.example.com", "X-Forwarded-Prefix": "/ai/"}, "https://llm.example.com/ai/prod"),
        ({"X-Forwarded-Host": HOSTILE}, f"https://{HOST}/prod"),
        ({"X-Forwarded-Host": "a';rm -rf ~;'"}, f"https://{HOST}/prod"),
        ({"Host": "$(reboot)", "X-Forwarded-Proto": "javascript"}, "https://localhost/prod"),
        ({"Host": "a b", "X-Forwarded-Host": "[::1"}, "https://localhost/prod"),
        ({"X-Forwarded-Prefix": "/$(reboot)"}, f"https://{HOST}"),
    ],
)
def test_the_address_is_the_one_that_was_asked_if_it_is_harmless(
    bridge: Bridge, headers: dict[str, str], url: str
) -> None:
    answer = ask(bridge, **headers)
    assert answer.json()["base_url"] == f"{url}/v1"
    assert answer.json()["example"].startswith(f"curl {url}/v1/chat/completions \\\n")


def test_without_a_chat_model_the_example_is_an_embedding(fake: FakeProvider) -> None:
    bridge = make_bridge(make_settings(provider("p", embedding_model(), base_url=f"{fake.url}/v1")))
    assert "/v1/embeddings" in ask(bridge).json()["example"]


def test_without_an_enabled_provider_the_page_says_so() -> None:
    settings = replace(make_settings(provider("p", chat_model(), base_url="http://127.0.0.1:9/v1")), providers=())
    assert "No provider is in use." in page(make_bridge(settings)).text


def test_prices_and_ages_are_readable(bridge: Bridge) -> None:
    rows: dict[str, Any] = {row["model_id"]: row for row in ask(bridge).json()["models"]}
    assert rows["e"]["input_usd_per_mtok"] == 0.1
    assert "not yet" in page(bridge).text
    asyncio.run(check_all(bridge))
    assert re.search(r"\d s ago", page(bridge).text)


def test_a_browsers_question_for_an_icon_is_answered_cheaply(bridge: Bridge) -> None:
    answer = Function("landing", bridge)("GET", "/favicon.ico")
    assert (answer.status, answer.text) == (204, "")
    assert "max-age" in answer.headers["cache-control"]


def test_the_description_is_the_committed_file(bridge: Bridge) -> None:
    answer = Function("landing", bridge)("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["openapi"] == "3.1.0"


@pytest.mark.parametrize("accept", ["", "*/*", "application/json, text/plain, */*"])
def test_a_client_of_ollama_finds_the_words_that_it_looks_for(bridge: Bridge, accept: str) -> None:
    """Some know only by these words whether an Ollama is there, such as Jeffser/Alpaca (issue 160)."""
    assert "Ollama is running" in ask(bridge, accept=accept).text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", f"/api/{name}") for name in ("pull", "push", "create", "copy", "me", "blobs/sha256:29fd")),
        *(("DELETE", "/api/delete"), ("GET", "/api/status"), ("POST", "/api/experimental/web_search")),
    ],
)
def test_a_path_that_only_ollama_has_gets_the_error_that_its_clients_read(
    bridge: Bridge, method: str, path: str
) -> None:
    """Its client for JavaScript shows an error that is an object as `[object Object]`."""
    answer = Function("landing", bridge)(method, path, {"model": "llama"})
    body = answer.json()
    assert (answer.status, body.keys()) == (404, {"error", "bridge"})
    assert body["error"].startswith(f"there is no {path} here: ")
    assert answer.headers["x-request-id"] == body["bridge"]["request_id"] == "gateway-request"

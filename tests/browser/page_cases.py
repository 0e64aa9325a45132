"""The page of `GET /` in a real Chromium, served by the local stack: `infra/local/browser`.

It needs `node`, `npm` and a Chromium (`apt-get install chromium`, or its path in CHROMIUM). The pictures are in
`.local/browser`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.testing import running_stack
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".local" / "browser"
VIEWS = [(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]


def configuration(url: str) -> dict[str, Any]:
    """Providers in all states: one answers, one is down with an open breaker, one is disabled."""
    names = ("supports_vision", "task", "context_window")
    large = dict(zip(names, (True, "chat_smart", 128_000), strict=True))
    return {
        "providers": [
            provider(
                "ollama_local",
                chat_model("llama3.1:8b", price=(0, 0)),
                embedding_model("nomic-embed-text", dimension=768),
                provider_type="ollama",
                base_url=url,
                priority=1,
            ),
            provider(
                "openai_cloud",
                chat_model("gpt-4o-mini", price=(0.15, 0.6), supports_vision=True),
                chat_model("gpt-4o", price=(2.5, 10), **large),
                base_url=f"{url}/v1",
                priority=20,
            ),
            provider(
                "anthropic",
                chat_model("claude-sonnet-4-5", price=(3, 15), **large),
                provider_type="anthropic",
                base_url="http://127.0.0.1:9",
                api_key="sk-secret-key",
            ),
            provider(
                "openrouter",
                chat_model("qwen/qwen3-235b-a22b-thinking-2507", price=None, task="chat_large"),
                provider_type="openrouter",
                api_key="${OPENROUTER_API_KEY}",
            ),
        ],
        "default_models": {"chat_fast": "llama3.1:8b", "chat_smart": "gpt-4o", "embedding": "nomic-embed-text"},
        "aliases": {"gpt-4": ["gpt-4o", "claude-sonnet-4-5"]},
        "routing": {"circuit_breaker": {"failure_threshold": 1, "timeout_secs": 3600}},
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the browser found, in all views."""
    install()
    with FakeProvider() as fake:
        config = tmp_path_factory.mktemp("config") / "providers.yaml"
        config.write_text(yaml.safe_dump(configuration(fake.url)))
        with running_stack(config=config, schedules=True) as stack:
            command = ["node", str(HERE / "page.mjs"), f"{stack.base_url}/", str(FOLDER)]
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def install() -> None:
    """Installs the packages of `package-lock.json`, where they are not those that are there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_text()
    stamp = FOLDER / "made-from"
    if stamp.is_file() and stamp.read_text() == lock:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, FOLDER)
    environment = {**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"}
    npm = shutil.which("npm") or pytest.fail("npm is not installed")
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=FOLDER, env=environment, check=True)
    stamp.write_text(lock)


def test_no_view_has_an_error_in_the_console(found: Any) -> None:
    assert [look["problems"] for look in found["looks"]] == [[]] * len(VIEWS)


def test_nothing_but_the_page_is_loaded(found: Any) -> None:
    for look in found["looks"]:
        page, *others = look["requests"]
        assert page.startswith("http://127.0.0.1")
        assert [other for other in others if not other.startswith("data:")] == []


def test_no_view_is_wider_than_the_window(found: Any) -> None:
    assert [look["overflow"] for look in found["looks"]] == [0] * len(VIEWS)


def test_axe_finds_nothing(found: Any) -> None:
    assert [(audit["violations"], audit["incomplete"]) for audit in found["audits"]] == [([], [])] * len(VIEWS)


def test_tables_stay_tables_for_assistive_technology_on_narrow_screens(found: Any) -> None:
    counts = {(audit["roles"], audit["rows"]) for audit in found["audits"]}
    assert len(counts) == 1
    assert counts.pop()[0] == 3


def test_the_page_is_whole_without_javascript(found: Any) -> None:
    assert found["withoutJavaScript"]["heading"] == "Sekha LLM Bridge"
    for shown in ("claude-sonnet-4-5", "/v1/chat/completions", "Disabled"):
        assert shown in found["withoutJavaScript"]["text"]


def test_there_is_a_picture_of_every_view(found: Any) -> None:
    del found
    assert all((FOLDER / f"page-{width}-{scheme}.png").stat().st_size > 10_000 for width, scheme in VIEWS)

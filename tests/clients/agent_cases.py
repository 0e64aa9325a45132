"""Coding agents edit a file through the bridge: each asks its API, and a scripted provider of each format answers."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from local_stack.testing import running_stack
from tests.clients.coding_agents import AGENTS, Agent, Settings, run_agent
from tests.fakes.coding_assistant import AFTER, BEFORE, DONE, FILE, CodingAssistant
from tests.fakes.provider import FakeProvider
from tests.fakes.servers import free_port
from tests.fakes.settings import chat_model, provider

WINDOW = 40_000  # the prompt of Claude Code has some 20,000 tokens
MODELS = {"openai-model": "/v1/chat/completions", "anthropic-model": "/v1/messages", "ollama-model": "/api/chat"}
ENOUGH = "1"
TOO_LITTLE = "0.000000001"


@pytest.fixture(scope="module")
def upstream() -> Iterator[CodingAssistant]:
    with CodingAssistant() as fake:
        yield fake


@pytest.fixture(scope="module")
def address(upstream: CodingAssistant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bridge with a provider of each format, and with `at-home`, which is not running."""
    urls: Mapping[str, str] = {"openai": f"{upstream.url}/v1", "anthropic": upstream.url, "ollama": upstream.url}
    providers = [
        provider(
            kind,
            chat_model(f"{kind}-model", context_window=WINDOW),
            provider_type=kind,
            base_url=url,
            api_key="unused",
            priority=n,
        )
        for n, (kind, url) in enumerate(urls.items(), start=2)
    ]
    absent = f"http://127.0.0.1:{free_port()}"
    home = provider(
        "at-home", chat_model("home-model", context_window=WINDOW), provider_type="ollama", base_url=absent, priority=1
    )
    aliases = {"claude-*": ["home-model", "openai-model"], "home": ["home-model", "anthropic-model"]}
    # So many answers break off that the breaker would open, and an agent would meet that instead of the cut.
    routing = {"circuit_breaker": {"failure_threshold": 1000}}
    config = tmp_path_factory.mktemp("config") / "providers.yaml"
    config.write_text(yaml.safe_dump({"providers": [home, *providers], "aliases": aliases, "routing": routing}))
    with running_stack(config=config, on_demand=True) as stack:
        yield stack.base_url


@pytest.fixture
def settings(address: str, tmp_path: Path) -> Settings:
    (tmp_path / "home").mkdir()
    return Settings(address, "", ENOUGH, tmp_path / "home")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    path = folder / FILE
    path.write_text(BEFORE)
    return path


def ask(agent: Agent, settings: Settings, file: Path) -> str:
    return run_agent(agent, settings, f"Mend the function add in {file}", file.parent)


def paths_of(upstream: FakeProvider) -> set[str]:
    return {request.path for request in upstream.received}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_edits_a_file(
    agent: str, model: str, settings: Settings, file: Path, upstream: CodingAssistant
) -> None:
    upstream.reset()
    written = ask(AGENTS[agent], dataclasses.replace(settings, model=model), file)
    assert file.read_text() == AFTER, written
    assert DONE in written
    assert paths_of(upstream) == {MODELS[model]}


def test_claude_code_with_its_own_models_name_is_answered_by_the_models_of_an_alias(
    settings: Settings, file: Path, upstream: CodingAssistant
) -> None:
    """The first of them is not running, which Claude Code does not notice."""
    upstream.reset()
    written = ask(AGENTS["Claude Code"], settings, file)
    assert file.read_text() == AFTER, written
    assert paths_of(upstream) == {MODELS["openai-model"]}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_is_told_that_a_request_costs_more_than_its_limit(
    agent: str, settings: Settings, file: Path, upstream: CodingAssistant
) -> None:
    upstream.reset()
    limited = dataclasses.replace(settings, model="openai-model", max_cost=TOO_LITTLE)
    written = ask(AGENTS[agent], limited, file)
    assert "cost" in written
    assert (file.read_text(), upstream.received) == (BEFORE, [])


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_does_not_take_an_answer_that_breaks_off_for_a_whole_one(
    agent: str, settings: Settings, file: Path, upstream: CodingAssistant
) -> None:
    upstream.is_broken = True
    try:
        written = ask(AGENTS[agent], dataclasses.replace(settings, model="openai-model"), file)
    finally:
        upstream.is_broken = False
    assert "the answer was interrupted" in written
    assert file.read_text() == BEFORE

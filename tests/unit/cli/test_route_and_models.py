"""`sekha-bridge route` and `models`, run as a user types them, against a server on loopback."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.cli.bridge_options import DEFAULT_URL
from sekha_llm_bridge.client.addresses import DEFAULT_BASE_URL
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.servers import free_port

ROUTE, MODELS, NAMES = "/api/v1/route", "/api/v1/models", "/v1/models"
LONG_REASON = "it would cost more than the limit " * 6


def row(model: str, *, excluded: str | None = None, **more: object) -> dict[str, object]:
    known = {"provider_id": "paid", "provider_type": "openai", "priority": 1, "circuit_breaker": "closed"}
    return {**known, "model_id": model, "estimated_cost": 0.0125, "cost_bound": None, "excluded": excluded, **more}


PLAN = {
    "provider_id": "paid",
    "model_id": "gpt",
    "provider_type": "openai",
    "estimated_cost": 0.0125,
    "price_known": True,
    "reason": "first by priority",
    "notes": ["a note"],
    "candidates": [row("gpt"), row("dear", excluded=LONG_REASON), row("gpt-2\x1b[31m")],
}
MODEL = {
    "model_id": "gpt",
    "provider_id": "paid",
    "tasks": ["chat_small", "vision"],
    "context_window": 128000,
    "dimension": None,
    "supports_vision": True,
    "supports_audio": False,
    "supports_function_calling": True,
    "input_usd_per_mtok": 2.5,
    "output_usd_per_mtok": 10.0,
}
FREE = {**MODEL, "model_id": "local", "input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0}
VECTORS = {**MODEL, "model_id": "mini", "dimension": 768, "supports_vision": False, "input_usd_per_mtok": None}


@pytest.fixture(autouse=True)
def _no_bridge_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEKHA_BRIDGE_URL", "SEKHA_BRIDGE_API_KEY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bridge(fake: FakeProvider) -> FakeProvider:
    """A server that answers as a bridge does."""
    fake.always(ROUTE, Reply(body=PLAN))
    fake.always(MODELS, Reply(body=[MODEL, FREE, VECTORS]))
    own = {"id": "auto", "owned_by": "sekha-llm-bridge"}
    fake.always(NAMES, Reply(body={"object": "list", "data": [{"id": "gpt", "owned_by": "paid"}, own]}))
    return fake


def run(bridge: FakeProvider, *arguments: str, **environ: str) -> Any:
    command, *rest = arguments
    return CliRunner(env=environ).invoke(app, [command, "--url", bridge.url, *rest])


def lines_with(word: str, text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if word in line]


def test_route_shows_the_first_model_and_every_other_with_its_place_or_exclusion(bridge: FakeProvider) -> None:
    answer = run(bridge, "route", "chat_smart")
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout.startswith("gpt at paid, estimated $0.0125: first by priority\nnote: a note\n\n")
    (first,) = [line for line in answer.stdout.splitlines() if line.startswith("1 ")]
    assert first.split() == ["1", "gpt", "paid", "1", "0.0125", "-", "closed"]
    assert lines_with("gpt-2?[31m", answer.stdout)[0].startswith("2 ")


def test_a_pipe_gets_whole_lines_without_colours(bridge: FakeProvider) -> None:
    (line,) = lines_with("dear", run(bridge, "route", "chat_smart").stdout)
    assert line.startswith("- ")
    assert LONG_REASON.strip() in line
    assert "\x1b" not in run(bridge, "models").stdout


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ((), {"messages": [{"role": "user", "content": "Hello"}]}),
        (("chat_smart",), {"task": "chat_smart"}),
        (("embedding", "--message", "Hi"), {"task": "embedding", "input": "Hi"}),
        (("--message", "Hi", "--vision"), {"messages": [{"role": "user", "content": "Hi"}], "require_vision": True}),
        (
            ("vision", "--model", "m", "--preferred-model", "p", "--max-cost", "0.10", "--max-tokens", "5"),
            {"task": "vision", "model": "m", "preferred_model": "p", "max_cost": "0.10", "max_tokens": 5},
        ),
    ],
)
def test_route_sends_what_is_to_be_planned(
    bridge: FakeProvider, arguments: tuple[str, ...], sent: dict[str, object]
) -> None:
    assert run(bridge, "route", *arguments).exit_code == 0
    assert bridge.received[0].body == sent


def test_route_as_json_is_the_bridges_answer(bridge: FakeProvider) -> None:
    answer = run(bridge, "route", "--json")
    assert (json.loads(answer.stdout), answer.stdout.count("\n"), answer.stderr) == (PLAN, 1, "")


def test_an_unknown_price_is_said(bridge: FakeProvider) -> None:
    bridge.always(ROUTE, Reply(body={**PLAN, "estimated_cost": 0.0, "price_known": False}))
    assert "gpt at paid, cost not known: " in run(bridge, "route").stdout


def test_where_no_model_would_answer_the_reasons_are_shown_and_the_exit_code_is_1(bridge: FakeProvider) -> None:
    error = {"message": "too dear", "code": "cost_limit_exceeded", "candidates": [row("dear", excluded="too dear")]}
    bridge.always(ROUTE, Reply(402, {"error": error}))
    answer = run(bridge, "route", "chat_smart")
    assert (answer.exit_code, answer.stderr) == (1, "too dear\n")
    assert lines_with("dear", answer.stdout)
    as_json = run(bridge, "route", "chat_smart", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["candidates"] == error["candidates"]


def test_models_shows_every_model_and_the_names_that_stand_for_models(bridge: FakeProvider) -> None:
    answer = run(bridge, "models")
    assert (answer.exit_code, answer.stderr) == (0, "")
    (gpt,) = lines_with("gpt", answer.stdout)
    for cell in ("gpt", "paid", "chat_small, vision", "128,000", "vision, tools", "2.5 / 10"):
        assert cell in gpt
    assert "free" in lines_with("local", answer.stdout)[0]
    assert "768 dimensions" in lines_with("mini", answer.stdout)[0]
    assert answer.stdout.endswith("names that stand for models: auto\n")


def test_models_as_json_is_the_bridges_list(bridge: FakeProvider) -> None:
    answer = run(bridge, "models", "--json")
    assert (json.loads(answer.stdout), answer.stdout.count("\n")) == ([MODEL, FREE, VECTORS], 1)


@pytest.mark.parametrize("command", ["route", "models"])
def test_a_bridge_that_is_not_there_gives_3_and_its_address(command: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    answer = CliRunner().invoke(app, [command, "--url", url])
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert f"{url} cannot be reached" in answer.stderr


@pytest.mark.parametrize("command", ["route", "models"])
def test_the_help_lists_the_exit_codes(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"])
    assert "3 the bridge cannot be reached" in answer.stdout


def test_the_client_and_the_commands_have_the_same_default_address() -> None:
    assert DEFAULT_BASE_URL == DEFAULT_URL

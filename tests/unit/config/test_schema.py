"""Tests that the JSON Schema matches the models and accepts and rejects the right files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from sekha_llm_bridge.config import bundled_path
from sekha_llm_bridge.config.schema import config_schema, schema_text

DATA = Path(__file__).parent / "data"
BUNDLED = bundled_path() or Path()
SHIPPED = [BUNDLED, *sorted((BUNDLED.parent / "examples").glob("*.yaml"))]
MODEL = {"model_id": "m", "task": "chat_small", "context_window": 10}


def error_paths(content: Any) -> list[str]:
    return [error.json_path for error in Draft202012Validator(config_schema()).iter_errors(content)]


def provider(**fields: Any) -> dict[str, Any]:
    return {"providers": [{"id": "a", "provider_type": "openai", "models": [MODEL], **fields}]}


def model(**fields: Any) -> dict[str, Any]:
    return provider(models=[{**MODEL, **fields}])


def test_the_committed_schema_matches_the_models() -> None:
    committed = BUNDLED.with_name("llm_providers.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(), "run: sekha-bridge schema > config/llm_providers.schema.json"


def test_the_module_prints_the_schema() -> None:
    command = [sys.executable, "-m", "sekha_llm_bridge.config.schema"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == schema_text()


def test_the_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_satisfies_the_schema_that_it_names(path: Path) -> None:
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    named = first_line.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == BUNDLED.with_name("llm_providers.schema.json").resolve()
    assert error_paths(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", ["guide_v2", "guide_fallback"])
def test_the_guides_files_satisfy_the_schema(name: str) -> None:
    assert error_paths(yaml.safe_load((DATA / f"{name}.yaml").read_text())) == []


@pytest.mark.parametrize(
    "content",
    [
        provider(priority="${PRIO:-3}", timeout_secs="${SECS}", headers={"X": "${Y}"}, api_key="${KEY}"),
        provider(base_url="${URL}", provider_type="${TYPE}", id="${ID}"),
        provider(base_url=None, headers=None, api_key=None),
        model(context_window="${WINDOW}", supports_vision="${VISION:-false}", supports_function_calling=None),
        model(pricing={"input_usd_per_mtok": 0.15, "output_usd_per_mtok": "${PRICE}"}),
        provider(models=[{"model_id": "m", "tasks": ["chat_small", "${TASK}"], "context_window": 1}]),
        {**provider(), "version": 2.0, "routing": None, "chroma": None, "default_models": {"chat_vision": None}},
        {**provider(), "routing": {"max_cost_per_request": None, "circuit_breaker": {"timeout_secs": 0.5}}},
    ],
)
def test_the_schema_accepts(content: Any) -> None:
    assert error_paths(content) == []


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({**provider(), "provider": []}, "$"),
        (provider(prioritty=3), "$.providers[0]"),
        (provider(priority="three"), "$.providers[0].priority"),
        (provider(priority=101), "$.providers[0].priority"),
        (provider(provider_type="ollma"), "$.providers[0].provider_type"),
        (provider(base_url="localhost"), "$.providers[0].base_url"),
        (provider(provider_type="azure_openai"), "$.providers[0]"),
        (provider(models=[]), "$.providers[0].models"),
        (model(task="chat"), "$.providers[0].models[0].task"),
        (model(tasks=["chat_small"]), "$.providers[0].models[0]"),
        (model(task="embedding"), "$.providers[0].models[0]"),
        (model(supports_vision="maybe"), "$.providers[0].models[0].supports_vision"),
        (provider(models=[{"model_id": "m", "context_window": 1}]), "$.providers[0].models[0]"),
        (provider(models=[{"model_id": "m", "tasks": ["embedding"], "context_window": 1}]), "$.providers[0].models[0]"),
        ({**provider(), "version": "1.0"}, "$.version"),
    ],
)
def test_the_schema_rejects(content: Any, where: str) -> None:
    assert where in error_paths(content)


def test_every_section_and_most_keys_have_a_description() -> None:
    definitions = config_schema()["$defs"]
    assert all(definition["description"] for definition in definitions.values())
    for name in ("ProviderConfig", "RoutingConfig", "DefaultModels"):
        described = [key for key, value in definitions[name]["properties"].items() if value.get("description")]
        assert len(described) >= len(definitions[name]["properties"]) - 1

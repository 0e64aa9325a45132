"""`models: auto`: the forms that it has in the file, where it is a fault, and what may then be named."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sekha_llm_bridge.config.schema import config_schema
from tests.unit.config.conftest import FaultsOf, Load

ENTRY = "{model_id: llama3.1:8b, task: chat_small, context_window: 8192}"
MODEL = {"model_id": "m", "task": "chat_small", "context_window": 10}


def file(models: str, provider_type: str = "ollama", more: str = "") -> str:
    return f"""
providers:
  - id: home
    provider_type: {provider_type}
    base_url: http://home
    models: {models}
{more}"""


@pytest.mark.parametrize(
    ("models", "is_auto", "configured"),
    [
        ("auto", True, []),
        ("' auto '", True, []),
        ("[auto]", True, []),
        (f"[auto, {ENTRY}]", True, ["llama3.1:8b"]),
        (f"[{ENTRY}, auto]", True, ["llama3.1:8b"]),
        ("\n      - auto\n      - model_id: x\n        task: chat_small\n        context_window: 1", True, ["x"]),
        (f"[{ENTRY}]", False, ["llama3.1:8b"]),
        ("[{model_id: auto, task: chat_small, context_window: 1}]", False, ["auto"]),
    ],
)
def test_auto_stands_alone_or_beside_entries(load: Load, models: str, *, is_auto: bool, configured: list[str]) -> None:
    [provider] = load(file(models)).providers
    assert provider.lists_models is is_auto
    assert [model.model_id for model in provider.models] == configured


def test_auto_is_shown_among_the_models(load: Load) -> None:
    text = repr(load(file(f"[auto, {ENTRY}]")).providers)
    assert "models=('auto', ModelConfig(model_id='llama3.1:8b'" in text
    assert "lists_models" not in text


@pytest.mark.parametrize("provider_type", ["openai", "anthropic", "openrouter", "azure_openai", "gemini", "litellm"])
@pytest.mark.parametrize("models", ["auto", f"[auto, {ENTRY}]"])
def test_auto_is_a_fault_for_a_provider_that_is_no_ollama(faults_of: FaultsOf, provider_type: str, models: str) -> None:
    rule = "`auto` is only for provider_type ollama"
    remedy = f"name the models of {provider_type}, each with model_id, task and context_window"
    assert faults_of(file(models, provider_type)) == [f"6: providers[0].models: {rule}: {remedy}"]


def test_a_fault_of_an_entry_beside_auto_is_at_its_own_place(faults_of: FaultsOf) -> None:
    text = file("\n      - auto\n      - {model_id: x, task: chat_small, context_window: 0}")
    assert faults_of(text) == ["8: providers[0].models[1].context_window: must be more than 0, is 0"]


def test_a_misspelt_auto_is_a_fault(faults_of: FaultsOf) -> None:
    assert faults_of(file("automatic")) == ["6: providers[0].models: must be a list, is automatic"]


def test_an_empty_list_is_still_a_fault(faults_of: FaultsOf) -> None:
    assert faults_of(file("[]")) == ["6: providers[0].models: needs at least one entry, is a list"]


NAMED = """
default_models: {embedding: nomic-embed-text, chat_fast: "qwen3:4b"}
aliases:
  gpt-4o: [home/qwen3:4b, llama3.1:70b]
  smart: chat_smart
"""


def test_names_that_are_not_configured_may_be_found_later(load: Load) -> None:
    settings = load(file("auto", more=NAMED))
    assert settings.default_models.chat_fast == "qwen3:4b"
    assert settings.warnings == ()


def test_the_same_names_are_faults_where_nothing_can_be_found(faults_of: FaultsOf) -> None:
    assert len(faults_of(file(f"[{ENTRY}]", more=NAMED))) == 4


def test_a_configured_model_that_cannot_be_the_default_is_still_a_fault(faults_of: FaultsOf) -> None:
    [fault] = faults_of(file(f"[auto, {ENTRY}]", more='default_models: {embedding: "llama3.1:8b"}'))
    assert "must name a model that has task embedding" in fault


def test_a_task_beside_models_in_an_alias_is_still_a_fault(faults_of: FaultsOf) -> None:
    [fault] = faults_of(file("auto", more="aliases: {mine: [qwen3, chat_smart]}"))
    assert "a task must stand alone" in fault


def errors(models: Any, provider_type: str = "ollama") -> list[str]:
    content = {"providers": [{"id": "a", "provider_type": provider_type, "base_url": "http://a", "models": models}]}
    return [error.json_path for error in Draft202012Validator(config_schema()).iter_errors(content)]


@pytest.mark.parametrize("models", ["auto", ["auto"], ["auto", MODEL], [MODEL, "auto"], [MODEL]])
def test_the_schema_accepts_what_the_bridge_does(models: Any) -> None:
    assert errors(models) == []


@pytest.mark.parametrize(
    ("models", "provider_type", "where"),
    [
        ("auto", "openai", "$.providers[0].models"),
        (["auto", MODEL], "bedrock", "$.providers[0].models"),
        ("automatic", "ollama", "$.providers[0].models"),
        (["automatic"], "ollama", "$.providers[0].models[0]"),
        ([], "ollama", "$.providers[0].models"),
        (["auto", {**MODEL, "context_window": -1}], "ollama", "$.providers[0].models[1].context_window"),
    ],
)
def test_the_schema_rejects_what_the_bridge_does(models: Any, provider_type: str, where: str) -> None:
    assert where in errors(models, provider_type)

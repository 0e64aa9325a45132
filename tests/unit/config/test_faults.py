"""Tests the messages of faults: line, key, value and remedy, and that they never contain a credential."""

import pytest
from pydantic import ValidationError

from sekha_llm_bridge.config import ProviderConfig
from tests.unit.config.conftest import FaultsOf
from tests.unit.config.memory_secrets import MemorySecrets

FIVE = """\
version: "2.0"
providers:
  - id: local
    provider_type: olama
    base_url: http://localhost:11434
    modles: []
    models:
      - model_id: llama3.1:8b
        task: chat_small
        context_window: 0
      - model_id: nomic-embed-text
        task: embedding
        context_window: 8192
default_models:
  chat_fast: llama3.1:80b
"""

MODEL = "{model_id: m, task: chat_small, context_window: 10}"


def one(provider: str = "", model: str = "", rest: str = "") -> str:
    """Returns a file with extra keys of a provider on line 4, of its model on line 7, and more text from line 8."""
    return (
        "providers:\n  - id: a\n    provider_type: ollama\n"
        f"    {provider}\n    models:\n      - {{model_id: m, task: chat_small, context_window: 10}}\n"
        f"      - {{model_id: n, task: chat_smart, context_window: 10, {model}}}\n{rest}\n"
    )


def test_five_different_faults_of_one_file_are_reported_together_with_line_and_remedy(faults_of: FaultsOf) -> None:
    types = "'ollama', 'openai', 'anthropic', 'openrouter', 'bedrock', 'azure_openai', 'gemini' or 'litellm'"
    assert faults_of(FIVE) == [
        f"4: providers[0].provider_type: must be one of {types}, is olama; did you mean `ollama`?",
        "6: providers[0].modles: unknown key `modles`; did you mean `models`?",
        "10: providers[0].models[0].context_window: must be more than 0, is 0",
        "11: providers[0].models[1].dimension: is missing: an embedding model needs the length of its vectors",
        "15: default_models.chat_fast: must name a configured model, is llama3.1:80b; did you mean `llama3.1:8b`?",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (one(rest="version: 1.0"), '8: version: must be 2.x, as in "2.0", is 1.0'),
        (one(rest="routes: {}"), "8: routes: unknown key `routes`; did you mean `routing`?"),
        (
            one(rest="zzz: {}"),
            "8: zzz: unknown key `zzz`; possible here: aliases, chroma, default_models, health, providers, routing",
        ),
        (one("url: http://h"), "4: providers[0].url: unknown key `url`; did you mean `base_url`?"),
        (one("apiKey: k"), "4: providers[0].apiKey: unknown key `apiKey`; did you mean `api_key`?"),
        (one("priority: 0"), "4: providers[0].priority: must be at least 1, is 0"),
        (one("priority: 101"), "4: providers[0].priority: must be at most 100, is 101"),
        (one("priority: high"), "4: providers[0].priority: must be a whole number, is high"),
        (one("priority: 1.5"), "4: providers[0].priority: must be a whole number, is 1.5"),
        (one("priority: [1]"), "4: providers[0].priority: must be a whole number, is a list"),
        (one("priority:"), "4: providers[0].priority: must be a whole number, is null"),
        (one("timeout_secs: 120s"), "4: providers[0].timeout_secs: must be a number, is 120s"),
        (one("timeout_secs: inf"), "4: providers[0].timeout_secs: must be a finite number, is inf"),
        (one("timeout_secs: 0"), "4: providers[0].timeout_secs: must be more than 0, is 0"),
        (one("headers: [a]"), "4: providers[0].headers: must be a mapping"),
        (one("headers: {'X Y': z}"), "4: providers[0].headers.X Y: must be the name of an HTTP header"),
        (one('headers: {X: "a\\nb"}'), "4: providers[0].headers.X: contains a line break or another character"),
        (one('api_key: "sk-“quoted”"'), "4: providers[0].api_key: contains a line break or another character"),
        (one("base_url: localhost:11434"), "4: providers[0].base_url: must be a URL such as http://localhost:11434"),
        (one("paths: {chat: v1/chat}"), "4: providers[0].paths.chat: must be a path from the root of the server"),
        (one("paths: {chatt: /c}"), "4: providers[0].paths.chatt: unknown key `chatt`; did you mean `chat`?"),
        (one('query: {api-version: "a\\nb"}'), "4: providers[0].query.api-version: contains a line break"),
        (one(model='embedding_space: "a\\tb"'), "models[1].embedding_space: contains a control character"),
        (one(model="supports_vision: perhaps"), "models[1].supports_vision: must be true or false, is perhaps"),
        (one(model="tasks: [chat_small]"), "7: providers[0].models[1].tasks: cannot be combined with `task`"),
        (one(model="pricing: {input_usd_per_mtok: 1}"), "7: providers[0].models[1].pricing: lacks `output"),
        (one(model="pricing: {input_usd_per_mtok: -1, output_usd_per_mtok: x}"), "must be at least 0, is -1"),
        (one(model="pricing: {input_usd_per_mtok: -1, output_usd_per_mtok: x}"), "must be a number, is x"),
        (one(model="pricing: 3"), "7: providers[0].models[1].pricing: must be a mapping, is 3"),
        (one(model="vision_capabilities: {max_imges: 3}"), "unknown key `max_imges`; did you mean `max_images`?"),
        (one(rest="chroma: {url: 'http://chroma'}"), "8: chroma.url: must be empty or scheme://host:port"),
        (one(rest="chroma: {url: 'http://u:p@chroma:8000'}"), "8: chroma.url: must be scheme://host:port without user"),
        (one(rest="chroma: {default_collection: '../x'}"), "8: chroma.default_collection: must be a collection's name"),
        (one(rest="routing: {max_cost_per_request: cheap}"), "must be a number, is cheap"),
        (one(rest="routing: {circuit_breaker: {failure_treshold: 3}}"), "did you mean `failure_threshold`?"),
        ("providers: []", "1: providers: needs at least one entry, is a list"),
        ("providers:", "1: providers: must be a list, is null"),
        ("providers: {id: a}", "1: providers: must be a list, is a mapping"),
        ("providers: [a]", "1: providers[0]: must be a mapping, is a"),
        (f"providers: [{{id: A, provider_type: ollama, models: [{MODEL}]}}]", "may hold only a-z, 0-9, - and _, is A"),
        (f"providers: [{{id: a, models: [{MODEL}]}}]", "1: providers[0].provider_type: is missing"),
        ("providers: [{id: a, provider_type: ollama, models: [{model_id: m}]}]", "tasks: is missing: give"),
        (f"providers: [{{id: a, provider_type: azure_openai, models: [{MODEL}]}}]", "base_url: is missing: azure"),
    ],
)
def test_a_fault_has_this_message(faults_of: FaultsOf, text: str, fault: str) -> None:
    assert any(fault in found for found in faults_of(text)), faults_of(text)


@pytest.mark.parametrize(
    "user", ["user:secret", ":secret", "secret", "user:se/secret", "user:a?secret", "user%3Asecret"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_url_of_chroma_has_no_user_and_no_fault_shows_one(faults_of: FaultsOf, scheme: str, user: str) -> None:
    (fault,) = faults_of(one(rest=f"chroma: {{url: '{scheme}://{user}@chroma:8000'}}"))
    assert fault.startswith("8: chroma.url: must ")
    assert "secret" not in fault


@pytest.mark.parametrize("text", [one(model="bad: 1", rest="chroma: {bad: 1}"), FIVE])
def test_faults_come_in_the_order_of_the_file(faults_of: FaultsOf, text: str) -> None:
    lines = [int(fault.split(":")[0]) for fault in faults_of(text)]
    assert lines == sorted(lines)


@pytest.mark.parametrize("escape", ["\\0", "\\x1b[2J", "\\n", "\\u200b", "\\u202e"])
def test_a_control_character_in_a_name_is_a_fault_that_does_not_show_it(faults_of: FaultsOf, escape: str) -> None:
    for text in (one().replace("model_id: n", f'model_id: "a{escape}b"'), one().replace("id: a", f'id: "a{escape}b"')):
        (fault,) = faults_of(text)
        assert "contains a control character" in fault or "may hold only a-z, 0-9, - and _" in fault
        assert fault.isprintable()


def test_an_invalid_list_entry_is_not_reported_as_missing(faults_of: FaultsOf) -> None:
    model = "{model_id: m, task: chat_small, context_window: nothing}"
    assert len(faults_of(f"providers: [{{id: a, provider_type: ollama, models: [{model}]}}]")) == 1


def test_faults_within_one_model_do_not_hide_each_other(faults_of: FaultsOf) -> None:
    faults = faults_of(
        "providers:\n"
        "  - {id: a, provider_type: ollama, models: [{task: embedding, tasks: [embedding], context_window: 0}]}"
    )
    assert [fault.split(": ")[1].rpartition(".")[2] for fault in faults] == [
        "model_id",
        "tasks",
        "context_window",
        "dimension",
    ]


@pytest.mark.parametrize(
    "provider",
    [
        "priority: https://user:hunter2@host",
        "api_key: [hunter2]",
        "api_key: {hunter2: hunter2}",
        "api_kye: hunter2",
        "headers: {Authorization: [hunter2]}",
        "headers: hunter2",
        "header: {Authorization: hunter2}",
        'api_key: "hunter2\\u2026"',
        'headers: {Authorization: "hunter2\\nx"}',
        "query: {key: [hunter2]}",
        "query: hunter2",
        "api_key: hunter2${",
        "api_key: hunter2${hunter2 x}",
        "base_url: https://user:hunter2@host:port/",
        "base_url: https://user:hunt/hunter2@host",
        "base_url: user:hunter2@host",
        "base_url: https://user:hunter2@host?q",
        "base_url: https://[hunter2",
        "base_url: 'https://user:hunter2@${'",
    ],
)
def test_a_fault_never_shows_a_credential_that_the_file_holds(faults_of: FaultsOf, provider: str) -> None:
    faults = faults_of(one(provider))
    assert faults
    assert not any("hunter2" in fault for fault in faults)


@pytest.mark.parametrize(
    "key",
    ["id", "provider_type", "base_url", "priority", "timeout_secs"],
)
def test_a_fault_never_shows_the_value_of_a_reference(faults_of: FaultsOf, key: str) -> None:
    lines = {"id": "id: a", "provider_type": "provider_type: ollama", key: f"{key}: ${{ssm:/x}}"}
    body = "\n    ".join([*lines.values(), f"models: [{MODEL}]"])
    secrets = MemorySecrets({"/x": "HUNTER2 hunter2"})
    faults = faults_of(f"providers:\n  -\n    {body}\n", secrets=secrets)
    assert faults
    assert not any("hunter2" in fault.lower() for fault in faults)


def test_a_default_model_from_a_reference_is_shown_as_the_reference(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(one(rest="default_models: {chat_fast: '${FAST}'}"), {"FAST": "hunter2"})
    assert fault.startswith("8: default_models.chat_fast: must name a configured model, is the value of ${FAST};")
    assert "hunter2" not in fault


def test_the_models_own_errors_show_no_input() -> None:
    with pytest.raises(ValidationError) as caught:
        ProviderConfig.model_validate({"id": "hunter2!", "api_key": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_a_long_value_is_truncated_in_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(one(f"priority: {'9x' * 500}"))
    assert len(fault) < 200

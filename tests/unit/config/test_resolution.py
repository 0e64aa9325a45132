"""Tests the values of references, defaults, disabled providers, and faults outside providers."""

from collections.abc import Collection
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sekha_llm_bridge.config import SecretNotFetched, SecretUnavailable, SecretUse, load_settings
from sekha_llm_bridge.config.references import AwsReference, escape
from sekha_llm_bridge.config.resolution import resolve
from sekha_llm_bridge.config.secret_source import FetchedValues
from tests.unit.config.conftest import FaultsOf, Load
from tests.unit.config.memory_secrets import MemorySecrets

MODELS = "models: [{model_id: m, task: chat_small, context_window: 10}]"
TWO = """
providers:
  - {id: local, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 10}]}
  - id: cloud
    provider_type: openai
    api_key: KEY
    models: [{model_id: m, task: chat_small, context_window: 10}]
"""


def with_key(reference: str) -> str:
    return TWO.replace("KEY", reference)


def key_of(text: str, load: Load, environ: dict[str, str] | None = None, secrets: MemorySecrets | None = None) -> str:
    key = load(text, environ, secrets).providers[1].api_key
    assert key
    return key.get_secret_value()


def test_a_variable_is_replaced_by_its_value(load: Load) -> None:
    assert key_of(with_key("${KEY}"), load, {"KEY": "sk-1"}) == "sk-1"


def test_one_string_may_contain_several_references(load: Load) -> None:
    secrets = MemorySecrets({"/b": "two"}, {"c": '{"k": "three"}'})
    text = with_key("0-${A}-${ssm:/b}-${secretsmanager:c#k}-${D:-four}")
    assert key_of(text, load, {"A": "one"}, secrets) == "0-one-two-three-four"


def test_a_default_replaces_a_variable_that_is_unset_or_blank(load: Load) -> None:
    for environ in ({}, {"KEY": ""}, {"KEY": "  "}):
        assert key_of(with_key("${KEY:-fallback}"), load, environ) == "fallback"


def test_references_in_a_value_are_not_resolved(load: Load) -> None:
    assert key_of(with_key("${A}"), load, {"A": "${B}", "B": "never"}) == "${B}"


def test_a_doubled_dollar_escapes_a_reference(load: Load) -> None:
    assert key_of(with_key("a$${B}"), load, {"B": "never"}) == "a${B}"


@pytest.mark.parametrize("environ", [{}, {"CLOUD_KEY": ""}])
def test_an_unset_variable_disables_only_its_provider_with_one_warning_that_names_both(
    load: Load, environ: dict[str, str]
) -> None:
    settings = load(with_key("${CLOUD_KEY}"), environ)
    assert [provider.id for provider in settings.providers] == ["local"]
    assert [left_out.config.id for left_out in settings.disabled] == ["cloud"]
    (warning,) = settings.warnings
    assert "llm.yaml:4: provider cloud is disabled: ${CLOUD_KEY} has no value" in warning


def test_two_unresolved_references_in_one_provider_give_one_warning_that_names_both(load: Load) -> None:
    settings = load(with_key("${A}${B}").replace("id: cloud", "id: cloud\n    base_url: ${C}"))
    (warning,) = settings.warnings
    assert "${A}" in warning
    assert "${C}" in warning


def test_an_unset_variable_outside_a_provider_is_a_fault_with_its_line(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(f"{TWO}routing:\n  max_cost_per_request: ${{LIMIT}}\n")
    assert fault.startswith("9: routing.max_cost_per_request: ${LIMIT} has no value: set the variable LIMIT")


def test_a_disabled_provider_is_still_checked(faults_of: FaultsOf) -> None:
    faults = faults_of(with_key("${KEY}").replace("id: cloud", "id: cloud\n    pririty: 3"))
    assert faults == ["5: providers[1].pririty: unknown key `pririty`; did you mean `priority`?"]


def test_the_models_of_a_disabled_provider_count_as_configured(load: Load) -> None:
    model = "{model_id: big, task: chat_smart, context_window: 10}"
    text = f"{TWO}  - {{id: x, provider_type: openai, api_key: '${{X}}', models: [{model}]}}\n"
    assert load(f"{text}default_models: {{chat_smart: big}}\n").default_models.chat_smart == "big"


@pytest.mark.parametrize(
    "line",
    [
        "id: ${X}",
        "provider_type: ${X}",
        "base_url: ${X}",
        "base_url: https://${X}.example.com",
        "priority: ${X}",
        "timeout_secs: ${X}",
        "headers: {X-Org: '${X}'}",
        "models: [{model_id: '${X}', task: chat_small, context_window: 10}]",
        "models: [{model_id: m, task: '${X}', context_window: 10}]",
        "models: [{model_id: m, tasks: ['${X}'], context_window: 10}]",
        "models: [{model_id: m, task: chat_small, context_window: '${X}'}]",
        "models: [{model_id: m, task: embedding, context_window: 1, dimension: '${X}'}]",
        "models: [{model_id: m, task: vision, context_window: 1, vision_capabilities: {supported_formats: ['${X}']}}]",
        "models: [{model_id: m, task: vision, context_window: 1, vision_capabilities: {max_images: '${X}'}}]",
        "models: [{model_id: m, task: audio, context_window: 1, pricing: {input_usd_per_mtok: '${X}'}}]",
        "models: [{model_id: m, task: vision, context_window: 1, max_output_tokens: '${X}'}]",
    ],
)
def test_an_unset_variable_in_any_key_disables_the_provider(load: Load, line: str) -> None:
    lines = {"id": "id: x", "provider_type": "provider_type: openai", "models": MODELS}
    lines[line.split(":")[0]] = line
    body = "\n    ".join(lines.values())
    settings = load(f"providers:\n  - {{id: on, provider_type: ollama, {MODELS}}}\n  -\n    {body}\n")
    assert [provider.id for provider in settings.providers] == ["on"]
    assert len(settings.disabled) == 1


@pytest.mark.parametrize("provider_type", ["azure_openai", "litellm", "bedrock", "ollama"])
@pytest.mark.parametrize(
    ("outcome", "uses"),
    [
        (SecretNotFetched("throttled"), SecretUse.ALL),
        (SecretUnavailable("denied"), SecretUse.ALL),
        ("https://x.openai.azure.com", SecretUse.NONE),
    ],
)
def test_a_stored_address_without_a_value_is_no_fault_of_the_file(
    tmp_path: Path, provider_type: str, outcome: str | SecretUnavailable, uses: SecretUse
) -> None:
    class Source:
        def fetch(self, references: Collection[AwsReference], *, fresh: bool = False) -> FetchedValues:
            return dict.fromkeys(references, outcome)

    path = tmp_path / "llm.yaml"
    path.write_text(TWO.replace("openai", provider_type).replace("api_key: KEY", "base_url: ${ssm:/url}"))
    settings = load_settings(path, environ={}, secrets=Source(), uses=uses)
    found = [*settings.providers, *(one.config for one in settings.disabled)]
    assert [provider.id for provider in found] == ["local", "cloud"]


def test_two_models_without_a_resolved_id_are_not_reported_as_duplicates(load: Load) -> None:
    model = "{model_id: '${X}', task: chat_small, context_window: 10}"
    other = "{model_id: '${Y}', task: chat_small, context_window: 10}"
    settings = load(f"{TWO}  - {{id: x, provider_type: openai, models: [{model}, {other}]}}\n")
    assert len(settings.disabled) == 1


def test_a_default_model_whose_task_is_unset_is_accepted(load: Load) -> None:
    model = "{model_id: e, task: '${X}', context_window: 10}"
    text = f"{TWO}  - {{id: x, provider_type: openai, models: [{model}]}}\ndefault_models: {{embedding: e}}\n"
    assert load(text).default_models.embedding == "e"


@pytest.mark.parametrize("key", ["models", "headers"])
def test_a_reference_cannot_replace_a_list_or_a_mapping(faults_of: FaultsOf, key: str) -> None:
    lines = {"models": MODELS, key: f"{key}: ${{X}}"}
    body = "\n    ".join(lines.values())
    (fault,) = faults_of(f"providers:\n  - id: a\n    provider_type: ollama\n    {body}\n", {"X": "1"})
    assert f"providers[0].{key}: must be a " in fault


def test_numbers_and_switches_may_come_from_references(load: Load) -> None:
    text = with_key("k").replace("id: cloud", "id: cloud\n    priority: ${PRIO:-3}\n    timeout_secs: ${SECS}")
    text += "routing: {cost_aware: '${AWARE:-no}', max_cost_per_request: '${LIMIT:-0.10}'}\n"
    settings = load(text, {"SECS": "12.5"})
    assert (settings.providers[1].priority, settings.providers[1].timeout_secs) == (3, 12.5)
    assert settings.routing.cost_aware is False
    assert settings.routing.max_cost_per_request == Decimal("0.10")


def test_a_number_from_a_reference_is_checked_and_the_reference_shown(faults_of: FaultsOf) -> None:
    text = with_key("k").replace("id: cloud", "id: cloud\n    priority: ${PRIO}")
    assert faults_of(text, {"PRIO": "500"}) == [
        "5: providers[1].priority: must be at most 100, is the value of ${PRIO}"
    ]


def test_a_value_that_is_empty_after_its_references_counts_as_absent(load: Load) -> None:
    text = with_key("${KEY:-}").replace("id: cloud", "id: cloud\n    priority: ${P:-}\n    base_url: ${U:-}")
    text += (
        "chroma: {url: '${CHROMA_URL:-}', auth_token: '${CHROMA_TOKEN:-}'}\nrouting: {max_cost_per_request: '${L:-}'}\n"
    )
    settings = load(text)
    cloud = settings.providers[1]
    assert (cloud.api_key, cloud.priority, cloud.base_url) == (None, 50, "https://api.openai.com/v1")
    assert (settings.chroma.url, settings.chroma.auth_token) == ("", None)
    assert settings.routing.default_max_cost_usd == settings.routing.max_cost_per_request == Decimal("1.00")


def test_a_credential_that_is_empty_text_counts_as_absent(load: Load) -> None:
    settings = load(with_key('""') + "chroma: {auth_token: ' '}\n")
    assert (settings.providers[1].api_key, settings.chroma.auth_token) == (None, None)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("providers: ${X}\n", "1: providers"),
        ("providers:\n  - id: a\n    provider_type: ollama\n    models: ${\n", "4: providers[0].models"),
    ],
)
def test_an_unresolved_reference_is_not_also_reported_as_a_missing_key(
    faults_of: FaultsOf, text: str, where: str
) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(f"{where}: ")


def test_a_required_value_that_is_empty_is_a_fault(faults_of: FaultsOf) -> None:
    text = TWO.replace(
        "{model_id: m, task: chat_small, context_window: 10}]}", "{model_id: '${M:-}', task: chat_small}]}"
    )
    assert faults_of(text) == [
        "3: providers[0].models[0].model_id: must not be empty, is the value of ${M:-}",
        "3: providers[0].models[0].context_window: is missing",
    ]


def test_a_variable_may_have_the_value_null(load: Load) -> None:
    text = f"{TWO}routing: {{max_cost_per_request: '${{LIMIT:-null}}'}}\nchroma: {{default_collection: '${{C}}'}}\n"
    settings = load(text, {"C": "null"})
    assert settings.routing.max_cost_per_request is None
    assert settings.chroma.default_collection is None


def test_a_malformed_reference_is_a_fault_inside_a_provider_too(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(TWO.replace("id: cloud", "id: cloud\n    priority: ${PRIO"))
    assert fault == (
        "5: providers[1].priority: a reference is not closed: add the `}`, or write `$${` for a literal `${`; in ${PRIO"
    )


def test_a_secret_that_is_referenced_several_times_is_fetched_once(load: Load) -> None:
    secrets = MemorySecrets(secrets={"s": '{"a": "1", "b": 2, "c": "3"}'})
    text = with_key("${secretsmanager:s#a}${secretsmanager:s#b}${secretsmanager:s#c}")
    assert key_of(text, load, secrets=secrets) == "123"
    assert secrets.requests == [("s", False)]


def test_a_secret_is_not_fetched_when_the_variable_before_it_is_set(load: Load) -> None:
    secrets = MemorySecrets({"/key": "from-ssm"})
    text = with_key("${KEY:-${ssm:/key}}")
    assert key_of(text, load, {"KEY": "from-env"}, secrets) == "from-env"
    assert secrets.requests == []
    assert key_of(text, load, {}, secrets) == "from-ssm"


def test_a_secret_that_cannot_be_fetched_disables_only_its_provider(load: Load) -> None:
    settings = load(with_key("${ssm:/gone}"))
    assert [provider.id for provider in settings.providers] == ["local"]
    assert "${ssm:/gone} cannot be fetched: it does not exist: create it" in settings.warnings[0]


def test_a_secret_that_cannot_be_fetched_outside_a_provider_is_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(f"{TWO}chroma: {{auth_token: '${{secretsmanager:gone}}'}}\n")
    assert fault == "8: chroma.auth_token: ${secretsmanager:gone} cannot be fetched: it does not exist: create it"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("not json hunter2", "the secret is not a JSON object; leave out `#k`"),
        ('["hunter2"]', "the secret is not a JSON object; leave out `#k`"),
        ('{"other": "hunter2"}', "the secret has no key `k`"),
    ],
)
def test_a_secret_without_the_json_key_is_reported_without_its_text(load: Load, value: str, problem: str) -> None:
    (warning,) = load(with_key("${secretsmanager:s#k}"), secrets=MemorySecrets(secrets={"s": value})).warnings
    assert problem in warning
    assert "hunter2" not in warning


def test_a_line_break_at_the_end_of_a_secret_is_not_part_of_it(load: Load) -> None:
    assert key_of(with_key("${ssm:/k}"), load, secrets=MemorySecrets({"/k": "sk-1\n"})) == "sk-1"


@given(st.text(max_size=30), st.dictionaries(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text(max_size=5)))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_escaped_value_resolves_to_itself_in_any_environment(text: str, environ: dict[str, str]) -> None:
    resolved = resolve({"key": escape(text)}, environ=environ, secrets=MemorySecrets())
    assert resolved.data == {"key": text}
    assert resolved.unresolved == ()

"""Tests the parsing of YAML into data, the lines of faults, and the errors for invalid YAML."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sekha_llm_bridge.config import load_settings
from sekha_llm_bridge.config.document import read_document
from sekha_llm_bridge.config.models import ConfigFile, ModelConfig, ProviderConfig, RoutingConfig
from sekha_llm_bridge.errors import ConfigError
from tests.unit.config.conftest import FaultsOf, Load
from tests.unit.config.memory_secrets import MemorySecrets

ONE = "providers:\n  - {id: a, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 10}]}\n"
USES_TMP_PATH = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

KEYS = st.sampled_from(
    [*ConfigFile.model_fields, *ProviderConfig.model_fields, *ModelConfig.model_fields, *RoutingConfig.model_fields]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(
        ["openai", "ollama", "azure_openai", "chat_small", "embedding", "${A}", "${ssm:/a}", "${", "http://x"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
MODEL_LIKE = st.fixed_dictionaries({}, optional=dict.fromkeys(ModelConfig.model_fields, VALUES))
PROVIDER_LIKE = st.fixed_dictionaries(
    {"models": st.lists(MODEL_LIKE, max_size=2)},
    optional={name: VALUES for name in ProviderConfig.model_fields if name != "models"},
)
FILE_LIKE = st.fixed_dictionaries(
    {"providers": st.lists(PROVIDER_LIKE, max_size=2)},
    optional={name: VALUES for name in ConfigFile.model_fields if name != "providers"},
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "the file is empty: it needs at least the key `providers`"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "the file contains a list, not a mapping"),
        ("just text\n", 1, "the file contains a single value, not a mapping"),
        ("a: 1\n\tb: 2\n", 2, "indent with spaces, not tabs"),
        ("a:\n  b: [1, 2\nc: 3\n", 2, "close the bracket"),
        ("a: b: c\n", 1, "put a value that contains `: ` in quotes"),
        ("a: 1\nb: @x\n", 2, "in quotes"),
        ("a: {url: ${X}}\n", 1, "put a reference inside {…} or […] in quotes"),
        ("a: 1\nb: *nowhere\n", 2, "put a value that starts with * in quotes"),
        ("a: 1\n---\nb: 2\n", 2, "one file has one document"),
        ('a: 1\nb: "open\nc: 1\n', 2, "close the quote"),
        ("a: 1\nb: \x07\n", 2, "a control character (code 7)"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_reported_with_line_and_remedy(
    faults_of: FaultsOf, text: str, line: int, problem: str
) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(f"{line}: ")
    assert problem in fault


def test_a_syntax_error_does_not_quote_the_text_around_it(faults_of: FaultsOf) -> None:
    for text in ("api_key: *hunter2\n", "api_key: [hunter2\n", "api_key: hunter2: x\n", "api_key: 'hunter2\n"):
        assert "hunter2" not in faults_of(text)[0]


def test_a_file_that_is_not_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"version: 2\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: the file is not UTF-8 text"):
        load_settings(path, environ={})


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ONE.replace("\n", "\r\n").encode())
    assert load_settings(path, environ={}).providers[0].id == "a"


def test_a_duplicate_key_names_both_lines(faults_of: FaultsOf) -> None:
    faults = faults_of(f"{ONE}routing:\n  cost_aware: true\n  cost_aware: false\n")
    assert faults == ["5: routing.cost_aware: duplicate key `cost_aware` (first on line 4): keep one of them"]


def test_a_duplicate_key_hides_no_other_fault(faults_of: FaultsOf) -> None:
    assert len(faults_of(f"{ONE}version: '1.0'\nversion: '2.0'\nroutes: 1\n")) == 3


@pytest.mark.parametrize("text", ["{[a]: 1}", "? {a: b}\n: 1"])
def test_a_key_that_is_not_text_is_a_fault(faults_of: FaultsOf, text: str) -> None:
    assert any("a key must be text" in fault for fault in faults_of(text))


def test_a_tag_is_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(f"{ONE}chroma:\n  url: !Ref ChromaUrl\n  tenant: t\n")[:1]
    assert fault == "4: chroma.url: the tag `!Ref` has no meaning here: remove it"


def test_own_keys_take_precedence_over_merged_ones(load: Load) -> None:
    settings = load(
        """
        providers:
          - &first
            id: a
            provider_type: ollama
            priority: 7
            timeout_secs: 9
            models: &models
              - {model_id: m, task: chat_small, context_window: 10}
          - <<: *first
            id: b
            priority: 8
          - <<: [{priority: 1}, *first]
            id: c
          - {id: d, provider_type: openai, base_url: http://d, models: *models}
        """
    )
    assert [(p.id, p.priority, p.timeout_secs) for p in settings.providers] == [
        ("a", 7, 9),
        ("b", 8, 9),
        ("c", 1, 9),
        ("d", 50, 120),
    ]


def test_a_fault_in_a_merged_mapping_has_the_line_of_the_anchored_text(faults_of: FaultsOf) -> None:
    faults = faults_of(
        """
        providers:
          - &first
            id: a
            provider_type: ollama
            priority: 700
            models: [{model_id: m, task: chat_small, context_window: 10}]
          - <<: *first
            id: b
        """
    )
    assert [fault.split(":")[0] for fault in faults] == ["6", "6"]


@pytest.mark.parametrize("text", ["<<: 1\n", "<<: [a]\n", "a: &a [1]\n<<: *a\n"])
def test_a_merge_of_values_that_are_not_mappings_is_a_fault(faults_of: FaultsOf, text: str) -> None:
    assert any("`<<` merges mappings" in fault for fault in faults_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "&a {<<: [*a, *a], b: *a}\n",
        "providers: &a [*a]\n",
        "a: &a {b: &b {c: [*a, *b]}}\n",
        f"providers: {'[' * 60}{']' * 60}\n",
    ],
)
def test_a_recursive_or_too_deep_structure_is_a_fault(faults_of: FaultsOf, text: str) -> None:
    assert any("nested too deeply" in fault or "is missing" in fault for fault in faults_of(text))


def test_a_mapping_that_only_merges_itself_is_empty(load: Load) -> None:
    assert load("&a {<<: *a}\n").providers == ()


def test_exponentially_nested_aliases_are_a_fault_within_seconds(faults_of: FaultsOf) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    faults = faults_of("\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]", *levels]))
    assert any("nested too deeply" in fault for fault in faults)


def test_scalars_keep_their_text(load: Load) -> None:
    settings = load(
        """
        version: 2.0
        providers:
          - id: no
            provider_type: openai
            base_url: http://h
            headers: {X-Version: 1.10, X-On: yes, X-Date: 2026-01-02, X-Time: 12:30, X-Octal: 0123}
            models: [{model_id: 405, task: chat_small, context_window: 8_192}]
        default_models: {chat_fast: 405}
        """
    )
    (provider,) = settings.providers
    values = [value.get_secret_value() for value in provider.headers.values()]
    assert values == ["1.10", "yes", "2026-01-02", "12:30", "0123"]
    assert (provider.id, provider.models[0].model_id, provider.models[0].context_window) == ("no", "405", 8192)


def test_a_section_whose_keys_are_all_commented_out_has_its_defaults(load: Load) -> None:
    settings = load(f"{ONE}routing:\n  # cost_aware: true\nchroma:\ndefault_models:\n")
    assert settings.routing.cost_aware
    assert settings.chroma.tenant == "default_tenant"


@given(
    noise=st.lists(st.sampled_from(["", "# a comment", "  # another"]), max_size=3),
    models=st.integers(1, 6),
    data=st.data(),
)
@USES_TMP_PATH
def test_a_fault_has_the_line_of_its_key(tmp_path: Path, noise: list[str], models: int, data: st.DataObject) -> None:
    broken = data.draw(st.integers(0, models - 1))
    lines = [*noise, "providers:", *noise, "  - id: a", "    provider_type: ollama", "    models:"]
    for number in range(models):
        window = "BROKEN" if number == broken else "8192"
        lines += [
            *noise,
            f"      - model_id: m{number}",
            "        task: chat_small",
            f"        context_window: {window}",
        ]
    path = tmp_path / "lines.yaml"
    path.write_text("\n".join(lines))
    expected = next(number for number, line in enumerate(lines, 1) if "BROKEN" in line)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ={})
    where = f"providers[0].models[{broken}].context_window"
    assert caught.value.faults == (f"{path}:{expected}: {where}: must be a whole number, is BROKEN",)


@given(st.recursive(st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)))
@USES_TMP_PATH
def test_text_in_any_structure_is_parsed_unchanged(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump({"key": value}, allow_unicode=True, default_style='"'), encoding="utf-8")
    assert read_document(path).data == {"key": value}


@given(FILE_LIKE | st.dictionaries(KEYS | st.text(max_size=5), VALUES))
@USES_TMP_PATH
def test_any_yaml_content_gives_settings_or_a_config_error(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    try:
        load_settings(path, environ={"A": "a"}, secrets=MemorySecrets())
        faults: tuple[str, ...] = ()
    except ConfigError as error:
        faults = error.faults or ("none",)
    assert all(fault.startswith(f"{path}:") for fault in faults)


@given(st.text(alphabet=st.sampled_from("a:&*!|>%@`'\"{}[]-?,#<= \n\t\x07é"), max_size=30) | st.text(max_size=30))
@example("&a [*a]")
@example("? a")
@example('"[key]": null')
@example("{}")
@USES_TMP_PATH
def test_any_text_gives_settings_or_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        messages = load_settings(path, environ={}).warnings
    except ConfigError as error:
        messages = error.faults
    # A text of up to 30 characters cannot contain a provider, so a valid file gives a warning.
    assert messages

"""Tests the rules that involve several sections of the file."""

import pytest

from tests.unit.config.conftest import FaultsOf, Load

BASE = """
providers:
  - id: a
    provider_type: ollama
    models:
      - {model_id: chat, task: chat_small, context_window: 10}
      - {model_id: chat, task: chat_smart, context_window: 10}
      - {model_id: embed, task: embedding, context_window: 10, dimension: 3}
      - {model_id: eyes, task: vision, context_window: 10}
      - {model_id: both, tasks: [chat_small, chat_large], context_window: 10, supports_vision: true}
  - id: b
    provider_type: openai
    base_url: http://b
    models:
      - {model_id: chat, task: chat_small, context_window: 10}
      - {model_id: twin, task: chat_small, context_window: 10, supports_vision: true}
      - {model_id: twin, task: chat_smart, context_window: 10, supports_vision: true}
"""


def test_one_model_may_have_several_tasks_and_several_providers(load: Load) -> None:
    assert len(load(BASE).providers) == 2


def test_two_providers_with_the_same_id_are_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(BASE.replace("id: b\n", "id: a\n"))
    assert fault == "11: providers[1].id: `a` is the id of providers[0] too: an id must be unique"


def test_a_model_listed_twice_with_the_same_task_is_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(
        BASE.replace("task: chat_smart, context_window: 10}", "task: chat_small, context_window: 10}", 1)
    )
    assert fault == (
        "7: providers[0].models[1]: `chat` has task chat_small in providers[0].models[0] already: remove one of them"
    )


def test_a_task_named_twice_in_one_entry_is_a_fault(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(BASE.replace("[chat_small, chat_large]", "[chat_small, chat_small]"))
    assert "`both` has task chat_small" in fault


@pytest.mark.parametrize(
    ("default", "model"),
    [
        ("embedding", "embed"),
        ("chat_fast", "chat"),
        ("chat_smart", "both"),
        ("chat_vision", "eyes"),
        ("chat_vision", "both"),
        ("chat_vision", "null"),
    ],
)
def test_a_default_model_with_the_required_task_is_accepted(load: Load, default: str, model: str) -> None:
    load(f"{BASE}default_models: {{{default}: {model}}}\n")


@pytest.mark.parametrize(
    ("default", "model", "problem"),
    [
        ("embedding", "chat", "must name a model that has task embedding, is chat; possible here: embed"),
        ("chat_fast", "embed", "must name a model that answers chats, is embed; possible here: both, chat, eyes, twin"),
        ("chat_vision", "chat", "must name a model that takes images, is chat; possible here: both, eyes, twin"),
        ("chat_fast", "chta", "must name a configured model, is chta; did you mean `chat`?"),
        ("embedding", "vectors", "must name a configured model, is vectors; possible here: embed"),
    ],
)
def test_a_default_model_without_the_required_task_is_a_fault(
    faults_of: FaultsOf, default: str, model: str, problem: str
) -> None:
    assert faults_of(f"{BASE}default_models: {{{default}: {model}}}\n") == [f"18: default_models.{default}: {problem}"]


def test_a_default_model_whose_own_section_has_a_fault_is_not_reported_as_missing(faults_of: FaultsOf) -> None:
    broken = BASE.replace(
        "model_id: embed, task: embedding, context_window: 10", "model_id: embed, task: embedding, context_window: x"
    )
    (fault,) = faults_of(f"{broken}default_models: {{embedding: embed}}\n")
    assert "context_window" in fault


def test_two_dimensions_in_one_embedding_space_give_a_warning(load: Load) -> None:
    other = "      - {model_id: other, task: embedding, context_window: 10, dimension: 4, embedding_space: embed}\n"
    (warning,) = load(BASE + other).warnings
    assert "providers[1].models[3]: other has dimension 4 in the embedding space embed, where embed has 3" in warning


def test_a_public_api_without_a_key_gives_a_warning(load: Load) -> None:
    (warning,) = load(BASE.replace("    base_url: http://b\n", "")).warnings
    assert "provider b has no api_key, but https://api.openai.com/v1 requires one: add it" in warning


def test_a_public_api_with_configured_headers_gives_no_warning_about_its_key(load: Load) -> None:
    text = BASE.replace("    base_url: http://b\n", "    headers: {Authorization: Bearer k}\n")
    assert load(text).warnings == ()


def test_a_file_without_an_enabled_provider_gives_a_warning(load: Load) -> None:
    text = BASE.replace("id: a", "id: a\n    api_key: ${A}").replace("id: b\n", "id: b\n    api_key: ${B}\n")
    assert "no provider is enabled" in load(text).warnings[-1]


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"CHAT_MODEL": "m"}, "CHAT_MODEL is set"),
        (
            {"CHAT_MODEL": "m", "OLLAMA_BASE_URL": "u", "EMBEDDING_MODEL": "e"},
            "OLLAMA_BASE_URL, EMBEDDING_MODEL, CHAT_MODEL are set",
        ),
    ],
)
def test_variables_of_v1_give_one_warning_with_their_names_and_the_command(
    load: Load, environ: dict[str, str], names: str
) -> None:
    (warning,) = load(BASE, environ).warnings
    assert warning.startswith(names)
    assert "`sekha-bridge migrate-env .env`" in warning


def test_a_variable_of_v1_that_the_file_refers_to_gives_no_warning(load: Load) -> None:
    text = BASE.replace("id: a", "id: a\n    base_url: ${OLLAMA_BASE_URL}")
    assert load(text, {"OLLAMA_BASE_URL": "http://gpu:11434"}).warnings == ()


def test_aliases_name_tasks_models_or_ordered_lists_of_models(load: Load) -> None:
    aliases = load(f"{BASE}aliases: {{a: chat_large, b: chat_fast, c: twin, d: [b/chat, twin], 4o: both}}\n").aliases
    assert aliases == {
        "a": ("chat_large",),
        "b": ("chat_fast",),
        "c": ("twin",),
        "d": ("b/chat", "twin"),
        "4o": ("both",),
    }


def test_an_alias_may_stand_for_names_that_begin_so_and_mean_any_model(load: Load) -> None:
    aliases = load(f"{BASE}aliases: {{'claude-*': auto, '*': chat_fast}}\n").aliases
    assert aliases == {"claude-*": ("auto",), "*": ("chat_fast",)}


def test_an_alias_may_have_the_name_of_a_model(load: Load) -> None:
    assert load(f"{BASE}aliases: {{twin: [twin, chat]}}\n").aliases == {"twin": ("twin", "chat")}


@pytest.mark.parametrize(
    ("aliases", "fault"),
    [
        ("{a: twn}", "aliases.a: must name a configured model or a task, is twn; did you mean `twin`?"),
        (
            "{a: [twin, chat_smart]}",
            "aliases.a[1]: must name a configured model; a task must stand alone, is chat_smart; possible here: ",
        ),
        ("{a: [b/both]}", "aliases.a[0]: must name a configured model or a task, is b/both"),
        ("{auto: twin}", "aliases.auto: `auto` is a name of the bridge itself: choose another one"),
        ("{'a*b': twin}", "aliases.a*b: `*` may stand only at the end of an alias"),
        ("{a: [auto, twin]}", "aliases.a[0]: must name a configured model; a task must stand alone, is auto"),
        ("{chat_fast: twin}", "aliases.chat_fast: `chat_fast` is a name of the bridge itself"),
        ("{' auto ': twin}", "`auto` is a name of the bridge itself: choose another one"),
        ("{a: []}", "aliases.a: needs at least one entry, is a list"),
        ("{a: ''}", "aliases.a: needs at least one entry, is empty"),
        ("{a: {b: c}}", "aliases.a: must be a list, is a mapping"),
        ("[a]", "aliases: must be a mapping, is a list"),
    ],
)
def test_an_invalid_alias_is_a_fault(faults_of: FaultsOf, aliases: str, fault: str) -> None:
    (found,) = faults_of(f"{BASE}aliases: {aliases}\n")
    assert fault in found


def test_an_alias_may_name_a_model_of_a_disabled_provider(load: Load) -> None:
    text = BASE.replace("base_url: http://b", "base_url: http://b\n    api_key: ${NOT_SET_HERE}")
    settings = load(f"{text}aliases: {{a: [twin, chat]}}\n")
    assert (settings.aliases, len(settings.disabled)) == ({"a": ("twin", "chat")}, 1)

"""Which configuration the stack runs with, and what it starts for it."""

from pathlib import Path
from textwrap import dedent

import pytest

from local_stack.configuration import Configuration, choose
from sekha_llm_bridge.errors import ConfigError

OWN = """
    providers:
      - id: ollama
        provider_type: ollama
        models:
          - {model_id: nomic-embed-text, task: embedding, context_window: 8192, dimension: 768}
          - {model_id: "llama3.1:8b", task: chat_small, context_window: 8192}
    chroma: {url: "${CHROMA_URL:-}"}
"""
EMBEDDED = """
    providers:
      - id: chat
        provider_type: openai
        base_url: ${LOCAL_CHAT_URL}
        models: [{model_id: m, task: chat_small, context_window: 2048}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the two configurations to choose from."""
    (tmp_path / "config" / "examples").mkdir(parents=True)
    (tmp_path / "config" / "llm_providers.yaml").write_text(dedent(OWN))
    (tmp_path / "config" / "examples" / "embedded.yaml").write_text(dedent(EMBEDDED))
    return tmp_path


def chosen(
    root: Path,
    given: Path | None = None,
    *,
    models: bool = True,
    ollama: frozenset[str] | None = None,
    environ: dict[str, str] | None = None,
) -> Configuration:
    """What is chosen on a machine with that Ollama, or none."""
    return choose(root, given, may_start_models=models, environ=environ or {}, ollama_models=lambda: ollama)


def test_with_an_ollama_the_projects_own_file_is_used(root: Path) -> None:
    configuration = chosen(root, ollama=frozenset({"nomic-embed-text:latest", "llama3.1:8b"}))
    assert configuration.path == root / "config" / "llm_providers.yaml"
    assert configuration.missing_in_ollama == ()
    assert not configuration.needs_models


def test_models_missing_in_ollama_are_listed(root: Path) -> None:
    assert chosen(root, ollama=frozenset({"llama3.1:8b"})).missing_in_ollama == ("nomic-embed-text",)


def test_an_ollama_that_lists_its_models_lacks_none_and_may_be_empty(root: Path) -> None:
    path = root / "config" / "llm_providers.yaml"
    path.write_text(path.read_text().replace("models:\n", "models:\n      - auto\n"))
    found = chosen(root, ollama=frozenset({"qwen3:4b"}))
    assert (found.missing_in_ollama, found.is_ollama_empty, found.answers_chats) == ((), False, True)
    assert chosen(root, ollama=frozenset()).is_ollama_empty
    assert not chosen(root).is_ollama_empty


def test_without_an_ollama_the_embedded_model_is_used(root: Path) -> None:
    configuration = chosen(root)
    assert configuration.path == root / "config" / "examples" / "embedded.yaml"
    assert (configuration.needs_chat_model, configuration.needs_embedding_model) == (True, False)


def test_no_model_uses_the_projects_own_file_and_starts_no_embedded_model(root: Path) -> None:
    configuration = chosen(root, models=False)
    assert configuration.path == root / "config" / "llm_providers.yaml"
    assert not configuration.needs_models


def test_a_given_file_starts_the_embedded_model_only_if_it_uses_it(root: Path) -> None:
    embedded, own = root / "config" / "examples" / "embedded.yaml", root / "config" / "llm_providers.yaml"
    assert chosen(root, embedded).needs_chat_model
    assert not chosen(root, embedded, models=False).needs_chat_model
    assert not chosen(root, own).needs_chat_model


def test_the_users_own_model_server_is_used_instead(root: Path) -> None:
    assert not chosen(root, environ={"LOCAL_CHAT_URL": "http://127.0.0.1:1"}).needs_chat_model


def test_chroma_is_started_when_the_file_takes_its_address_from_the_environment(root: Path) -> None:
    assert chosen(root, models=False).needs_chroma


def test_chroma_is_not_started_when_the_user_names_one(root: Path) -> None:
    assert not chosen(root, models=False, environ={"CHROMA_URL": "http://chroma:8000"}).needs_chroma


def test_chroma_is_not_started_when_the_file_names_one(root: Path) -> None:
    path = root / "other.yaml"
    path.write_text(dedent(OWN).replace("${CHROMA_URL:-}", "http://chroma:8000"))
    assert not chosen(root, path).needs_chroma


def test_a_bad_file_is_refused_with_every_fault(root: Path) -> None:
    path = root / "bad.yaml"
    path.write_text("providers: 3\nsurprise: 1\n")
    with pytest.raises(ConfigError) as caught:
        chosen(root, path)
    assert len(caught.value.faults) == 2


def test_a_missing_file_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        chosen(root, root / "nowhere.yaml")

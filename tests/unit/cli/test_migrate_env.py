"""`sekha-bridge migrate-env`: the printed YAML loads, and configures what v1's `.env` configured."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.cli.migrate_env.migration import migrate_source
from sekha_llm_bridge.cli.migrate_env.source import Source, Variable
from sekha_llm_bridge.config import Settings, load_settings


def migrate(env: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "migrate-env", str(env)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaded(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "providers.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ={})


def test_the_yaml_for_the_guides_env_loads(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(
        "# v1\nexport OLLAMA_BASE_URL='http://gpu:11434'  # the big one\nEMBEDDING_MODEL=mxbai-embed-large\n"
        "CHAT_MODEL=llama3.1:70b\nOTHER=1\n"
    )
    answer = migrate(env)
    assert (answer.returncode, answer.stderr) == (0, "")
    settings = loaded(tmp_path, answer.stdout)
    (provider,) = settings.providers
    assert provider.base_url == "http://gpu:11434"
    assert [(model.model_id, model.dimension) for model in provider.models] == [
        ("mxbai-embed-large", 1024),
        ("llama3.1:70b", None),
    ]
    assert settings.default_models.chat_smart == "llama3.1:70b"


def test_missing_variables_have_the_defaults_of_v1(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHAT_MODEL=qwen3\n")
    provider = loaded(tmp_path, migrate(tmp_path / ".env").stdout).providers[0]
    assert provider.base_url == "http://localhost:11434"
    assert [model.model_id for model in provider.models] == ["nomic-embed-text", "qwen3"]


def test_an_unknown_embedding_model_gives_the_advice_to_check_its_dimension(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EMBEDDING_MODEL=home-made\n")
    answer = migrate(tmp_path / ".env")
    assert answer.returncode == 0
    assert "check `dimension`" in answer.stderr


@pytest.mark.parametrize("text", [None, "", "OTHER=1\n"])
def test_a_file_without_v1_variables_gives_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / ".env").write_text(text)
    answer = migrate(tmp_path / ".env")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert str(tmp_path / ".env") in answer.stderr


printable = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


@given(embedding=printable, chat=printable)
def test_any_model_name_is_unchanged_after_loading_the_yaml(
    embedding: str, chat: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if embedding == chat:
        return
    given = {"EMBEDDING_MODEL": embedding, "CHAT_MODEL": chat}
    variables = {name: Variable(name, value, is_literal=True) for name, value in given.items()}
    yaml = migrate_source(Source(Path(".env"), variables)).yaml
    settings = loaded(tmp_path_factory.mktemp("env"), yaml)
    assert [model.model_id for model in settings.providers[0].models] == [embedding, chat]

"""Tests which file is loaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sekha_llm_bridge
from sekha_llm_bridge.config import bundled_path, find_config, load_settings
from sekha_llm_bridge.config.document import read_document
from sekha_llm_bridge.errors import ConfigError

PACKAGE = Path(sekha_llm_bridge.__file__).parent
PRINT_PATH = "from sekha_llm_bridge.config import settings; print(settings.path)"
FILE = """
providers:
  - {id: a, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 10}]}
"""


def test_the_bundled_file_is_found_in_a_parent_folder_of_the_package() -> None:
    assert bundled_path() == PACKAGE.parents[2] / "config" / "llm_providers.yaml"


def test_the_bundled_file_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None, environ={}) == bundled_path()
    assert find_config(None, environ={"LLM_CONFIG_PATH": " "}) == bundled_path()


def test_a_given_path_takes_precedence_over_the_variable(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    assert load_settings(tmp_path / "mine.yaml", environ={"LLM_CONFIG_PATH": "/nowhere"}).path.name == "mine.yaml"


def test_a_relative_path_in_the_variable_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "llm_providers.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    found = find_config(None, environ={"LLM_CONFIG_PATH": "config/llm_providers.yaml"})
    assert found.resolve() == tmp_path / "config" / "llm_providers.yaml"


def test_a_relative_path_in_the_variable_may_be_relative_to_the_bundled_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Lambda function the working directory is /var/task, and the file is in /opt/config."""
    monkeypatch.chdir(tmp_path)
    assert find_config(None, environ={"LLM_CONFIG_PATH": "config/llm_providers.yaml"}) == bundled_path()


def test_a_path_that_does_not_exist_is_reported_with_every_searched_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_config(None, environ={"LLM_CONFIG_PATH": "mine.yaml"})
    (fault,) = caught.value.faults
    assert str(tmp_path / "mine.yaml") in fault
    assert str(PACKAGE.parents[2] / "mine.yaml") in fault
    assert "correct LLM_CONFIG_PATH" in fault


def test_a_folder_is_reported_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        load_settings(tmp_path, environ={})


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read: Is a directory"):
        read_document(tmp_path)


def test_a_layer_reads_the_file_in_its_own_config_folder(tmp_path: Path) -> None:
    """In a layer, the package is in /opt/python and the file is in /opt/config."""
    opt = tmp_path / "opt"
    shutil.copytree(PACKAGE, opt / "python" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (opt / "config").mkdir()
    (opt / "config" / "llm_providers.yaml").write_text(FILE)
    assert _printed(PRINT_PATH, opt / "python", tmp_path).strip() == "opt/config/llm_providers.yaml"


def test_without_a_bundled_file_the_error_names_the_variable_to_set(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "lib" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    answer = _run(PRINT_PATH, tmp_path / "lib", tmp_path)
    assert answer.returncode == 1
    assert "set LLM_CONFIG_PATH to the path of your file" in answer.stderr


def _run(code: str, package_folder: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": str(package_folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, check=False)


def _printed(code: str, package_folder: Path, folder: Path) -> str:
    answer = _run(code, package_folder, folder)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout

"""The parsed form of a file says the same as the file, and is used only for the content that it was made of."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from sekha_llm_bridge.config.document import read_document
from sekha_llm_bridge.config.loader import load_settings
from sekha_llm_bridge.config.parsed_file import write_parsed
from sekha_llm_bridge.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
VALID = "# first\nproviders:\n  - id: local\n    provider_type: ollama\n    models:\n      - {model_id: m, task: chat_small, context_window: 8}\n"


@pytest.mark.parametrize("example", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_the_parsed_form_of_every_example_is_the_same_document(example: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(example.read_bytes())
    from_yaml = read_document(file)
    write_parsed(file)
    assert (tmp_path / "file.yaml.parsed.json").exists()
    assert read_document(file) == from_yaml


def test_a_file_that_was_changed_since_is_parsed_again(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(VALID)
    write_parsed(file)
    file.write_text(VALID.replace("id: local", "id: other"))
    assert [provider.id for provider in load_settings(file).providers] == ["other"]


@pytest.mark.parametrize("text", ["providers: [", "- 1", "a: 1\na: 2", "\xff"])
def test_a_file_with_faults_has_no_parsed_form(text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(text.encode("latin-1"))
    write_parsed(file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "written", ["", "[]", "{}", "null", '{"sha256": "HASH"}', '{"sha256": "HASH", "data": {}, "lines": 1}']
)
def test_a_parsed_form_that_this_release_cannot_read_is_ignored(written: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(VALID)
    text = written.replace("HASH", hashlib.sha256(file.read_bytes()).hexdigest())
    (tmp_path / "file.yaml.parsed.json").write_text(text)
    assert [provider.id for provider in load_settings(file).providers] == ["local"]


def test_a_fault_has_the_same_line_in_both_forms(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(VALID + "default_models:\n  chat_fast: absent\n")
    messages = []
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            load_settings(file)
        messages.append(caught.value.faults)
        write_parsed(file)
    assert messages[0] == messages[1]
    assert ":8: " in messages[0][0]


def test_a_parsed_file_is_loaded_without_importing_yaml(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(VALID)
    write_parsed(file)
    load = f"from sekha_llm_bridge.config import load_settings; load_settings({str(file)!r})"
    program = f"import sys; {load}; print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

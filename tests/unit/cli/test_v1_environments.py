"""`sekha-bridge migrate-env` on every folder of `tests/corpus/v1_environments`.

`expected.json` of a folder has the exit code, the settings that the bridge's loader must find in the YAML, part of the
reason of everything that is left out, and the secrets. Every secret of a file contains the word `fixture`.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.config import Settings, load_settings

CORPUS = Path(__file__).parents[2] / "corpus" / "v1_environments"
INPUTS = ("old.env", "docker-compose.yml", "config.yaml")
CASES = sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())

each_case = pytest.mark.parametrize("name", CASES)


def expected_of(name: str) -> dict[str, Any]:
    return dict(json.loads((CORPUS / name / "expected.json").read_text()))


def migrate(name: str, *options: str) -> Any:
    file = next(CORPUS / name / one for one in INPUTS if (CORPUS / name / one).is_file())
    return CliRunner().invoke(app, ["migrate-env", str(file), *options])


def document(name: str) -> dict[str, Any]:
    return dict(json.loads(migrate(name, "--json").stdout))


def loaded(yaml: str, folder: Path, environ: dict[str, str]) -> Settings:
    file = folder / "llm_providers.yaml"
    file.write_text(yaml, encoding="utf-8")
    return load_settings(file, environ=environ)


def value_at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for step in path.split("."):
        value = value[int(step)] if step.isdecimal() else getattr(value, step)
    value = list(map(str, value)) if isinstance(value, tuple) else value
    return str(value) if isinstance(value, Decimal) else value


@each_case
def test_the_loader_finds_the_settings_of_v1(name: str, tmp_path: Path) -> None:
    expected = expected_of(name)
    yaml = migrate(name).stdout
    for settings, environ in (("settings", {}), ("settings_with_environment", expected.get("with_environment", {}))):
        found = loaded(yaml, tmp_path, environ)
        wanted = expected.get(settings, {})
        assert {path: value_at(found, path) for path in wanted} == wanted


@each_case
def test_check_config_accepts_the_yaml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "llm_providers.yaml"
    file.write_text(migrate(name).stdout, encoding="utf-8")
    checked = CliRunner().invoke(app, ["check-config", str(file)])
    assert (checked.exit_code, checked.stderr) == (0, "")


@each_case
def test_exactly_the_settings_without_a_place_are_left_out_and_said(name: str) -> None:
    expected, answer, said = expected_of(name), migrate(name), document(name)
    reasons = {entry["setting"]: entry["reason"] for entry in said["left_out"]}
    assert reasons.keys() == expected["left_out"].keys()
    for setting, part in expected["left_out"].items():
        assert part in reasons[setting]
        line = next(line for line in answer.stderr.splitlines() if line.endswith(reasons[setting]))
        assert line.startswith("not carried over: ")
        assert setting in line
    assert (answer.exit_code == 1) == bool(expected["left_out"])
    assert answer.exit_code == expected["exit_code"]
    for note in expected.get("notes", []):
        assert f"{note}" in answer.stderr
    assert said["other_programs"] == expected.get("other_programs", [])


@each_case
def test_secrets_are_references_and_never_printed(name: str) -> None:
    answer, secrets = migrate(name), expected_of(name)["secrets"]
    assert "fixture" not in answer.output
    assert "fixture" not in migrate(name, "--json").output
    assert document(name)["secrets"] == secrets
    for secret in secrets:
        assert f"${{{secret}" in answer.stdout
        assert secret in next(
            line for line in answer.stderr.splitlines() if line.startswith("no secret is in the YAML")
        )


@each_case
def test_the_json_has_the_same_yaml_and_nothing_on_stderr(name: str) -> None:
    answer = migrate(name, "--json")
    assert (json.loads(answer.stdout)["yaml"], answer.stderr) == (migrate(name).stdout, "")
    assert answer.exit_code == migrate(name).exit_code

"""The commands, run through typer as a user types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sekha_llm_bridge
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.config.schema import schema_text

PACKAGE = Path(sekha_llm_bridge.__file__).parent
ROOT = Path(__file__).parents[3]
FILE = """
providers:
  - id: local
    provider_type: ollama
    models: [{model_id: "llama[8b]", task: chat_small, context_window: 8192}]
  - id: cloud
    provider_type: openai
    base_url: https://user:hunter2@host
    api_key: ${CLOUD_KEY}
    headers: {X-Key: hunter2}
    models:
      - {model_id: gpt-x, task: chat_smart, context_window: 10}
      - model_id: priced
        task: chat_small
        context_window: 10
        pricing: {input_usd_per_mtok: 0.15, output_usd_per_mtok: 0.6}
"""


def run(*arguments: str, **environ: str) -> Any:
    return CliRunner(env=environ).invoke(app, list(arguments))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "llm.yaml"
    path.write_text(FILE)
    return path


def test_check_config_shows_every_provider_and_model(file: Path) -> None:
    answer = run("check-config", str(file), CLOUD_KEY="hunter2")
    assert answer.exit_code == 0
    for text in ("local", "ollama, priority 50", "llama[8b]", "cloud", "gpt-x", "0.15 / 0.6", "8,192", "free"):
        assert text in answer.stdout
    assert "2 providers with 3 models in use" in answer.stdout
    assert "hunter2" not in answer.output


def test_check_config_shows_that_an_ollama_lists_its_models(tmp_path: Path) -> None:
    path = tmp_path / "llm.yaml"
    path.write_text(
        "providers: [{id: home, provider_type: ollama, models: auto}]\ndefault_models: {chat_fast: qwen3}\n"
    )
    answer = run("check-config", str(path))
    assert answer.exit_code == 0
    for text in ("auto", "what has been pulled there", "/api/chat", "/api/embed", "/api/tags"):
        assert text in answer.stdout
    flat = " ".join(answer.stdout.split())
    assert "1 provider with 0 models and what home has in use" in flat
    assert "warning: default_models.chat_fast: qwen3 is not configured, and can be used while home has it" in flat
    [shown] = json.loads(run("check-config", str(path), "--json").stdout)["providers"]
    assert (shown["lists_models"], shown["models"]) == (True, [])


def test_check_config_shows_a_disabled_provider_with_the_reason(file: Path) -> None:
    answer = run("check-config", str(file))
    assert answer.exit_code == 0
    assert "openai, disabled" in answer.stdout
    assert "provider cloud is disabled: ${CLOUD_KEY} has no value" in answer.stdout
    assert "1 provider with 1 model in use, 1 disabled" in answer.stdout


def test_check_config_prints_every_fault_on_stderr_and_exits_with_2(file: Path) -> None:
    file.write_text(FILE.replace("ollama", "olama").replace("window: 10\n", "window: 0\n"))
    answer = run("check-config", str(file))
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert f"{file}:4: providers[0].provider_type" in answer.stderr
    assert f"{file}:15: providers[1].models[1].context_window" in answer.stderr
    assert "2 faults: the configuration cannot be used" in answer.stderr


@pytest.mark.parametrize("example", sorted((ROOT / "config" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_on_a_machine_without_aws(example: Path) -> None:
    answer = run("check-config", str(example), AWS_REGION="", AWS_DEFAULT_REGION="")
    assert answer.exit_code == 0, answer.output
    assert f"{example.name}: valid" in answer.stdout.replace("\n", "")


def test_check_config_warns_of_bedrock_without_a_region() -> None:
    example = str(ROOT / "config" / "examples" / "bedrock.yaml")
    fault = "bedrock: give the `region` of Bedrock; without it, the bridge does not start"
    assert f"warning: {fault}" in run("check-config", example, AWS_REGION="", AWS_DEFAULT_REGION="").stdout
    assert (
        fault
        in json.loads(run("check-config", example, "--json", AWS_REGION="", AWS_DEFAULT_REGION="").stdout)["warnings"]
    )
    assert fault not in run("check-config", example, AWS_REGION="eu-west-1").stdout


def test_check_config_of_a_missing_file_exits_with_2(tmp_path: Path) -> None:
    answer = run("check-config", str(tmp_path / "none.yaml"))
    assert answer.exit_code == 2
    assert "no such file" in answer.stderr


def test_check_config_without_a_file_checks_the_configured_one(file: Path) -> None:
    assert str(file) in run("check-config", LLM_CONFIG_PATH=str(file)).stdout
    assert "config/llm_providers.yaml" in run("check-config").stdout


@pytest.mark.parametrize("limit", ["0.10", "0"])
def test_check_config_warns_of_models_without_a_known_price_under_a_cost_limit(file: Path, limit: str) -> None:
    file.write_text(f"{FILE}routing: {{max_cost_per_request: {limit}}}\n")
    answer = run("check-config", str(file), CLOUD_KEY="k")
    assert f"cloud: no price is known of gpt-x: the cost limit of ${limit} excludes what has none" in answer.stdout
    assert "no price is known of priced" not in answer.stdout
    assert "local: no price" not in answer.stdout


def test_check_config_does_not_mention_prices_without_a_cost_limit(file: Path) -> None:
    assert "no price is known" not in run("check-config", str(file), CLOUD_KEY="k").stdout


def test_check_config_says_which_cost_limit_applies_and_what_it_does_not_limit(file: Path) -> None:
    table = run("check-config", str(file), CLOUD_KEY="k", COLUMNS="200").stdout
    assert "cost limit: $1.00 for one request (the default: the file has no max_cost_per_request)" in table
    assert "it does not limit cloud/gpt-x: its price is not known" in table
    data = json.loads(run("check-config", str(file), "--json", CLOUD_KEY="k").stdout)["cost_limit"]
    assert (data["usd"], data["is_default"], list(data["unlimited_models"])) == ("1", True, ["cloud/gpt-x"])
    file.write_text(f"{FILE}routing: {{max_cost_per_request: null}}\n")
    assert "cost limit: none, because max_cost_per_request is null" in run("check-config", str(file)).stdout


def test_check_config_as_json_prints_providers_and_warnings(file: Path) -> None:
    answer = json.loads(run("check-config", str(file), "--json").stdout)
    assert (answer["ok"], answer["path"], answer["faults"]) == (True, str(file), [])
    local, cloud = answer["providers"]
    assert (local["id"], local["enabled"], local["reason"]) == ("local", True, None)
    assert local["models"][0] == {
        "model_id": "llama[8b]",
        "tasks": ["chat_small"],
        "context_window": 8192,
        "input_usd_per_mtok": "0",
        "output_usd_per_mtok": "0",
        "price_source": "free",
    }
    assert (cloud["enabled"], cloud["base_url"]) == (False, "https://***@host/v1")
    assert [model["price_source"] for model in cloud["models"]] == [None, "config"]
    assert cloud["models"][0]["input_usd_per_mtok"] is None
    assert "${CLOUD_KEY} has no value" in cloud["reason"]
    assert "hunter2" not in json.dumps(answer)


def test_check_config_shows_which_price_comes_from_the_dated_list(file: Path) -> None:
    file.write_text(FILE.replace("gpt-x", "gpt-4o").replace("https://user:hunter2@host", "https://api.openai.com"))
    source = json.loads(run("check-config", str(file), "--json").stdout)["providers"][1]["models"][0]["price_source"]
    assert re.fullmatch(r"genai-prices \d{4}-\d\d-\d\d", source)
    table = run("check-config", str(file), COLUMNS="150").stdout
    assert re.search(rf"gpt-4o .* 2\.5 / 10 +{source} *\n", table)
    assert re.search(r"priced .* 0\.15 / 0\.6 +config *\n", table)


def test_check_config_shows_the_urls_that_will_be_requested_without_passwords(file: Path) -> None:
    local, cloud = json.loads(run("check-config", str(file), "--json").stdout)["providers"]
    table = run("check-config", str(file), COLUMNS="50").stdout
    for url in (*local["urls"].values(), *cloud["urls"].values()):
        assert re.search(rf"^  (chat|embeddings|probe) +{re.escape(url)}$", table, re.MULTILINE)
    assert cloud["urls"] == {"chat": "https://***@host/v1/chat/completions", "probe": "https://***@host/v1/models"}
    assert "hunter2" not in table


def test_check_config_warns_of_a_proxy_that_cannot_be_used(file: Path) -> None:
    file.write_text(FILE.replace("${CLOUD_KEY}", "key"))
    answer = json.loads(run("check-config", str(file), "--json", ALL_PROXY="socks5://h:1080").stdout)
    assert any("ALL_PROXY in the environment is socks5://h:1080" in warning for warning in answer["warnings"])


def test_check_config_as_json_gives_the_faults_and_exit_code_2(file: Path) -> None:
    file.write_text("providers: []\n")
    answer = run("check-config", str(file), "--json")
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["ok"] is False
    assert json.loads(answer.stdout)["faults"] == [f"{file}:1: providers: needs at least one entry, is a list"]


def test_schema_prints_the_schema() -> None:
    assert run("schema").stdout == schema_text()


def test_version_prints_the_version() -> None:
    assert run("--version").stdout == f"{sekha_llm_bridge.__version__}\n"


def test_without_a_command_the_help_is_shown() -> None:
    answer = run()
    for command in ("up", "check-config", "schema", "migrate-env"):
        assert command in answer.output


def test_help_imports_neither_the_configuration_nor_an_aws_library() -> None:
    code = (
        "import sys\nfrom sekha_llm_bridge.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'sekha_llm_bridge.config', 'boto3', 'yaml', 'pydantic', 'httpx'} & set(sys.modules), sys.modules\n"
    )
    command = [sys.executable, "-c", code, "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_up_runs_the_checkouts_script_with_every_argument_and_its_exit_code(tmp_path: Path) -> None:
    checkout = _installed_in(tmp_path / "checkout" / "layers" / "bridge")
    script = tmp_path / "checkout" / "infra" / "local" / "up"
    script.parent.mkdir(parents=True)
    script.write_text('#!/bin/sh\necho "up: $*"\nexit 7\n')
    script.chmod(0o755)
    answer = _up(checkout, "--help", "--port", "9000", "-x", "word")
    assert (answer.returncode, answer.stdout) == (7, "up: --help --port 9000 -x word\n")


def test_up_outside_a_checkout_prints_the_reason_and_exits_with_2(tmp_path: Path) -> None:
    answer = _up(_installed_in(tmp_path / "site-packages"))
    assert answer.returncode == 2
    assert "clone the repository and run `infra/local/up` there" in answer.stderr


def _installed_in(folder: Path) -> Path:
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _up(package_folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": str(package_folder), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "up", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)

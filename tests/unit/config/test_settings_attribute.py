"""`from sekha_llm_bridge.config import settings` loads at first use, once, and prints no secret."""

import os
import subprocess
import sys
from pathlib import Path

import sekha_llm_bridge
from tests.unit.config.conftest import Load
from tests.unit.config.memory_secrets import MemorySecrets

PRINT = "from sekha_llm_bridge.config import settings; print(settings.providers)"
NO_AWS = "import sys; assert not {'boto3', 'botocore', 'aws_lambda_powertools'} & set(sys.modules)"
FILE_WITH_SECRETS = """
providers:
  - id: a
    provider_type: openai
    base_url: https://user:hunter2@host
    api_key: ${KEY}
    headers: {Authorization: Bearer hunter2, X-Key: "${ssm:/key}"}
    models: [{model_id: m, task: chat_small, context_window: 10}]
chroma: {auth_token: hunter2}
"""


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    package_folder = str(Path(sekha_llm_bridge.__file__).parents[1])
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": package_folder, **environ}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False)


def test_the_guides_command_prints_the_providers_with_secrets_masked(tmp_path: Path) -> None:
    path = tmp_path / "llm.yaml"
    path.write_text(FILE_WITH_SECRETS.replace("${ssm:/key}", "hunter2"))
    answer = run(PRINT, LLM_CONFIG_PATH=str(path), KEY="hunter2")
    assert answer.returncode == 0, answer.stderr
    assert "ProviderConfig(id='a'" in answer.stdout
    assert "base_url='https://***@host/v1'" in answer.stdout
    assert "hunter2" not in answer.stdout + answer.stderr


def test_no_way_of_printing_the_settings_shows_a_secret(load: Load) -> None:
    settings = load(FILE_WITH_SECRETS, {"KEY": "hunter2"}, MemorySecrets({"/key": "hunter2"}))
    assert len(settings.providers) == 1
    provider = settings.providers[0]
    assert provider.headers["X-Key"].get_secret_value() == "hunter2"
    for printed in (repr(settings), str(settings), str(provider), repr(provider), f"{provider!r} {settings.chroma}"):
        assert "hunter2" not in printed


def test_a_traceback_for_an_invalid_file_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "llm.yaml"
    path.write_text(FILE_WITH_SECRETS.replace("${ssm:/key}", "hunter2").replace("id: a", "id: a\n    priority: ${KEY}"))
    answer = run(PRINT, LLM_CONFIG_PATH=str(path), KEY="hunter2")
    assert answer.returncode == 1
    assert "must be a whole number, is the value of ${KEY}" in answer.stderr
    assert "hunter2" not in answer.stdout + answer.stderr


def test_variables_of_v1_give_one_warning_per_process() -> None:
    code = "import sekha_llm_bridge.config as c\nfrom sekha_llm_bridge.config import settings\nc.settings, c.settings"
    answer = run(code, CHAT_MODEL="llama3.1:8b", OLLAMA_BASE_URL="http://localhost:11434", OPENAI_API_KEY="k")
    assert answer.stderr.count("sekha-bridge migrate-env .env") == 1
    assert answer.stderr.count("OLLAMA_BASE_URL, CHAT_MODEL are set") == 1


def test_importing_the_package_reads_no_file_and_imports_no_aws_library() -> None:
    code = f"import sekha_llm_bridge.config\n{NO_AWS}"
    answer = run(code, LLM_CONFIG_PATH="/nowhere")
    assert answer.returncode == 0, answer.stderr


def test_loading_a_file_without_references_to_aws_imports_no_aws_library() -> None:
    assert run(f"{PRINT}\n{NO_AWS}").returncode == 0


def test_an_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    assert (
        "AttributeError: module 'sekha_llm_bridge.config' has no attribute 'setings'"
        in run("import sekha_llm_bridge.config as c; c.setings").stderr
    )


def test_load_or_exit_prints_every_fault_and_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "llm.yaml"
    path.write_text("a: 1\nb: 2\n")
    answer = run(f"from sekha_llm_bridge.config import load_or_exit; load_or_exit({str(path)!r})")
    assert answer.returncode == 2
    assert [line.split(": ")[1] for line in answer.stderr.splitlines()] == ["a", "b"]
    assert "Traceback" not in answer.stderr

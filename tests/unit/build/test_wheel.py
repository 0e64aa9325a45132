"""What `pip install .` gives: the client and the commands work with the packages that the wheel itself requires."""

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.fakes.servers import free_port

ROOT = Path(__file__).parents[3]
SCRIPT = "from importlib.metadata import entry_points as e; e(name='sekha-bridge')['sekha-bridge'].load()()"
CONFIG = "providers: [{id: p, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 99}]}]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout. Hatchling is installed, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(packages)
    installed = PathDistribution(next(packages.glob("sekha_llm_bridge-*.dist-info")))
    for required in required_by(installed):
        for entry in top_level_of(required):
            if not (packages / entry).exists():
                (packages / entry).symlink_to(Path(str(required.locate_file(entry))))
    return folder / "bin" / "python"


def required_by(installed: Distribution) -> Iterator[Distribution]:
    """Yields the distributions that are required without any extra, and those that they require in turn."""
    names, open_ones = set(), [installed]
    while open_ones:
        for text in open_ones.pop().requires or ():
            requirement = Requirement(text)
            is_wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if is_wanted and requirement.name not in names:
                names.add(requirement.name)
                found = distribution(requirement.name)
                open_ones.append(found)
                yield found


def top_level_of(installed: Distribution) -> set[str]:
    """Returns the names in `site-packages` that belong to a distribution."""
    return {file.parts[0] for file in installed.files or () if file.parts[0] not in {"..", "__pycache__"}}


def run(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "SEKHA_LOCAL_STACKS": "/nonexistent"}
    return subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, env=environ, cwd=python.parent, check=False
    )


def test_the_environment_lacks_what_the_wheel_does_not_require(python: Path) -> None:
    code = (
        "import importlib.util as u; print([n for n in ('fastapi', 'boto3', 'chromadb', 'pytest') if u.find_spec(n)])"
    )
    assert run(python, code).stdout == "[]\n"


def test_the_client_can_be_imported_and_used(python: Path) -> None:
    code = "from sekha_llm_bridge import LlmBridge, AsyncLlmBridge, BridgeError; print(LlmBridge(), AsyncLlmBridge())"
    answer = run(python, code)
    assert answer.stdout.startswith("LlmBridge('http://127.0.0.1:8000')"), answer.stderr


def test_the_wheel_has_the_marker_of_typed_packages_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "sekha_llm_bridge/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"sekha_llm_bridge"}


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["--help"], 0, "migrate-collections"),
        (["chat", "--help"], 0, "--no-stream"),
        (["schema"], 0, '"providers"'),
        (["check-config", "CONFIG"], 0, "1 provider with 1 model in use"),
        (["migrate-env", "ENV"], 0, "llama3.1:8b"),
        (["health", "--url", "URL"], 3, "cannot be reached"),
        (["chat", "Hi", "--url", "URL"], 3, "cannot be reached"),
        (["route", "--url", "URL"], 3, "cannot be reached"),
        (["models", "--url", "URL"], 3, "cannot be reached"),
        (["migrate-collections", "--chroma-url", "URL"], 2, "pip install 'sekha-llm-bridge[chroma]'"),
    ],
)
def test_a_command_works_or_names_the_extra(
    python: Path, tmp_path: Path, arguments: list[str], code: int, printed: str
) -> None:
    config, env = tmp_path / "llm.yaml", tmp_path / ".env"
    config.write_text(CONFIG)
    env.write_text("OLLAMA_BASE_URL=http://localhost:11434\nEMBEDDING_MODEL=nomic-embed-text\nCHAT_MODEL=llama3.1:8b\n")
    values = {"CONFIG": str(config), "ENV": str(env), "URL": f"http://127.0.0.1:{free_port()}"}
    answer = run(python, SCRIPT, *(values.get(one, one) for one in arguments))
    assert answer.returncode == code, answer.stderr
    assert printed in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr

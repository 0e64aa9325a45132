"""Tests of the script that Lambda starts in place of the runtime, in a checkout and in a built layer."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi
from tests.unit.lambda_runtime.conftest import WRAPPER, Runtime

PRINT_ARGUMENTS_AND_ENVIRONMENT = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


@pytest.mark.parametrize(
    "variables", [{"AWS_SAM_LOCAL": "true", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}, {"A": "1"}]
)
def test_lambdas_own_runtime_starts_unchanged_without_a_runtime_api_or_in_sam_local(variables: dict[str, str]) -> None:
    arguments = ["a b", "*", "", "$HOME"]
    done = subprocess.run(
        [WRAPPER, sys.executable, "-c", PRINT_ARGUMENTS_AND_ENVIRONMENT, *arguments],
        env=variables,
        capture_output=True,
        check=True,
    )
    passed_on, environment = json.loads(done.stdout)
    assert passed_on == arguments
    added = {"PWD", "SHLVL", "_", "LC_CTYPE", "OLDPWD"}  # by the shell and by Python
    assert {name: value for name, value in environment.items() if name not in added} == variables


def test_the_import_path_has_the_same_order_as_in_lambdas_runtime(
    runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path
) -> None:
    layer = built_layer(tmp_path)
    (tmp_path / "runtime").mkdir()
    (tmp_path / "more").mkdir()
    runtime.start(
        "handler = lambda event, context: [sys.path, os.environ['PYTHONPATH']]",
        wrapper=layer / "stream-responses",
        LAMBDA_RUNTIME_DIR=str(tmp_path / "runtime"),
        PYTHONPATH=str(tmp_path / "more"),
    )
    path, variable = json.loads(api.wait_until_finished(api.queue_event({})).payload)
    packages = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])
    expected = ["task", f"opt/python/{packages}", "opt/python", "runtime", "more"]
    assert path[:5] == [str(tmp_path / folder) for folder in expected]
    assert variable == str(tmp_path / "more")
    assert not [folder for folder in path if folder.endswith("/streaming")]


def test_a_layers_pth_files_are_read_as_in_lambdas_runtime(
    runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path
) -> None:
    layer = built_layer(tmp_path)
    (tmp_path / "named").mkdir()
    (layer / "python" / "more.pth").write_text(f"{tmp_path}/named\n")
    runtime.start("handler = lambda event, context: sys.path", wrapper=layer / "stream-responses")
    assert str(tmp_path / "named") in json.loads(api.wait_until_finished(api.queue_event({})).payload)


def test_pythonpath_is_the_runtimes_folder_unless_it_is_set(
    runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path
) -> None:
    runtime.start("handler = lambda event, context: os.environ['PYTHONPATH']", LAMBDA_RUNTIME_DIR=str(tmp_path))
    assert json.loads(api.wait_until_finished(api.queue_event({})).payload) == str(tmp_path)


def built_layer(folder: Path) -> Path:
    """Returns a folder with the script and the package, as the build creates it."""
    shutil.copytree(WRAPPER.parent / "sekha_llm_bridge", folder / "opt" / "python" / "sekha_llm_bridge")
    shutil.copy(WRAPPER, folder / "opt")
    return folder / "opt"

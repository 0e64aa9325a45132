"""What `sam build` makes, once per test run."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from environment import find_python, make
from tests.template.built import RUNTIME, RUNTIME_CLIENT, Build
from tests.template.cloudformation import ROOT
from tests.template.deployed import Deployed, deploy
from tests.template.switches import EVERYTHING


@pytest.fixture(scope="session")
def arm64_build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Made by the project's own command: the one that `sam deploy` would follow."""
    folder = tmp_path_factory.mktemp("arm64") / "build"
    command: list[str | Path] = [ROOT / "infra" / "build" / "run", "--build-dir", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return Build(folder, done.stdout)


@pytest.fixture(scope="session")
def built_here(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The layers alone, for this machine's processor, by way of a plain `sam build`'s Makefiles."""
    architecture = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")
    if not architecture or sys.platform != "linux":
        pytest.skip("the layers are for Linux on x86_64 or arm64")
    folder = tmp_path_factory.mktemp("here")
    for layer, target in (("bridge", "BridgeLayer"), ("chroma", "ChromaLayer"), ("encryption", "EncryptionLayer")):
        makefile = ROOT / "layers" / layer / architecture / "Makefile"
        env = dict(os.environ, ARTIFACTS_DIR=str(folder / target))
        command: list[str | Path] = ["make", "--makefile", makefile, f"build-{target}"]
        (folder / target).mkdir()
        subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return Build(folder, "")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime's own packages, lent by the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in (*RUNTIME, *RUNTIME_CLIENT):
        spec = find_spec(name)
        assert spec, f"{name} is not installed"
        assert spec.origin
        source = Path(spec.origin)
        source = source.parent if source.name == "__init__.py" else source
        (folder / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="session")
def opt(built_here: Build, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Path]:
    """Returns what `/opt` is for a function with these layers."""

    @cache
    def merged(layers: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp("opt") / "opt"
        for layer in layers:
            shutil.copytree(built_here.layer(layer), folder, copy_function=os.link, dirs_exist_ok=True)
        return folder

    return lambda layers: merged(tuple(layers))


@pytest.fixture(scope="session")
def lambda_python() -> Path:
    """A Python like Lambda's."""
    return find_python()


@pytest.fixture(scope="session")
def sam_python(lambda_python: Path) -> Path:
    """The Python of the SAM CLI's environment, which has the transform that CloudFormation runs."""
    return make("sam", lambda_python) / "bin" / "python"


@pytest.fixture(scope="session")
def deployed(sam_python: Path) -> Callable[..., Deployed]:
    """Returns what is deployed with these parameters; those that are not named are at their default."""
    known: dict[frozenset[tuple[str, str]], Deployed] = {}

    def with_parameters(parameters: Mapping[str, str] | None = None) -> Deployed:
        key = frozenset((parameters or {}).items())
        if key not in known:
            known[key] = deploy(sam_python, [dict(key)])[0]
        return known[key]

    return with_parameters


@pytest.fixture(scope="session")
def everything(deployed: Callable[..., Deployed]) -> Deployed:
    """What is deployed with every switch on."""
    return deployed(EVERYTHING)

"""A deployment of the bridge on this machine: its environment variables, configuration and packages."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge_bench.endpoints import configuration
from environment import find_python

_BENCHMARKS = Path(__file__).resolve().parents[1]
_PACKAGES_OF_THE_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")
_REMOVED_VARIABLES = {
    *("STATE_TABLE", "CHROMA_TOKEN", "CHROMA_URL", "POWERTOOLS_DEV", "POWERTOOLS_LOG_LEVEL"),
    "PYTHONDONTWRITEBYTECODE",  # the layer's modules are compiled, so the measured ones are too
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """The Python command and environment variables of the measuring processes."""

    python: Sequence[str]
    env: Mapping[str, str]

    def run_module(self, module: str, *arguments: str, stdin_text: str = "") -> str:
        """Runs a module in a new process and returns what it writes. Raises SystemExit if it fails."""
        command = [*self.python, "-m", module, *arguments]
        done = subprocess.run(command, input=stdin_text, env=self.env, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{module} failed")
        return done.stdout


@contextmanager
def local_deployment(port: int, layer: Path | None, provider_type: str = "openai") -> Iterator[Deployment]:
    """Yields a deployment whose providers and state table are all at `port`. `provider_type`: see `configuration`.

    With a `layer`, it imports only that layer and the packages of Lambda's runtime.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "llm_providers.yaml"
        file.write_text(configuration(port, provider_type))
        env = {name: value for name, value in os.environ.items() if name not in _REMOVED_VARIABLES}
        env |= {"LLM_CONFIG_PATH": str(file), "POWERTOOLS_SERVICE_NAME": "sekha-llm-bridge"}
        env |= {"STATE_TABLE": "breakers", "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}
        env |= {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        env["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "compiled")
        if layer is None:
            yield Deployment([sys.executable], env)
        else:
            paths = (_BENCHMARKS, layer.resolve() / "python", runtime_packages(Path(folder) / "runtime"))
            yield Deployment([sys.executable, "-S"], {**env, "PYTHONPATH": os.pathsep.join(map(str, paths))})


def runtime_packages(folder: Path) -> Path:
    """Creates `folder` with copies of the installed packages that Lambda's runtime has besides the layer, compiled as
    they are there.
    """
    folder.mkdir()
    for name in _PACKAGES_OF_THE_RUNTIME:
        source = Path(sysconfig.get_path("purelib")) / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("data", "__pycache__"))
        else:
            shutil.copy(source, folder)
    command: list[str | Path] = [
        find_python(),
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        folder,
    ]
    subprocess.run(command, check=True)
    return folder

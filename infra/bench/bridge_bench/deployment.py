"""The bridge as it is deployed, on this machine: its environment, its configuration, and the packages it imports."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge_bench.endpoints import configuration

_BENCHMARKS = Path(__file__).resolve().parents[1]
_IN_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")
_NOT_TAKEN_OVER = {
    *("STATE_TABLE", "CHROMA_TOKEN", "CHROMA_URL", "POWERTOOLS_DEV", "POWERTOOLS_LOG_LEVEL"),
    "PYTHONDONTWRITEBYTECODE",  # the layer's modules are compiled, so those measured are too
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """How the processes that measure are started."""

    python: Sequence[str]
    env: Mapping[str, str]

    def said(self, module: str, *arguments: str, told: str = "") -> str:
        """What a module of the benchmark's own writes, in a process of its own. Raises SystemExit when it fails."""
        command = [*self.python, "-m", module, *arguments]
        done = subprocess.run(command, input=told, env=self.env, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{module} failed")
        return done.stdout


@contextmanager
def deployed(port: int, layer: Path | None) -> Iterator[Deployment]:
    """A deployment whose providers and table are all at `port`; with a `layer`, it has that and Lambda's runtime."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "llm_providers.yaml"
        file.write_text(configuration(port))
        env = {name: value for name, value in os.environ.items() if name not in _NOT_TAKEN_OVER}
        env |= {"LLM_CONFIG_PATH": str(file), "POWERTOOLS_SERVICE_NAME": "sekha-llm-bridge"}
        env |= {"STATE_TABLE": "breakers", "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}
        env |= {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        env["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "compiled")
        if layer is None:
            yield Deployment([sys.executable], env)
        else:
            paths = (_BENCHMARKS, layer.resolve() / "python", _runtime(Path(folder) / "runtime"))
            yield Deployment([sys.executable, "-S"], {**env, "PYTHONPATH": os.pathsep.join(map(str, paths))})


def _runtime(folder: Path) -> Path:
    """Fills `folder` with what Lambda's runtime has beside the layer, by links to this environment's own."""
    folder.mkdir()
    for name in _IN_RUNTIME:
        (folder / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    return folder

"""What a build made, and what a function sees of it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

# What Lambda's runtime has beside the layers.
RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
# Lambda's runtime client, and what it needs.
RUNTIME_CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


@dataclass(frozen=True, slots=True)
class Build:
    """A folder of built functions and layers, and what the build printed."""

    folder: Path
    output: str

    def layer(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True, slots=True)
class Lambda:
    """The folders that a function sees: its own code, `/opt` with its layers one over the other, and the runtime's."""

    python: Path
    task: Path
    opt: Path
    runtime: Path

    def run(self, code: str) -> str:
        """The last line that `code` prints, in a Python 3.13 that sees those folders and nothing else installed."""
        folders = [str(self.task), str(self.opt / "python"), str(self.runtime)]
        program = f"import sys\nsys.path[:0] = {folders!r}\n{code}"
        env = {"AWS_REGION": "eu-west-1", "STATE_TABLE": "breakers", "POWERTOOLS_SERVICE_NAME": "test"}
        command: list[str | Path] = [self.python, "-I", "-S", "-B", "-c", program]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

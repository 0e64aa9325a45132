"""Builds one Lambda layer into a folder. `sam build` calls it through the Makefiles in `layers/`.

    python3 infra/build/layer.py bridge|chroma arm64|x86_64 FOLDER

Packages come as wheels for Lambda's Python and processor, whatever machine this is, in the versions and with the
hashes of `infra/locks`. They are compiled here: in Lambda `/opt` is read-only, and importing from source takes
twice as long. What is built depends on the checkout alone, so deploying the same checkout twice changes nothing.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import LAMBDA_PYTHON, LOCKS, find_python, installer_environment, uv_for, version_of  # noqa: E402 — its folder is put on the path above

# Lambda's python3.13 runs on Amazon Linux 2023, whose glibc is 2.34.
PLATFORMS = {"arm64": "aarch64-manylinux_2_34", "x86_64": "x86_64-manylinux_2_34"}
# boto3 and what it brings are in Lambda's runtime, and Lambda keeps them in step with its services.
IN_RUNTIME = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"})
# tiktoken asks for them to fetch tables and to look for special tokens, which the bridge never does.
NEVER_IMPORTED = frozenset({"charset-normalizer", "regex", "requests"})
# The bridge uses Powertools' Logger, Metrics and Parameters; these parts they do not import.
OF_POWERTOOLS = (
    *("event_handler", "utilities/auth_alpha", "utilities/batch", "utilities/circuit_breaker"),
    *("utilities/data_classes", "utilities/data_masking", "utilities/feature_flags", "utilities/idempotency"),
    *("utilities/kafka", "utilities/metadata", "utilities/parser", "utilities/streaming", "utilities/validation"),
)
# Left out of what is installed: tests, typing stubs, C headers, and what only an installer reads. Licences stay,
# and so does the packages' metadata, which OpenTelemetry finds its parts by.
NEEDLESS = (
    *("bin", ".lock", "**/tests", "**/*.pyi", "**/*.pxd", "**/*.h", "**/*.a"),
    *("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED"),
    "pydantic/v1",  # FastAPI looks whether it is there
    "fastapi/.agents",
    *(f"aws_lambda_powertools/{part}" for part in OF_POWERTOOLS),
)
CODE = ROOT / "layers" / "bridge" / "sekha_llm_bridge"
START = "stream-responses"
NOT_DEPLOYED = shutil.ignore_patterns("cli", "__pycache__", "*.pyc")


def build(layer: str, architecture: str, folder: Path) -> None:
    """Fills `folder` with what is to be `/opt`: `python/`, and for the bridge `config/` and the start script."""
    python = find_python()
    if version_of(python) != LAMBDA_PYTHON:
        wanted = "python{}.{}".format(*LAMBDA_PYTHON)
        raise SystemExit(f"{wanted} is needed, to compile for Lambda's. Install it, or put its folder on PATH.")
    packages = folder / "python"
    install(requirements(layer), PLATFORMS[architecture], packages, python)
    for pattern in NEEDLESS:
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if layer == "bridge":
        add_bridge(folder)
    compile_all(folder, python)


def add_bridge(folder: Path) -> None:
    """The bridge's own code, which looks for `config/` above itself, and so finds it in a layer as in a checkout; and
    what starts a function that streams.
    """
    shutil.copytree(CODE, folder / "python" / CODE.name, ignore=NOT_DEPLOYED)
    (folder / "config").mkdir()
    for file in sorted((ROOT / "config").glob("*.yaml")):
        shutil.copy(file, folder / "config")
    shutil.copy(CODE.parent / START, folder)  # with its mode: Lambda executes it


def requirements(layer: str) -> str:
    """The layer's part of its lock: without what the runtime has, what is never imported and, on top of the bridge's
    layer, what that has.
    """
    wanted = locked(layer)
    below = {} if layer == "bridge" else locked("bridge")
    apart = sorted(name for name in wanted.keys() & below if version(wanted[name]) != version(below[name]))
    if apart:
        raise SystemExit(f"The locks of the two layers differ in {', '.join(apart)}. Run infra/locks/refresh.")
    elsewhere = IN_RUNTIME | (NEVER_IMPORTED if layer == "bridge" else below.keys() - NEVER_IMPORTED)
    return "".join(text for name, text in wanted.items() if name not in elsewhere)


def locked(layer: str) -> dict[str, str]:
    """Package → its entry in the lock: version, hashes, and by comments why it is there."""
    entries = re.split(r"^(?=\w)", (LOCKS / f"layer-{layer}.txt").read_text(), flags=re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in entries[1:]}


def version(entry: str) -> str:
    """The line `package==version`, with its condition if it has one."""
    return entry.splitlines()[0]


def install(required: str, platform: str, folder: Path, python: Path) -> None:
    """Installs what is `required`, and nothing else, into `folder`."""
    command: list[str | Path] = [uv_for(python), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--python-version", ".".join(map(str, LAMBDA_PYTHON))]
    command += ["--python-platform", platform, "--target", folder, "--requirements", "-"]
    done = subprocess.run(command, input=required, text=True, check=False, env=installer_environment())
    if done.returncode != 0:
        raise SystemExit("The packages could not be installed.")


def compile_all(folder: Path, python: Path) -> None:
    """Compiles with hashes that Python does not check: times and paths of this machine mean nothing in Lambda."""
    command: list[str | Path] = [python, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", folder, "-p", "/opt", folder / "python"]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit("The packages could not be compiled.")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in {"bridge", "chroma"} or sys.argv[2] not in PLATFORMS:
        raise SystemExit(__doc__)
    build(sys.argv[1], sys.argv[2], Path(sys.argv[3]).absolute())

"""Builds one Lambda layer into a folder. `sam build` calls it through the Makefiles in `layers/`.

    python3 infra/build/layer.py bridge|chroma|encryption arm64|x86_64 FOLDER

The packages are wheels for Lambda's Python and processor, with the versions and hashes of `infra/locks`. They are
compiled here, because `/opt` is read-only in Lambda, and importing from source takes twice as long. The result depends
only on the checkout, so a second deployment of the same checkout changes nothing.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import LAMBDA_PYTHON, LOCKS, find_python, installer_environment, uv_for, version_of  # noqa: E402 — needs the path that is set above

# Lambda's python3.13 runs on Amazon Linux 2023, whose glibc is 2.34.
PLATFORMS = {"arm64": "aarch64-manylinux_2_34", "x86_64": "x86_64-manylinux_2_34"}
# boto3 and its dependencies are in Lambda's runtime, where AWS updates them with its services.
IN_RUNTIME = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"})
# Dependencies of tiktoken for downloading tables and finding special tokens. The bridge does neither.
NEVER_IMPORTED = frozenset({"charset-normalizer", "regex", "requests"})
# The bridge uses Powertools' Logger, Metrics and Parameters, which do not import these parts.
UNUSED_POWERTOOLS = (
    *("event_handler", "utilities/auth_alpha", "utilities/batch", "utilities/circuit_breaker"),
    *("utilities/data_classes", "utilities/data_masking", "utilities/feature_flags", "utilities/idempotency"),
    *("utilities/kafka", "utilities/metadata", "utilities/parser", "utilities/streaming", "utilities/validation"),
)
# Files to delete: tests, typing stubs, C headers, and files for installers. Licences stay, and so does the packages'
# metadata, which OpenTelemetry needs to find its parts.
UNUSED_FILES = (
    *("bin", ".lock", "**/tests", "**/*.pyi", "**/*.pxd", "**/*.h", "**/*.a"),
    *("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED"),
    "pydantic/v1",  # FastAPI works without it
    "yaml/_yaml.*.so",  # the build parses the configuration; another file would be parsed in Python, in 12 ms more
    "fastapi/.agents",
    *(f"aws_lambda_powertools/{part}" for part in UNUSED_POWERTOOLS),
)
# FastAPI builds the validators of OpenAPI's models while it is imported: a sixth of the start of an empty function. The
# layer lets pydantic build them at their first use, which never comes, see infra/decisions/0046.
OPENAPI_MODELS = Path("fastapi") / "openapi" / "models.py"
DEFERRED = (
    ('    model_config = {"extra": "allow"}\n', '    model_config = {"extra": "allow", "defer_build": True}\n'),
    ("\nSchema.model_rebuild()\nOperation.model_rebuild()\nEncoding.model_rebuild()\n", ""),
)
LAYERS = ("bridge", "chroma", "encryption")
CODE = ROOT / "layers" / "bridge" / "sekha_llm_bridge"
PARSER = "sekha_llm_bridge.config.parsed_file"
START = "stream-responses"
NOT_DEPLOYED = shutil.ignore_patterns("cli", "__pycache__", "*.pyc")


def build(layer: str, architecture: str, folder: Path) -> None:
    """Builds the content of `/opt` in `folder`: `python/`, and for the bridge `config/` and the start script."""
    python = find_python()
    if version_of(python) != LAMBDA_PYTHON:
        wanted = "python{}.{}".format(*LAMBDA_PYTHON)
        raise SystemExit(f"{wanted} is needed to compile the packages. Install it, or put its folder on PATH.")
    packages = folder / "python"
    install(requirements(layer), PLATFORMS[architecture], packages, python)
    for pattern in UNUSED_FILES:
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if layer == "bridge":
        defer_openapi_models(packages / OPENAPI_MODELS)
        add_bridge(folder)
        parse_configuration(folder, python)
    compile_all(folder, python)


def defer_openapi_models(file: Path) -> None:
    """Changes the file by `DEFERRED`. Stops the build where a newer FastAPI has other lines there."""
    text = file.read_text()
    for old, new in DEFERRED:
        if text.count(old) != 1:
            raise SystemExit(f"{file} has not once {old.strip()!r}. Adapt or remove DEFERRED in infra/build/layer.py.")
        text = text.replace(old, new)
    file.unlink()  # it may be a hard link into the installer's cache, which must not change
    file.write_text(text)


def add_bridge(folder: Path) -> None:
    """Copies the bridge's code, `config/` and the script that starts streaming functions.

    The code looks for `config/` in the folders above itself, so it works in a layer and in a checkout.
    """
    shutil.copytree(CODE, folder / "python" / CODE.name, ignore=NOT_DEPLOYED)
    (folder / "config").mkdir()
    for file in sorted((ROOT / "config").glob("*.yaml")):
        shutil.copy(file, folder / "config")
    shutil.copy(CODE.parent / START, folder)  # keeps the executable bit, which Lambda needs


def parse_configuration(folder: Path, python: Path) -> None:
    """Writes the parsed form of the configuration, by the code and the packages of the layer itself."""
    run = f"import runpy, sys; sys.path.insert(0, {str(folder / 'python')!r})"
    program = f"{run}; runpy.run_module({PARSER!r}, run_name='__main__')"
    files = sorted((folder / "config").glob("*.yaml"))
    if subprocess.run([python, "-I", "-S", "-B", "-c", program, *files], check=False).returncode != 0:
        raise SystemExit("The configuration could not be parsed.")


def requirements(layer: str) -> str:
    """Returns the packages of the layer from its lock, without those in the runtime and those that are never imported.

    The other layers also omit the packages of the bridge's layer, which they are always used with.
    """
    packages = locked(layer)
    bridge = {} if layer == "bridge" else locked("bridge")
    different = sorted(name for name in packages.keys() & bridge if version(packages[name]) != version(bridge[name]))
    if different:
        raise SystemExit(f"The locks of the two layers differ in {', '.join(different)}. Run infra/locks/refresh.")
    omitted = IN_RUNTIME | (NEVER_IMPORTED if layer == "bridge" else bridge.keys() - NEVER_IMPORTED)
    return "".join(text for name, text in packages.items() if name not in omitted)


def locked(layer: str) -> dict[str, str]:
    """Returns package → its entry in the lock: the version, the hashes, and comments with the packages that require
    it."""
    entries = re.split(r"^(?=\w)", (LOCKS / f"layer-{layer}.txt").read_text(), flags=re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in entries[1:]}


def version(entry: str) -> str:
    """Returns the line `package==version`, with its condition, if any."""
    return entry.splitlines()[0]


def install(required: str, platform: str, folder: Path, python: Path) -> None:
    """Installs the `required` packages without their dependencies into `folder`."""
    command: list[str | Path] = [uv_for(python), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--python-version", ".".join(map(str, LAMBDA_PYTHON))]
    command += ["--python-platform", platform, "--target", folder, "--requirements", "-"]
    done = subprocess.run(command, input=required, text=True, check=False, env=installer_environment())
    if done.returncode != 0:
        raise SystemExit("The packages could not be installed.")


def compile_all(folder: Path, python: Path) -> None:
    """Compiles the packages to bytecode that Python does not compare with the source files' times, which change in
    Lambda."""
    command: list[str | Path] = [python, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", folder, "-p", "/opt", folder / "python"]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit("The packages could not be compiled.")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in LAYERS or sys.argv[2] not in PLATFORMS:
        raise SystemExit(__doc__)
    build(sys.argv[1], sys.argv[2], Path(sys.argv[3]).absolute())

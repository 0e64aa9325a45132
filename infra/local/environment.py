"""Creates the project's own Python environments from locked versions. It needs only Python ≥ 3.11 and a package index.

It only imports the standard library, because it runs before anything is installed. An environment is in
`.local/envs/NAME`. It is created again only when its lock file or its Python has changed.

    python3 infra/local/environment.py up [ARGS]     create the environments of the local stack, then start it
    python3 infra/local/environment.py test [ARGS]   create all environments, then run every check and test
    python3 infra/local/environment.py clients ARGS  run pytest on the clients that have an environment of their own
    python3 infra/local/environment.py agents ARGS   run pytest on the coding agents
    python3 infra/local/environment.py fuzz ARGS     run pytest on the tests with generated requests
    python3 infra/local/environment.py browser ARGS  run pytest on the tests that need a browser
    python3 infra/local/environment.py bench [ARGS]  create the environment of a benchmark, then run it
    python3 infra/local/environment.py make NAME     create one environment, print its folder
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MIN_PYTHON = (3, 11)
if sys.version_info < MIN_PYTHON:  # an older python3 would fail below with an unclear error
    sys.exit("Python {}.{} or newer is needed as python3; this is {}.{}.".format(*MIN_PYTHON, *sys.version_info[:2]))

import tomllib  # noqa: E402 — an older Python does not have this module

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".local"
LOCKS = ROOT / "infra" / "locks"
LAMBDA_PYTHON = (3, 13)

# Environment → its lock files. The packages in NO_DEPENDENCIES are installed without their dependencies (see
# pyproject.toml).
ENVIRONMENTS = {
    "bridge": ("bridge",),
    "chroma": ("chroma-server",),
    "model": ("model", "model-weights"),
    "sam": ("sam",),
    "audit": ("audit",),
    "clients": ("clients",),
    "client-libraries": ("client-libraries",),
    "checkov": ("checkov",),
}
ON_DEMAND = frozenset({"audit", "checkov", "clients"})  # each only for a command of its own
NO_DEPENDENCIES = frozenset({"model-weights"})
# Command → the module to run in the bridge's environment, and the folders on PYTHONPATH.
COMMANDS = {
    "up": ("local_stack", ("infra/local",)),
    "test": ("local_checks", ("infra/local",)),
    "clients": ("pytest", ("infra/local", "layers/bridge", ".")),
    "agents": ("pytest", ("infra/local", "layers/bridge", ".")),
    "fuzz": ("pytest", ("infra/local", "layers/bridge", ".")),
    "browser": ("pytest", ("infra/local", "layers/bridge", ".")),
    "bench": ("bridge_bench", ("infra/bench", "infra/local", "layers/bridge", ".")),
}


def find_python() -> Path:
    """Returns an interpreter of Lambda's version if the machine has one, else the one that runs this script."""
    for candidate in _pythons():
        if version_of(candidate) == LAMBDA_PYTHON:
            return candidate.resolve()
    return _this_python().resolve()


def _this_python() -> Path:
    """Returns the interpreter that runs this script; in a virtual environment, its base interpreter."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable)


def _pythons() -> Iterator[Path]:
    """Yields possible paths of a Python 3.13: this one, those on PATH, and those of a version manager such as pyenv."""
    name = "python{}.{}".format(*LAMBDA_PYTHON)
    yield _this_python()
    for folder in os.get_exec_path():
        if (Path(folder) / name).is_file():
            yield Path(folder) / name
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for versions in (Path(sys.base_prefix).parent, pyenv / "versions"):
        yield from sorted(versions.glob("{}.{}.*/bin/{}".format(*LAMBDA_PYTHON, name)), reverse=True)


def version_of(python: Path) -> tuple[int, ...] | None:
    """Returns (major, minor), or None when `python` does not run, such as a version manager's shim of an inactive
    version."""
    answer = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    return tuple(map(int, answer.stdout.split())) if answer.returncode == 0 else None


def make(name: str, python: Path) -> Path:
    """Creates environment `name` if it is missing or outdated, and returns its folder. A lock excludes other
    processes."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _make(name, python)


def _make(name: str, python: Path) -> Path:
    folder = HOME / "envs" / name
    stamp = folder / "made-from"
    expected = _fingerprint(name, python)
    if stamp.is_file() and stamp.read_text() == expected:
        return folder
    started = time.monotonic()
    print(f"  installing {name} …", end="", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    installer = uv_for(python)
    _run([installer, "venv", "--quiet", "--python", python, folder])
    install: list[str | Path] = [installer, "pip", "install", "--quiet", "--python", folder]
    for lock in ENVIRONMENTS[name]:
        options = ["--no-deps"] if lock in NO_DEPENDENCIES else []
        _run([*install, "--require-hashes", *options, "-r", LOCKS / f"{lock}.txt"])
    if name == "bridge":
        _run([*install, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    stamp.write_text(expected)
    print(f" {time.monotonic() - started:.1f} s", flush=True)
    return folder


def _fingerprint(name: str, python: Path) -> str:
    parts = [str(python), str(version_of(python)), str(ROOT)]
    parts += [(LOCKS / f"{lock}.txt").read_text() for lock in ENVIRONMENTS[name]]
    if name == "bridge":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        parts.append(repr((project["build-system"], project["project"], project["tool"]["hatch"])))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def uv_for(python: Path) -> Path:
    """Installs the locked uv with pip, and returns its path. uv installs the other packages several times faster than
    pip."""
    folder = HOME / "tools"
    program = folder / "bin" / "uv"
    expected = (LOCKS / "uv.txt").read_text()
    stamp = folder / "made-from"
    if stamp.is_file() and stamp.read_text() == expected:
        return program
    shutil.rmtree(folder, ignore_errors=True)
    install: list[str | Path] = ["install", "--quiet", "--require-hashes", "--disable-pip-version-check"]
    install += ["-r", LOCKS / "uv.txt"]
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        _run([python, "-m", "pip", *install, "--target", folder])
    else:  # a Python without pip may still have venv, which installs pip
        _run([python, "-m", "venv", folder / "pip"])
        _run([folder / "pip" / "bin" / "python", "-m", "pip", *install, "--target", folder])
    stamp.write_text(expected)
    return program


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=installer_environment()
    )
    if done.returncode != 0:
        print(f"\n{done.stdout}\nfailed: {' '.join(map(str, command))}", file=sys.stderr)
        raise SystemExit(1)


def installer_environment() -> dict[str, str]:
    """Returns this process's environment, with pip's index settings translated for uv, which does not read them."""
    env = dict(os.environ)
    for pip_name, uv_name in (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ):
        if pip_name in env:
            env.setdefault(uv_name, env[pip_name])
    if "UV_DEFAULT_INDEX" not in env and (configured := _pip_index()):
        env["UV_DEFAULT_INDEX"] = configured
    # Packages must not be installed into an active environment of the user.
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"):
        env.pop(name, None)
    return env


def _pip_index() -> str:
    """Returns the index in pip's configuration, or an empty text."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: list[str]) -> None:
    """Runs the command in `arguments`; see the module's docstring."""
    command, rest = (arguments[0] if arguments else ""), arguments[1:]
    if command not in {*COMMANDS, "make"}:
        raise SystemExit(__doc__)
    python = find_python()
    if command == "make":
        print(make(rest[0], python))
        return
    module, folders = COMMANDS[command]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(str(ROOT / folder) for folder in folders))
    bridge = make("bridge", python) / "bin" / "python"
    os.execve(bridge, [str(bridge), "-m", module, *rest], env)  # noqa: S606 — the command replaces this process, so that a signal reaches it


if __name__ == "__main__":
    main(sys.argv[1:])

"""Checks `template.yaml` and builds the deployment package with the project's own SAM CLI. Prints the layers' sizes,
and lists their content in `sbom.cdx.json`.

    infra/build/run                         for Lambda's arm64
    infra/build/run --architecture x86_64   for `sam local` on a PC

`sam local` and `sam deploy` need the same value: --parameter-overrides Architecture=x86_64.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

import bill_of_materials  # noqa: E402 — needs the path that is set above
from environment import find_python, make  # noqa: E402 — as above


def main() -> None:
    """Runs `sam validate --lint` and `sam build`; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="infra/build/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", choices=["arm64", "x86_64"], default="arm64")
    parser.add_argument("--build-dir", type=Path, default=ROOT / ".aws-sam" / "build", help="default: .aws-sam/build")
    options = parser.parse_args()
    python = find_python()
    sam = make("sam", python) / "bin" / "sam"
    env = dict(os.environ, SAM_CLI_TELEMETRY="0", PATH=f"{folder_of(python)}{os.pathsep}{os.environ['PATH']}")
    template = ["--template-file", str(ROOT / "template.yaml")]
    run([sam, "validate", "--lint", *template], env)
    build = ["--build-dir", str(options.build_dir), "--parameter-overrides", f"Architecture={options.architecture}"]
    run([sam, "build", *template, *build], env)
    bill_of_materials.write(options.build_dir)
    for layer in sorted(options.build_dir.glob("*Layer")):
        print(f"{layer.name:16}{size_mb(layer):6.1f} MB unzipped")


def folder_of(python: Path) -> str:
    """Returns the folder of `python` itself: SAM runs the first python3.13 on PATH, which may be a version manager's
    shim."""
    code = "import sys; print(sys.executable)"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return str(Path(answer.stdout.strip()).parent)


def run(command: list[str | Path], env: dict[str, str]) -> None:
    """Runs `command` in the checkout. Exits with its exit code when it fails."""
    done = subprocess.run(command, cwd=ROOT, env=env, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def size_mb(folder: Path) -> float:
    """Returns the size of the files in millions of bytes, which Lambda compares with its limit."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()

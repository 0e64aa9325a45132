"""Asks a public service for the known vulnerabilities of the packages that the layers carry, with pip-audit.

    infra/build/audit                  by the advisories of PyPI
    infra/build/audit --service osv    by those of osv.dev

Only names and versions are sent. The exit code is 0 if no vulnerability is known, 1 if one is, and 3 if the service did
not answer for every package: then nothing is known. pip-audit, its own environment, is installed by the first run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import find_python, make  # noqa: E402 — needs the path that is set above
from layer import LAYERS, requirements  # noqa: E402 — as above

NONE_KNOWN, VULNERABLE, NOT_ASKED = 0, 1, 3


def main() -> int:
    """Audits the packages of all layers. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="infra/build/audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi", help="who is asked (default: pypi)")
    service = parser.parse_args().service
    pip_audit = make("audit", find_python()) / "bin" / "pip-audit"
    with tempfile.TemporaryDirectory() as folder:
        packages, report = Path(folder) / "packages.txt", Path(folder) / "report.json"
        packages.write_text("".join(map(requirements, LAYERS)), encoding="utf-8")
        command: list[str | Path] = [pip_audit, "--disable-pip", "--require-hashes", "--requirement", packages]
        command += [
            "--vulnerability-service",
            service,
            "--format",
            "json",
            "--output",
            report,
            "--progress-spinner",
            "off",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = report.read_text(encoding="utf-8") if report.is_file() else ""
    code, message = verdict(found, done.stderr)
    print(message, file=sys.stdout if code == NONE_KNOWN else sys.stderr)
    return code


def verdict(report: str, errors: str) -> tuple[int, str]:
    """Returns the exit code and the message for pip-audit's `report`, which is empty when it wrote none, and `errors`.

    pip-audit itself succeeds when the service knows none of the packages: a mirror of an index without advisories.
    """
    if not report.strip():
        reason = (errors.strip().splitlines() or ["pip-audit wrote no report"])[-1]
        return NOT_ASKED, f"The service of advisories could not be asked, so nothing is known. {reason}"
    packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    lines = [line for package in packages for line in _lines(package)]
    if lines:
        return VULNERABLE, "\n".join([*lines, f"Known vulnerabilities: {len(lines)}."])
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        return NOT_ASKED, (
            f"The service of advisories did not answer for {len(skipped)} of {len(packages)} packages, so nothing is"
            f" known about them: {', '.join(skipped)}. Is the service reachable? Try --service osv."
        )
    return NONE_KNOWN, f"No vulnerability is known in the packages of the layers ({len(packages)})."


def _lines(package: dict[str, Any]) -> list[str]:
    """Returns one line for each vulnerability of a package."""
    return [
        f"{package['name']} {package['version']}: {one['id']}, fixed in {' or '.join(one['fix_versions']) or 'none'}"
        for one in package.get("vulns", [])
    ]


if __name__ == "__main__":
    sys.exit(main())

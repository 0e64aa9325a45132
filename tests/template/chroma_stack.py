"""The script that sets up the instance of `infra/chroma.yaml`, and the script within it that configures the proxy."""

from pathlib import Path
from typing import Any

from local_stack.cloudformation import load
from tests.template.cloudformation import ROOT

TEMPLATE_FILE = ROOT / "infra" / "chroma.yaml"
TEMPLATE: dict[str, Any] = load(TEMPLATE_FILE)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]

_LAUNCH: dict[str, Any] = RESOURCES["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
_PARTS = _LAUNCH["UserData"]["Fn::Base64"]["Fn::Join"][1]
PRELUDE: str = _PARTS[0]["Fn::Sub"]
"""The beginning of the script, in which CloudFormation replaces names."""

SETUP: str = _PARTS[1]
"""The rest of the script, which runs as it is."""


def update_script() -> str:
    """Returns the script that writes the proxy's configuration."""
    return SETUP.partition("<<'SCRIPT'\n")[2].partition("\nSCRIPT\n")[0] + "\n"


def executable(file: Path, text: str) -> Path:
    """Writes a program; returns its path."""
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    return file

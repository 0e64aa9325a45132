"""Writes the table of `infra/README.md`: the parameters of `template.yaml`, with default and description.

.local/envs/bridge/bin/python infra/build/parameter_table.py
"""

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from page_sections import table, with_section  # noqa: E402 — needs the path that is set above

DOCUMENT = ROOT / "infra" / "README.md"
TEMPLATE = ROOT / "template.yaml"


class _WithoutFunctions(yaml.SafeLoader):
    """Reads CloudFormation's functions, such as `!Ref`, as null: a parameter has none."""


_WithoutFunctions.add_multi_constructor("!", lambda *_: None)


def main() -> None:
    """Writes the table into the document."""
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """Returns the document with a table that is made anew. Raises ValueError where it has no markers for it."""
    rows = [
        (f"`{name}`", _default(one), " ".join(one["Description"].split()).replace("|", "\\|"))
        for name, one in template()["Parameters"].items()
    ]
    return with_section(text, "parameters", table(("parameter", "default", "meaning"), rows))


def template() -> dict[str, Any]:
    """Returns the template, with null in place of CloudFormation's functions."""
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), _WithoutFunctions)  # noqa: S506 — a safe loader
    return loaded


def _default(parameter: dict[str, Any]) -> str:
    return f"`{parameter['Default']}`" if str(parameter.get("Default", "")) else "empty"


if __name__ == "__main__":
    main()

"""Lists what the layers of a build contain, as CycloneDX JSON 1.6: packages with versions, hashes, licences and what
requires them, and the data files that contain the work of others.

    python3 infra/build/bill_of_materials.py .aws-sam/build     writes .aws-sam/build/sbom.cdx.json

A package's hashes are those of all its archives in the lock, of which one was installed. The format is written here,
because it is small, and a build needs no packages. A test compares it with the published schema. It has no date and no
serial number, so the same checkout always gives the same list.
"""

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

from layer import CODE, LAYERS, ROOT, locked

FILE = "sbom.cdx.json"
PROJECT = "sekha-llm-bridge"
# Data file → where its content is from. Their licence is in the file NOTICE beside them.
DATA = {
    "pricing/cl100k_base.bin": "https://github.com/openai/tiktoken",
    "pricing/o200k_base.bin": "https://github.com/openai/tiktoken",
    "pricing/snapshot.json": "https://github.com/pydantic/genai-prices",
}


def write(build: Path) -> Path:
    """Writes the list into the folder of the build. Returns its path."""
    file = build / FILE
    file.write_text(json.dumps(document(build), indent=2) + "\n", encoding="utf-8")
    return file


def document(build: Path) -> dict[str, Any]:
    """Returns the list as data."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    locks = list(map(locked, LAYERS))
    entries = {name: "".join(lock.get(name, "") for lock in locks) for lock in locks for name in lock}
    packages = {component["name"]: component for layer in LAYERS for component in _packages(build, layer, entries)}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": PROJECT, "name": PROJECT, "version": version},
        },
        "components": [*packages.values(), *(_data_file(build, path) for path in DATA)],
        "dependencies": [_dependencies(name, packages, entries) for name in (PROJECT, *packages)],
    }


def _packages(build: Path, layer: str, entries: dict[str, str]) -> Iterator[dict[str, Any]]:
    folder = f"{layer.capitalize()}Layer"
    for metadata in sorted((build / folder / "python").glob("*.dist-info")):
        package = PathDistribution(metadata)
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        purl = f"pkg:pypi/{name}@{package.version}"
        hashes = sorted(set(re.findall(r"--hash=sha256:([0-9a-f]{64})", entries[name])))
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": package.version,
            "purl": purl,
            "licenses": _licences(package),
            "externalReferences": [
                {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": one} for one in hashes]}
            ],
            "properties": [{"name": f"{PROJECT}:layer", "value": folder}],
        }


def _licences(package: Distribution) -> list[dict[str, Any]]:
    """Returns what the package's metadata says: an SPDX expression, else a name. Raises LookupError without either."""
    expressions = package.metadata.get_all("License-Expression")
    if expressions:
        return [{"expression": expressions[0]}]
    classifiers = package.metadata.get_all("Classifier") or []
    names = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    # The field has a name, or the whole text, which begins with the name.
    named = (package.metadata.get_all("License") or [""])[0].strip().partition("\n")[0]
    names = [named] if named else names
    if not names:
        raise LookupError(f"the metadata of {package.name} names no licence")
    return [{"license": {"name": name}} for name in names]


def _data_file(build: Path, path: str) -> dict[str, Any]:
    content = (build / "BridgeLayer" / "python" / CODE.name / path).read_bytes()
    return {
        "type": "data",
        "bom-ref": path,
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        "licenses": [{"license": {"id": "MIT"}}],
        "externalReferences": [{"type": "vcs", "url": DATA[path]}],
        "properties": [{"name": f"{PROJECT}:layer", "value": "BridgeLayer"}],
    }


def _dependencies(name: str, packages: dict[str, Any], entries: dict[str, str]) -> dict[str, Any]:
    """Returns the packages that `name` requires, by the locks' comments about what requires each package."""
    required = [one for one in packages if name in _required_by(entries[one])]
    if name == PROJECT:
        return {"ref": PROJECT, "dependsOn": [*(packages[one]["bom-ref"] for one in required), *DATA]}
    return {"ref": packages[name]["bom-ref"], "dependsOn": [packages[one]["bom-ref"] for one in required]}


def _required_by(entry: str) -> set[str]:
    comments = re.findall(r"^ +# +(?:via )?([a-z0-9-]+)(?: \(.*\))?$", entry, flags=re.MULTILINE)
    return {comment for comment in comments if comment != "via"}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(write(Path(sys.argv[1])))

"""The list of what a build contains: valid CycloneDX, complete, with hashes and licences."""

import hashlib
import json
import re
from importlib.metadata import PathDistribution, distribution
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from bill_of_materials import FILE, PROJECT
from tests.template.built import Build

pytestmark = pytest.mark.sam

LAYERS = ("BridgeLayer", "ChromaLayer", "EncryptionLayer")
BASE = "http://cyclonedx.org/schema/"
SCHEMAS = ("bom-1.6", "spdx", "jsf-0.82", "cryptography-defs")
CODE = ("py", "pyc", "pyi", "typed")


@pytest.fixture(scope="module")
def listed(arm64_build: Build) -> dict[str, Any]:
    """The list that `infra/build/run` has written."""
    content: dict[str, Any] = json.loads((arm64_build.folder / FILE).read_text())
    return content


def schema(name: str) -> Any:
    """Returns a schema of CycloneDX's, from the package of its own library."""
    return json.loads(resources("cyclonedx.schema").joinpath("_res", f"{name}.SNAPSHOT.schema.json").read_text())


def packages(build: Build) -> dict[str, Path]:
    """Returns name → metadata of every package in the layers."""
    found = [path for layer in LAYERS for path in (build.layer(layer) / "python").glob("*.dist-info")]
    return {re.sub(r"[-_.]+", "-", PathDistribution(path).name).lower(): path for path in found}


def test_the_list_has_the_published_form_of_cyclonedx(listed: dict[str, Any]) -> None:
    # The schemas refer to each other by the names of their files, at the address of the first.
    loaded = {f"{BASE}{name}.SNAPSHOT.schema.json": Resource.from_contents(schema(name)) for name in SCHEMAS}
    registry: Registry[Any] = Registry().with_resources(loaded.items())
    faults = [fault.message for fault in Draft7Validator(schema(SCHEMAS[0]), registry=registry).iter_errors(listed)]
    assert not faults


def test_every_package_of_the_layers_is_listed_with_its_version_hashes_and_licence(
    listed: dict[str, Any], arm64_build: Build
) -> None:
    libraries = {one["name"]: one for one in listed["components"] if one["type"] == "library"}
    assert libraries.keys() == packages(arm64_build).keys()
    for name, path in packages(arm64_build).items():
        assert libraries[name]["version"] == PathDistribution(path).version
        assert libraries[name]["externalReferences"][0]["hashes"], name
        assert libraries[name]["licenses"], name


def test_every_package_is_required_by_the_bridge_or_by_another_package(listed: dict[str, Any]) -> None:
    required = {ref for one in listed["dependencies"] for ref in one["dependsOn"]}
    assert required == {one["bom-ref"] for one in listed["components"]}
    assert listed["dependencies"][0]["ref"] == PROJECT


def test_every_data_file_of_others_is_listed_and_named_in_the_notice_beside_it(
    listed: dict[str, Any], arm64_build: Build
) -> None:
    package = arm64_build.layer("BridgeLayer") / "python" / "sekha_llm_bridge"
    notice = (package / "pricing" / "NOTICE").read_text()
    data = {one["name"]: one for one in listed["components"] if one["type"] == "data"}
    inside = [path for path in (package / "pricing").iterdir() if path.is_file() and path.suffix[1:] not in CODE]
    assert data.keys() == {str(path.relative_to(package)) for path in inside if path.name != "NOTICE"}
    for path in inside:
        if path.name != "NOTICE":
            assert path.name in notice
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert data[str(path.relative_to(package))]["hashes"] == [{"alg": "SHA-256", "content": digest}]


@pytest.mark.parametrize("name", ["genai-prices", "tiktoken"])
def test_the_notice_has_the_copyright_and_the_terms_of_the_package_that_the_data_is_from(
    name: str, arm64_build: Build
) -> None:
    notice = (arm64_build.layer("BridgeLayer") / "python/sekha_llm_bridge/pricing/NOTICE").read_text()
    licence = distribution(name).read_text("licenses/LICENSE")
    assert licence
    owner = next(line for line in licence.splitlines() if line.startswith("Copyright"))
    assert owner in notice
    assert " ".join(licence.partition(owner)[2].split()) in " ".join(notice.split())

"""Reads `template.yaml` as data: short intrinsics such as `!Ref X` become `{"Ref": "X"}`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    """PyYAML, and CloudFormation's tags."""


def _intrinsic(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the template, what `Globals` gives it included."""

    name: str
    properties: dict[str, Any]

    @property
    def folder(self) -> str:
        return str(self.properties["CodeUri"])

    @property
    def layers(self) -> list[str]:
        return [layer["Ref"] for layer in self.properties["Layers"]]

    @property
    def policies(self) -> set[str]:
        return {policy["Ref"] for policy in self.properties.get("Policies", ())}

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event["Properties"] for event in self.properties.get("Events", {}).values() if event["Type"] == kind]


class Template:
    """The template's sections."""

    def __init__(self, file: Path = ROOT / "template.yaml") -> None:
        content = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 — a SafeLoader with tags
        self.metadata: dict[str, Any] = content["Metadata"]
        self.parameters: dict[str, dict[str, Any]] = content["Parameters"]
        self.conditions: dict[str, Any] = content["Conditions"]
        self.resources: dict[str, dict[str, Any]] = content["Resources"]
        self.outputs: dict[str, dict[str, Any]] = content["Outputs"]
        self._globals: dict[str, Any] = content["Globals"]["Function"]

    @property
    def functions(self) -> list[Function]:
        return [
            Function(name, self._with_globals(resource["Properties"]))
            for name, resource in self.resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
        ]

    def _with_globals(self, own: dict[str, Any]) -> dict[str, Any]:
        merged = self._globals | own
        merged["Layers"] = [*self._globals["Layers"], *own.get("Layers", [])]
        variables = [part.get("Environment", {}).get("Variables", {}) for part in (self._globals, own)]
        merged["Environment"] = {"Variables": variables[0] | variables[1]}
        return merged

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id → properties."""
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}


def references(value: object) -> set[str]:
    """Every name that `value` refers to by Ref, or by ${…} inside a Sub."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*(references(inner) for inner in value.values()))
    if isinstance(value.get("Ref"), str):
        found.add(value["Ref"])
    if isinstance(value.get("Fn::Sub"), str):
        found |= {part.split("}")[0] for part in value["Fn::Sub"].split("${")[1:]}
    return found

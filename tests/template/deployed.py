"""The template as CloudFormation deploys it: after the transform, with the conditions and parameters resolved."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.cloudformation import Node, Resolver

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::NotificationARNs": "",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/bridge/1",
    "AWS::StackName": "bridge",
    "AWS::URLSuffix": "amazonaws.com",
}


class _Resolver(Resolver):
    """Resolves every attribute of a resource to the text `<LogicalId.Attribute>`, and a reference to it to
    `<LogicalId>`."""

    def _ref(self, name: Node, where: str) -> Node:
        return f"<{name}>" if name in self._document["Resources"] else super()._ref(name, where)

    def _get_att(self, path: Node, where: str) -> str:
        parts = path.split(".", 1) if isinstance(path, str) else path
        assert parts[0] in self._document["Resources"], f"{where}: there is no resource {parts[0]}"
        return f"<{'.'.join(parts)}>"


@dataclass(frozen=True, slots=True)
class Deployed:
    """The resources and outputs that exist with these `parameters`. `text` is the whole template, as CloudFormation
    gets it, with its conditions and intrinsic functions.
    """

    parameters: Mapping[str, str]
    resources: Mapping[str, dict[str, Any]]
    outputs: Mapping[str, dict[str, Any]]
    text: str

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns logical id → properties."""
        found = {name: resource for name, resource in self.resources.items() if resource["Type"] == kind}
        return {name: resource.get("Properties", {}) for name, resource in found.items()}

    def with_parameters(self, parameters: Mapping[str, str]) -> "Deployed":
        """Returns what the same translated template deploys with other parameters, without translating it again: for
        parameters on which the transform does not depend.
        """
        return _resolved(json.loads(self.text), parameters)


def deploy(
    sam_python: Path, parameters: Sequence[Mapping[str, str]], *, code: str = "s3://bucket/code"
) -> list[Deployed]:
    """Returns what is deployed with each mapping of parameters; the others are at their default. `code`: where the code
    of all functions was uploaded.
    """
    script = Path(__file__).with_name("transform.py")
    command: list[str | Path] = [
        sam_python,
        script,
        code,
        "s3://bucket/layer",
        json.dumps(list(map(dict, parameters))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [_resolved(template, given) for template, given in zip(json.loads(done.stdout), parameters, strict=True)]


def _resolved(template: dict[str, Any], parameters: Mapping[str, str]) -> Deployed:
    resolver = _Resolver(template, attributes={}, pseudo=PSEUDO, parameters=parameters)

    def existing(section: str) -> dict[str, dict[str, Any]]:
        return {
            name: {key: resolver.value(value, f"{section}.{name}.{key}") for key, value in entry.items()}
            for name, entry in template.get(section, {}).items()
            if "Condition" not in entry or resolver.condition(entry["Condition"], f"{section}.{name}")
        }

    return Deployed(parameters, existing("Resources"), existing("Outputs"), json.dumps(template))

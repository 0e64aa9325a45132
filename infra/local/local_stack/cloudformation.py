"""CloudFormation's YAML and the intrinsic functions that templates of functions, tables and queues use.

A value is resolved when `template_reader` reads its property. So the ignored parts of a template (policies, dashboards)
may use any function. Unsupported input raises TemplateError with the logical id and the property.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

# A value of a YAML document. Its type is checked where it is read.
Node = Any

_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]+)\}")


class TemplateError(Exception):
    """The template is invalid, or uses something that the local stack does not support."""


class _Absent:
    """`AWS::NoValue`: the property is removed."""


NO_VALUE = _Absent()


class _TagLoader(yaml.SafeLoader):
    """A SafeLoader that reads `!Ref x` as `{"Ref": "x"}` and `!Sub x` as `{"Fn::Sub": "x"}`."""


def _construct_tag(loader: _TagLoader, suffix: str, node: yaml.Node) -> Node:
    value: Node
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]  # the third kind is a mapping
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_TagLoader.add_multi_constructor("!", _construct_tag)


def load(path: Path) -> dict[str, Node]:
    """Returns the document at `path`. A short form such as `!Ref x` is replaced by its long form."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _TagLoader)  # noqa: S506 — a SafeLoader
    except OSError as fault:
        raise TemplateError(f"{path}: {fault.strerror}") from fault
    except yaml.YAMLError as fault:
        raise TemplateError(f"{path}: {fault}") from fault
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path}: not a CloudFormation template: it has no Resources")
    return document


class Resolver:
    """Resolves the intrinsic functions of one document.

    `attributes`: logical id → values of `Ref` (key "Ref") and of `Fn::GetAtt` (key: the attribute). `pseudo`: the
    values of the `AWS::` parameters. `parameters` override the defaults.
    """

    def __init__(
        self,
        document: Mapping[str, Node],
        *,
        attributes: Mapping[str, Mapping[str, str]],
        pseudo: Mapping[str, str],
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self._document = document
        self._attributes = attributes
        self._pseudo = pseudo
        self._given = dict(parameters or {})
        self._parameters: Mapping[str, Node] = document.get("Parameters") or {}
        self._functions: dict[str, Callable[[Node, str], Node]] = {
            "Ref": self._ref,
            "Fn::Sub": self._sub,
            "Fn::GetAtt": self._get_att,
            "Fn::Join": self._join,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Base64": self._base64,
            "Fn::ToJsonString": self._to_json,
            "Fn::Equals": self._equals,
            "Fn::Not": self._not,
            "Fn::And": self._and,
            "Fn::Or": self._or,
            "Condition": self.condition,
        }

    def value(self, node: Node, where: str) -> Node:
        """Returns `node` with all intrinsic functions resolved. `where`: its place, for errors."""
        if isinstance(node, list):
            resolved = [self.value(item, f"{where}[{index}]") for index, item in enumerate(node)]
            return [item for item in resolved if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        function = self._function_of(node, where)
        if function:
            return function(next(iter(node.values())), where)
        pairs = {key: self.value(item, f"{where}.{key}") for key, item in node.items()}
        return {key: item for key, item in pairs.items() if item is not NO_VALUE}

    def _function_of(self, node: dict[str, Node], where: str) -> Callable[[Node, str], Node] | None:
        if len(node) != 1:
            return None
        name = next(iter(node))
        if isinstance(name, str) and name.startswith("Fn::") and name not in self._functions:
            raise TemplateError(f"{where}: the local stack does not support {name}")
        # A mapping with the only key `Condition` belongs to a policy, unless its value is the name of a condition.
        if name == "Condition" and node[name] not in (self._document.get("Conditions") or {}):
            return None
        return self._functions.get(name)

    def condition(self, name: Node, where: str) -> bool:
        """Returns whether the condition `name` is true."""
        conditions = self._document.get("Conditions") or {}
        if name not in conditions:
            raise TemplateError(f"{where}: there is no condition {name!r}")
        return bool(self.value(conditions[name], f"Conditions.{name}"))

    def names_parameter(self, node: Node) -> bool:
        """Whether `node` depends on a parameter of the template."""
        if isinstance(node, list):
            return any(map(self.names_parameter, node))
        if not isinstance(node, dict):
            return False
        if node.get("Ref") in self._parameters:
            return True
        text = node.get("Fn::Sub")
        if isinstance(text, str):
            return any(match[2] in self._parameters for match in _SUBSTITUTION.finditer(text))
        return any(map(self.names_parameter, node.values()))

    def _ref(self, name: Node, where: str) -> Node:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._parameters:
            return self._parameter(name, where)
        if name in self._attributes:
            return self._attributes[name]["Ref"]
        if name in self._document["Resources"]:
            return name
        if isinstance(name, str) and name.endswith(".Alias"):  # SAM's word for the alias of AutoPublishAlias
            return self._get_att(name, where)
        raise TemplateError(f"{where}: !Ref {name}: there is no such parameter or resource")

    def _parameter(self, name: str, where: str) -> str:
        if name in self._given:
            return self._given[name]
        default = self._parameters[name].get("Default")
        if default is None:
            raise TemplateError(
                f"{where}: parameter {name} has no Default, and the local stack was given no value for it"
            )
        return as_text(default)

    def _get_att(self, path: Node, where: str) -> str:
        parts = path.split(".", 1) if isinstance(path, str) else path
        if not isinstance(parts, list) or len(parts) != 2:
            raise TemplateError(f"{where}: !GetAtt {path!r}: expected LogicalId.Attribute")
        logical_id, attribute = parts
        if logical_id not in self._document["Resources"]:
            raise TemplateError(f"{where}: !GetAtt {logical_id}.{attribute}: there is no resource {logical_id}")
        known = self._attributes.get(logical_id, {})
        if attribute in known:
            return known[attribute]
        if attribute == "Arn":
            region, account = self._pseudo["AWS::Region"], self._pseudo["AWS::AccountId"]
            return f"arn:aws:local:{region}:{account}:{logical_id}"
        raise TemplateError(
            f"{where}: !GetAtt {logical_id}.{attribute}: the local stack does not support this attribute"
        )

    def _sub(self, argument: Node, where: str) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        variables = self.value(own, where)

        def replace(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{name}}}"
            if name in variables:
                return as_text(variables[name])
            resolve = self._get_att if "." in name else self._ref
            return as_text(resolve(name, where))

        return _SUBSTITUTION.sub(replace, text)

    def _join(self, argument: Node, where: str) -> str:
        separator, items = argument
        return str(separator).join(as_text(item) for item in self.value(items, where))

    def _if(self, argument: Node, where: str) -> Node:
        name, then, otherwise = argument
        return self.value(then if self.condition(name, where) else otherwise, where)

    def _find_in_map(self, argument: Node, where: str) -> Node:
        keys = [as_text(key) for key in self.value(argument[:3], where)]
        node: Node = self._document.get("Mappings") or {}
        for key in keys:
            if key not in node:
                raise TemplateError(f"{where}: !FindInMap {keys}: there is no key {key!r}")
            node = node[key]
        return self.value(node, where)

    def _select(self, argument: Node, where: str) -> Node:
        index, items = self.value(argument, where)
        try:
            return items[int(index)]
        except (IndexError, ValueError) as fault:
            raise TemplateError(f"{where}: !Select {index} of {items!r}") from fault

    def _split(self, argument: Node, where: str) -> list[str]:
        separator, text = self.value(argument, where)
        return as_text(text).split(separator)

    def _base64(self, argument: Node, where: str) -> str:
        return base64.b64encode(as_text(self.value(argument, where)).encode()).decode()

    def _to_json(self, argument: Node, where: str) -> str:
        return json.dumps(self.value(argument, where))

    def _equals(self, argument: Node, where: str) -> bool:
        left, right = self.value(argument, where)
        return as_text(left) == as_text(right)

    def _not(self, argument: Node, where: str) -> bool:
        return not self.value(argument, where)[0]

    def _and(self, argument: Node, where: str) -> bool:
        return all(self.value(argument, where))

    def _or(self, argument: Node, where: str) -> bool:
        return any(self.value(argument, where))


def as_text(value: Node) -> str:
    """Returns a scalar as text. Booleans are `true` and `false`, as in CloudFormation."""
    return str(value).lower() if isinstance(value, bool) else str(value)

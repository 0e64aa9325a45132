"""Changes the translated template into one that moto's CloudFormation can create. Each gap of moto has its reason here.

Nothing else is removed, so that what is left is created, updated and deleted as in the stack itself.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from local_stack.cloudformation import Resolver
from tests.template.deployed import PSEUDO

# Resource type → why it is left out.
NOT_IN_MOTO: Mapping[str, str] = {
    "AWS::ApiGateway::Deployment": "moto's RestApi ignores Body, and it deploys no API without methods",
    "AWS::ApiGateway::Stage": "moto's CloudFormation does not know it; Ref of it is its StageName",
    "AWS::CloudWatch::Alarm": "moto's CloudFormation does not know it",
    "AWS::Lambda::Alias": "moto's CloudFormation does not know it; what refers to it gets the function instead",
    "AWS::Lambda::EventInvokeConfig": "moto's CloudFormation does not know it",
    "AWS::Logs::SubscriptionFilter": "moto's CloudFormation does not know it",
    "AWS::Scheduler::Schedule": "moto's CloudFormation does not know it",
}
# What Ref of a resource that is left out becomes: the value of this property.
_STANDS_FOR = {"AWS::Lambda::Alias": "FunctionName", "AWS::ApiGateway::Stage": "StageName"}
_SUBSTITUTED = re.compile(r"\$\{(\w+)\}")


def for_moto(text: str, parameters: Mapping[str, str]) -> str:
    """Returns the translated template `text` without moto's gaps, for these parameters."""
    template: dict[str, Any] = json.loads(text)
    resolver = Resolver(template, attributes={}, pseudo=PSEUDO, parameters=parameters)
    resources: dict[str, Any] = template["Resources"]
    left_out = {name: one for name, one in resources.items() if one["Type"] in NOT_IN_MOTO}
    layers = frozenset(name for name, one in resources.items() if one["Type"] == "AWS::Lambda::LayerVersion")
    template["Resources"] = {
        name: _changed(_without_gaps(name, one), left_out, layers, resolver)
        for name, one in resources.items()
        if name not in left_out
    }
    for resource in template["Resources"].values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"  # moto knows no other policy, and deletes what has one
    template["Outputs"] = _changed(template["Outputs"], left_out, layers, resolver)
    return json.dumps(template)


def _without_gaps(name: str, resource: dict[str, Any]) -> dict[str, Any]:
    """Changes properties. The name that moto makes for a FIFO queue does not end in .fifo, which it refuses itself. It
    cannot update a function that has layers.
    """
    properties = dict(resource.get("Properties", {}))
    match resource["Type"]:
        case "AWS::SQS::Queue":
            properties.setdefault("QueueName", f"{name}.fifo")
        case "AWS::Lambda::Function":
            properties.pop("Layers", None)
    return {**resource, "Properties": properties}


def _changed(node: Any, left_out: Mapping[str, Any], layers: frozenset[str], resolver: Resolver) -> Any:
    """Replaces references to what is left out, and removes list items that are `AWS::NoValue` by their condition: moto
    keeps these as null.
    """
    if isinstance(node, list):
        kept = [one for one in node if not _is_absent(one, resolver)]
        return [_changed(one, left_out, layers, resolver) for one in kept]
    if not isinstance(node, dict):
        return node
    if node.get("Ref") in left_out:
        return _stand_in(left_out[node["Ref"]])
    if node.get("Ref") in layers:
        return f"{PSEUDO['AWS::StackName']}-{node['Ref']}:1"  # moto's reference to a layer is no text
    if isinstance(node.get("Fn::Sub"), str):
        return {"Fn::Sub": _SUBSTITUTED.sub(lambda found: _substituted(found, left_out), node["Fn::Sub"])}
    return {key: _changed(value, left_out, layers, resolver) for key, value in node.items()}


def _stand_in(resource: Mapping[str, Any]) -> Any:
    return resource["Properties"][_STANDS_FOR[resource["Type"]]]


def _substituted(found: re.Match[str], left_out: Mapping[str, Any]) -> str:
    if found[1] not in left_out:
        return found[0]
    stand_in = _stand_in(left_out[found[1]])
    return f"${{{stand_in['Ref']}}}" if isinstance(stand_in, dict) else str(stand_in)


def _is_absent(item: Any, resolver: Resolver) -> bool:
    if not isinstance(item, dict) or "Fn::If" not in item:
        return False
    name, then, otherwise = item["Fn::If"]
    chosen: object = then if resolver.condition(name, "") else otherwise
    return chosen == {"Ref": "AWS::NoValue"}

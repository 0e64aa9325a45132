"""What the parameters of the network deploy, from the output of CloudFormation's transform."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local_stack.cloudformation import Resolver
from tests.template.cloudformation import Template
from tests.template.deployed import PSEUDO, Deployed, deploy
from tests.template.rights import VPC_ACTIONS, listed, statements_of

TEMPLATE = Template()
SUBNETS, GROUPS = "subnet-0a1b2c3d,subnet-0a1b2c3d4e5f60718", "sg-0a1b2c3d"
ENDPOINTS = "vpce-0a1b2c3d,vpce-1a2b3c4d"
CIDRS = "203.0.113.0/24,2001:db8::/32"
WEB_ACL = "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/acl/1a2b3c4d-0000-0000-0000-000000000000"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/1a2b3c4d-0000-0000-0000-000000000000"
DOMAIN = {"DomainName": "llm.example.com", "CertificateArn": CERTIFICATE}
PRIVATE_DOMAIN = (
    "A private API (ApiVpcEndpointIds) has no DomainName here, because private domain names are another resource"
)
TLS_1_3 = "SecurityPolicy_TLS13_1_3_2025_09"

COMBINATIONS: dict[str, dict[str, str]] = {
    "default": {},
    "callers": {"VpcSubnetIds": SUBNETS, "VpcSecurityGroupIds": GROUPS},
    "all": {"VpcSubnetIds": SUBNETS, "VpcSecurityGroupIds": GROUPS, "VpcFunctions": "all"},
    "private": {"ApiVpcEndpointIds": ENDPOINTS, "TlsPolicy": TLS_1_3},
    "private cidrs": {"ApiVpcEndpointIds": ENDPOINTS, "AllowedCidrs": CIDRS},
    "cidrs": {"AllowedCidrs": CIDRS, "WebAclArn": WEB_ACL},
    "domain": DOMAIN,
    "base path": {**DOMAIN, "BasePath": "llm", "HostedZoneId": "Z123", "TlsPolicy": TLS_1_3},
}
CALLERS = {
    *("ChatCompletionsFunction", "EmbeddingsFunction", "EmbedFunction", "SummarizeFunction", "ExtractFunction"),
    *("ScoreFunction", "SearchFunction", "RouteFunction", "HealthCheckFunction", "DrainFunction"),
    *("MigrateCollectionsFunction", "MessagesFunction", "ResponsesFunction", "OllamaFunction"),
}
FUNCTIONS = {function.name for function in TEMPLATE.functions}
ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*"}
DENY = {**ALLOW, "Effect": "Deny"}

each_combination = pytest.mark.parametrize("name", COMBINATIONS)


@pytest.fixture(scope="module")
def stacks(sam_python: Path) -> Mapping[str, Deployed]:
    """Each combination as it is deployed."""
    return dict(zip(COMBINATIONS, deploy(sam_python, list(COMBINATIONS.values())), strict=True))


def only(stack: Deployed, kind: str) -> dict[str, Any]:
    [properties] = stack.of_type(kind).values()
    found: dict[str, Any] = properties
    return found


def attached(stack: Deployed) -> set[str]:
    return {name for name, found in stack.of_type("AWS::Lambda::Function").items() if "VpcConfig" in found}


# --- functions in a VPC


@pytest.mark.parametrize(("name", "functions"), [("default", set()), ("callers", CALLERS), ("all", FUNCTIONS)])
def test_only_the_functions_that_the_parameters_name_run_in_the_vpc(
    stacks: Mapping[str, Deployed], name: str, functions: set[str]
) -> None:
    assert attached(stacks[name]) == functions
    for function in functions:
        config = stacks[name].of_type("AWS::Lambda::Function")[function]["VpcConfig"]
        assert config == {"SubnetIds": SUBNETS.split(","), "SecurityGroupIds": [GROUPS]}


@pytest.mark.parametrize("name", ["default", "callers", "all"])
def test_only_functions_in_the_vpc_may_make_network_interfaces_and_never_by_their_own_code(
    stacks: Mapping[str, Deployed], name: str
) -> None:
    allowed: set[str] = set()
    denied: set[str] = set()
    for policy in stacks[name].of_type("AWS::IAM::Policy").values():
        if policy["PolicyName"] != "network":
            continue
        functions = {role.strip("<>").removesuffix("Role") for role in policy["Roles"]}
        for statement in policy["PolicyDocument"]["Statement"]:
            assert {action.partition(":")[0] for action in statement["Action"]} == {"ec2"}
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Null": {"lambda:SourceFunctionArn": "false"}}
                assert set(statement["Action"]) == VPC_ACTIONS
                denied.update(functions)
            elif "ec2:CreateNetworkInterface" in statement["Action"]:
                allowed.update(functions)
    assert (allowed, denied) == (attached(stacks[name]), FUNCTIONS)


@pytest.mark.parametrize("name", ["default", "callers", "all"])
def test_lambda_may_always_delete_the_interfaces_of_versions_that_were_in_the_vpc(
    stacks: Mapping[str, Deployed], name: str
) -> None:
    """Lambda does so in the function's role, after the function left the VPC and its old versions are deleted."""
    for function in FUNCTIONS:
        statements = [one for one in statements_of(stacks[name], f"{function}Role") if one["Effect"] == "Allow"]
        actions = {action for statement in statements for action in listed(statement["Action"])}
        assert {"ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"} <= actions


def test_a_function_is_made_after_its_rights_and_nothing_depends_on_itself(stacks: Mapping[str, Deployed]) -> None:
    text = json.loads(stacks["all"].text)["Resources"]
    for function in FUNCTIONS:
        expected = "CallersNetworkPolicy" if function in CALLERS else "OthersNetworkPolicy"
        assert expected in _listed(text[function]["DependsOn"])
    edges = {name: set(_dependencies(resource)) & text.keys() for name, resource in text.items()}
    while edges:
        free = {name for name, needed in edges.items() if not needed & edges.keys()}
        assert free, f"these depend on each other: {sorted(edges)}"
        edges = {name: needed for name, needed in edges.items() if name not in free}


def _listed(found: str | list[str]) -> list[str]:
    return [found] if isinstance(found, str) else found


def _dependencies(node: Any) -> Iterator[str]:
    """Yields the names that a part of the template refers to."""
    if isinstance(node, list):
        for item in node:
            yield from _dependencies(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"Ref", "DependsOn"}:
                yield from _listed(value)
            elif key == "Fn::GetAtt":
                yield value[0] if isinstance(value, list) else value.partition(".")[0]
            elif key == "Fn::Sub":
                text = value if isinstance(value, str) else value[0]
                yield from (name.partition(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
            if not isinstance(value, str):
                yield from _dependencies(value)


# --- who may call the API


@each_combination
def test_the_api_is_private_where_it_has_vpc_endpoints(stacks: Mapping[str, Deployed], name: str) -> None:
    found = only(stacks[name], "AWS::ApiGateway::RestApi")["EndpointConfiguration"]
    is_private = "ApiVpcEndpointIds" in COMBINATIONS[name]
    expected = {"Types": ["PRIVATE"], "VpcEndpointIds": ENDPOINTS.split(",")} if is_private else {"Types": ["REGIONAL"]}
    assert found == expected


@pytest.mark.parametrize("name", ["default", "callers", "domain"])
def test_without_a_limit_the_policy_of_the_api_denies_nobody(stacks: Mapping[str, Deployed], name: str) -> None:
    body = only(stacks[name], "AWS::ApiGateway::RestApi")["Body"]
    assert body["x-amazon-apigateway-policy"]["Statement"] == [ALLOW]


@pytest.mark.parametrize(
    ("name", "denials"),
    [
        ("private", [{"StringNotEquals": {"aws:SourceVpce": ENDPOINTS.split(",")}}]),
        (
            "private cidrs",
            [
                {"StringNotEquals": {"aws:SourceVpce": ENDPOINTS.split(",")}},
                {"NotIpAddress": {"aws:VpcSourceIp": CIDRS.split(",")}},
            ],
        ),
        ("cidrs", [{"NotIpAddress": {"aws:SourceIp": CIDRS.split(",")}}]),
    ],
)
def test_the_policy_of_the_api_denies_all_other_endpoints_and_networks(
    stacks: Mapping[str, Deployed], name: str, denials: list[Any]
) -> None:
    """It is in the definition: an import, which each update makes, removes a policy that is only a property."""
    api = only(stacks[name], "AWS::ApiGateway::RestApi")
    assert "Policy" not in api
    statements = api["Body"]["x-amazon-apigateway-policy"]["Statement"]
    assert statements == [ALLOW, *({**DENY, "Condition": denial} for denial in denials)]


def test_a_changed_parameter_of_the_api_is_deployed(stacks: Mapping[str, Deployed]) -> None:
    assert TEMPLATE.resources["Api"]["Properties"]["AlwaysDeploy"] is True
    assert "Rules" in json.loads(stacks["default"].text)


@pytest.mark.parametrize("response", ["ACCESS_DENIED", "WAF_FILTERED"])
def test_who_is_denied_gets_a_403_in_the_envelope(response: str) -> None:
    found = TEMPLATE.resources["Api"]["Properties"]["GatewayResponses"][response]
    error = json.loads(found["ResponseTemplates"]["application/json"])["error"]
    assert (found["StatusCode"], error["type"], error["code"]) == (403, "permission_error", "access_denied")


@each_combination
def test_a_firewall_is_associated_with_the_stage_where_one_is_named(stacks: Mapping[str, Deployed], name: str) -> None:
    found = list(stacks[name].of_type("AWS::WAFv2::WebACLAssociation").values())
    arn = "arn:aws:apigateway:eu-west-1::/restapis/<Api>/stages/<ApiStage>"
    expected = [{"ResourceArn": arn, "WebACLArn": WEB_ACL}] if "WebAclArn" in COMBINATIONS[name] else []
    assert found == expected


# --- the address


@each_combination
def test_the_outputs_show_the_address_that_works_and_the_other_one_is_off(
    stacks: Mapping[str, Deployed], name: str
) -> None:
    stack = stacks[name]
    url = {
        "domain": "https://llm.example.com",
        "base path": "https://llm.example.com/llm",
    }.get(name, "https://<Api>.execute-api.eu-west-1.amazonaws.com/prod")
    assert stack.outputs["ApiUrl"]["Value"] == url
    assert stack.outputs["TryIt"]["Value"] == f"curl {url}/api/v1/health"
    body = only(stack, "AWS::ApiGateway::RestApi")["Body"]
    is_off = body["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"]
    assert is_off is ("DomainName" in COMBINATIONS[name])
    assert "servers" not in body  # API Gateway warns of a server without a URL, and FailOnWarnings is set


@each_combination
def test_a_domain_has_its_certificate_tls_policy_mapping_and_record(stacks: Mapping[str, Deployed], name: str) -> None:
    stack, given = stacks[name], COMBINATIONS[name]
    if "DomainName" not in given:
        kinds = {resource["Type"] for resource in stack.resources.values()}
        own = {"AWS::ApiGateway::DomainName", "AWS::ApiGateway::BasePathMapping", "AWS::Route53::RecordSet"}
        assert not kinds & own
        assert "DomainTarget" not in stack.outputs
        return
    mode = {"EndpointAccessMode": "STRICT"} if "TlsPolicy" in given else {}
    assert only(stack, "AWS::ApiGateway::DomainName") == {
        "DomainName": "llm.example.com",
        "RegionalCertificateArn": CERTIFICATE,
        "EndpointConfiguration": {"Types": ["REGIONAL"]},
        "SecurityPolicy": given.get("TlsPolicy", "TLS_1_2"),
        **mode,
    }
    path = {"BasePath": given["BasePath"]} if "BasePath" in given else {}
    assert only(stack, "AWS::ApiGateway::BasePathMapping") == {
        "DomainName": "<ApiDomain>",
        "RestApiId": "<Api>",
        "Stage": "<ApiStage>",
        **path,
    }
    records = list(stack.of_type("AWS::Route53::RecordSet").values())
    assert [(record["Name"], record["Type"]) for record in records] == (
        [("llm.example.com", "A")] if "HostedZoneId" in given else []
    )
    assert stack.outputs["DomainTarget"]["Value"] == "<ApiDomain.RegionalDomainName>"


@each_combination
def test_a_tls_policy_of_the_new_kind_holds_for_the_api_itself_with_its_access_mode(
    stacks: Mapping[str, Deployed], name: str
) -> None:
    api, policy = only(stacks[name], "AWS::ApiGateway::RestApi"), COMBINATIONS[name].get("TlsPolicy")
    mode = None if policy is None else "BASIC" if "ApiVpcEndpointIds" in COMBINATIONS[name] else "STRICT"
    assert (api.get("SecurityPolicy"), api.get("EndpointAccessMode")) == (policy, mode)


def test_every_tls_policy_but_the_first_needs_an_access_mode_and_none_accepts_tls_1_0() -> None:
    first, *others = TEMPLATE.parameters["TlsPolicy"]["AllowedValues"]
    assert first == TEMPLATE.parameters["TlsPolicy"]["Default"] == "TLS_1_2"
    assert all(re.match(r"SecurityPolicy_TLS13_1_[23]_", policy) for policy in others)


# --- parameters that need each other


@pytest.fixture(scope="module")
def rules(stacks: Mapping[str, Deployed]) -> dict[str, Any]:
    """The rules, as CloudFormation gets them."""
    found: dict[str, Any] = json.loads(stacks["default"].text)["Rules"]
    return found


def broken_rules(rules: Mapping[str, Any], parameters: Mapping[str, str]) -> list[str]:
    """Returns what CloudFormation would say about these parameters."""
    document = {"Parameters": TEMPLATE.parameters, "Resources": {}}
    resolver = Resolver(document, attributes={}, pseudo=PSEUDO, parameters=parameters)
    return [
        assertion["AssertDescription"]
        for name, rule in rules.items()
        if resolver.value(rule["RuleCondition"], name)
        for assertion in rule["Assertions"]
        if not resolver.value(assertion["Assert"], name)
    ]


@each_combination
def test_no_rule_refuses_a_combination_that_works(rules: dict[str, Any], name: str) -> None:
    assert broken_rules(rules, COMBINATIONS[name]) == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"VpcSubnetIds": SUBNETS}, ["VpcSubnetIds needs VpcSecurityGroupIds"]),
        ({"VpcSecurityGroupIds": GROUPS}, ["VpcSecurityGroupIds needs VpcSubnetIds"]),
        ({"VpcFunctions": "all"}, ["VpcFunctions=all needs VpcSubnetIds"]),
        ({"DomainName": "llm.example.com"}, ["DomainName needs CertificateArn"]),
        ({"CertificateArn": CERTIFICATE}, ["CertificateArn needs DomainName"]),
        ({"BasePath": "llm"}, ["BasePath needs DomainName"]),
        ({"HostedZoneId": "Z123"}, ["HostedZoneId needs DomainName"]),
        (
            {**DOMAIN, "ApiVpcEndpointIds": ENDPOINTS},
            [PRIVATE_DOMAIN],
        ),
    ],
)
def test_a_combination_that_cannot_work_is_refused_before_anything_is_made(
    rules: dict[str, Any], parameters: dict[str, str], said: list[str]
) -> None:
    assert broken_rules(rules, parameters) == said


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("VpcSubnetIds", ["", "subnet-0a1b2c3d", SUBNETS], ["subnet-1", "vpc-0a1b2c3d", f"{SUBNETS},", "a, b"]),
        ("VpcSecurityGroupIds", ["", GROUPS, f"{GROUPS},{GROUPS}"], ["default", f"{GROUPS}, {GROUPS}"]),
        ("ApiVpcEndpointIds", ["", ENDPOINTS], ["vpce-", "subnet-0a1b2c3d"]),
        ("AllowedCidrs", ["", "10.0.0.0/8", CIDRS], ["10.0.0.1", "example.com", "10.0.0.0/8, 10.1.0.0/16", "*"]),
        ("WebAclArn", ["", WEB_ACL], ["*", WEB_ACL.replace("regional", "global")]),
        (
            "DomainName",
            ["", "llm.example.com", "a.b"],
            ["localhost", "https://a.b", "*.a.b", "A.b", "a.b/c", "a.b:443"],
        ),
        ("CertificateArn", ["", CERTIFICATE], ["*", CERTIFICATE.replace("acm", "iam")]),
        ("BasePath", ["", "llm", "v2_0-a"], ["/llm", "llm/", "a/b", "a b"]),
        ("HostedZoneId", ["", "Z0123ABC"], ["z1", "/hostedzone/Z1"]),
        (
            "ChromaUrl",
            ["https://db.example.com", "http://10.0.0.5:8000"],
            ["http://user@db:8000", "http://:password@db:8000", "https://user:password@db", "https://user%3Ap@db"],
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused(parameter: str, good: list[str], bad: list[str]) -> None:
    pattern = re.compile(TEMPLATE.parameters[parameter]["AllowedPattern"])
    assert [value for value in good if not pattern.match(value)] == []
    assert [value for value in bad if pattern.match(value)] == []

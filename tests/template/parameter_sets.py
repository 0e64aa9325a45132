"""The sets of parameters with which the template is tested: every interesting value of each parameter, and pairs.

A new parameter with AllowedValues or of the type Number needs nothing here; another one needs an example in `EXAMPLES`.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from tests.template.cloudformation import Template

ARN = "arn:aws:{}:eu-west-1:123456789012:{}"
# Parameter → values other than the default, where these do not follow from the template.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "AlertTopicArn": (ARN.format("sns", "alerts"),),
    "AllowedCidrs": ("203.0.113.0/24,2001:db8::/32",),
    "ApiVpcEndpointIds": ("vpce-0123456789abcdef0,vpce-0123456789abcdef1",),
    "BasePath": ("llm",),
    "BedrockGuardrailArn": (ARN.format("bedrock", "guardrail/abc123"),),
    "BedrockModels": ("arn:aws:bedrock:*::foundation-model/a,arn:aws:bedrock:*::foundation-model/b",),
    "CertificateArn": (ARN.format("acm", "certificate/11111111-2222-3333-4444-555555555555"),),
    "ChromaTokenSecret": ("secretsmanager:sekha/chroma#token",),
    "ChromaUrl": ("https://chroma.example.com",),
    "DomainName": ("llm.example.com",),
    "HostedZoneId": ("Z0123456789ABCDEFGHIJ",),
    "KmsKeyArn": (ARN.format("kms", "key/11111111-2222-3333-4444-555555555555"),),
    "OpenAiKeySecret": ("ssm:/sekha/openai",),
    "PermissionsBoundaryArn": ("arn:aws:iam::123456789012:policy/boundary",),
    "Revision": ("2",),
    "SecretsKeyArn": (ARN.format("kms", "key/11111111-2222-3333-4444-555555555555"),),
    "SecretsPrefix": ("company/bridge",),
    "StageName": ("v1",),
    "VpcSecurityGroupIds": (",".join(f"sg-{number:017x}" for number in range(5)),),
    "VpcSubnetIds": (",".join(f"subnet-{number:017x}" for number in range(16)),),
    "WebAclArn": (ARN.format("wafv2", "regional/webacl/bridge/11111111-2222-3333-4444-555555555555"),),
}
# Parameters whose first values are tried together with each of the others: they make resources and permissions appear.
PAIRED = (
    "AlertTopicArn",
    "ApiVpcEndpointIds",
    "BedrockGuardrailArn",
    "BedrockModels",
    "DomainName",
    "KmsKeyArn",
    "MaxChats",
    "SecretsKeyArn",
    "SpendAlarmUsdPerHour",
    "VpcSubnetIds",
)
# Parameters that the transform itself reads: it makes another template for each of their values.
READ_BY_TRANSFORM = frozenset({"AllowedCidrs", "ApiVpcEndpointIds", "Deployment"})


def values_of(name: str, parameter: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the values to try that differ from the default: the examples, the other allowed ones (the first and the
    last of many), or another number.
    """
    default = str(parameter.get("Default", ""))
    if name in EXAMPLES:
        return EXAMPLES[name]
    if "AllowedValues" in parameter:
        others = [value for value in map(str, parameter["AllowedValues"]) if value != default]
        return tuple(others if len(others) <= 4 else (others[0], others[-1]))
    if parameter["Type"] == "Number":
        numbers = (str(parameter.get("MinValue", 0)), str(int(default) + 1))
        return tuple(number for number in numbers if number != default)
    return ()


def single_sets(template: Template) -> Iterator[dict[str, str]]:
    """Yields the defaults, then each value of each parameter with the others at their default."""
    yield {}
    for name, parameter in template.parameters.items():
        for value in values_of(name, parameter):
            yield {name: value}


def pair_sets(template: Template) -> Iterator[dict[str, str]]:
    """Yields each pair of `PAIRED`, and the first values of all parameters together."""
    first = {
        name: values[0] for name, parameter in template.parameters.items() if (values := values_of(name, parameter))
    }
    for one, other in combinations([name for name in PAIRED if name in first], 2):
        yield {one: first[one], other: first[other]}
    yield first

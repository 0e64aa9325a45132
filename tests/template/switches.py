"""The parameters of the template that turn on everything that is off by default.

An API is either private or has a domain, so there are two sets.
"""

from tests.template.aws_calls import PREFIX
from tests.template.running_functions import GUARDRAIL

EVERYTHING = {
    "AccessLog": "on",
    "MetricsPerRoute": "on",
    "Tracing": "on",
    "KmsKeyArn": f"arn:aws:kms:{PREFIX}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "SecretsKeyArn": f"arn:aws:kms:{PREFIX}:key/5678abcd-12ab-34cd-56ef-1234567890ab",
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "VpcSubnetIds": "subnet-0a1b2c3d,subnet-1a2b3c4d",
    "VpcSecurityGroupIds": "sg-0a1b2c3d",
    "VpcFunctions": "all",
    "BedrockModels": "arn:aws:bedrock:*::foundation-model/*",
    "BedrockGuardrailArn": f"arn:aws:bedrock:{PREFIX}:guardrail/{GUARDRAIL}",
    "OpenAiKeySecret": "ssm:/sekha/openai",
    "ChromaTokenSecret": "ssm:/sekha/chroma",
    "AlertTopicArn": f"arn:aws:sns:{PREFIX}:alerts",
    "Deployment": "canary",
    "Dashboard": "on",
    "SnapStart": "all",
    "MaxChats": "5",
    "MaxMessages": "5",
    "MaxResponses": "5",
    "MaxOllamaRequests": "5",
    "ApiVpcEndpointIds": "vpce-0a1b2c3d",
    "AllowedCidrs": "10.0.0.0/8",
    "WebAclArn": f"arn:aws:wafv2:{PREFIX}:regional/webacl/acl/1a2b3c4d-0000-0000-0000-000000000000",
    "TlsPolicy": "SecurityPolicy_TLS13_1_3_2025_09",
}

# The same for an API with a domain.
EVERYTHING_PUBLIC = {
    **{name: value for name, value in EVERYTHING.items() if name != "ApiVpcEndpointIds"},
    "DomainName": "llm.example.com",
    "CertificateArn": f"arn:aws:acm:{PREFIX}:certificate/1a2b3c4d-0000-0000-0000-000000000000",
    "BasePath": "llm",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ",
}

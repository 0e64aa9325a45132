"""The parameters of the template that turn on everything that is off by default."""

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
}

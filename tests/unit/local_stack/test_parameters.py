"""The local stack refuses the values of parameters that CloudFormation would refuse."""

from pathlib import Path

import pytest
import yaml

from local_stack.cloudformation import load
from local_stack.parameters import parameter_faults

TEMPLATE = load(Path(__file__).parents[3] / "template.yaml")
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
SUBNETS = "subnet-0a1b2c3d4e5f60718,subnet-0a1b2c3d4e5f60719"
MODEL = "arn:aws:bedrock:*::foundation-model/m"


def faults(**given: str) -> list[str]:
    return list(parameter_faults(TEMPLATE, given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"AllowedCidrs": "203.0.113.0/24,2001:db8::/32"},
        {"BedrockModels": f"{MODEL},{MODEL}-2"},
        {"DomainName": "llm.example.com", "CertificateArn": CERTIFICATE, "BasePath": "llm"},
        {"VpcSubnetIds": SUBNETS, "VpcSecurityGroupIds": "sg-0a1b2c3d4e5f60718", "VpcFunctions": "all"},
        {"OpenAiKeySecret": "secretsmanager:sekha/openai#key", "MaxChats": "2", "LogRetentionDays": "365"},
    ],
)
def test_values_that_cloudformation_accepts_are_accepted(given: dict[str, str]) -> None:
    assert not faults(**given)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SnapStart", "maybe", "must be off, chat or all"),
        ("Tracing", "maybe", "must be one of on, off"),
        ("LogRetentionDays", "13", "must be one of 1, 3, 5,"),
        ("MaxChats", "-1", "must satisfy MinValue 0"),
        ("MaxChats", "many", "must satisfy MinValue 0"),
        ("MaxChats", "NaN", "must satisfy MinValue 0"),
        ("Revision", "r" * 21, "20"),
        ("BedrockModels", f"{MODEL},gpt-4o", "ARNs of Bedrock, separated by commas without spaces, or empty"),
        ("ChromaTokenSecret", "ssm:/sekha/openai", "chroma"),
        ("VpcSubnetIds", "subnet-1 subnet-2", "separated by commas"),
    ],
)
def test_a_value_that_its_parameter_cannot_have_is_refused_with_the_reason(name: str, value: str, reason: str) -> None:
    (fault,) = faults(**{name: value})
    assert fault.startswith(f"{name}: ")
    assert reason in fault


def test_a_secret_given_in_place_of_its_name_is_not_repeated() -> None:
    (fault,) = faults(OpenAiKeySecret="sk-hunter2-hunter2")
    assert "never a key itself" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"BasePath": "llm"}, "BasePath needs DomainName"),
        ({"VpcFunctions": "all"}, "VpcFunctions=all needs VpcSubnetIds"),
        ({"VpcSubnetIds": SUBNETS}, "VpcSubnetIds needs VpcSecurityGroupIds"),
        ({"DomainName": "llm.example.com"}, "DomainName needs CertificateArn"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused_by_the_templates_rules(
    given: dict[str, str], reason: str
) -> None:
    assert faults(**given) == [reason]


def test_every_mistake_is_named() -> None:
    assert len(faults(SnapStart="maybe", Tracing="maybe", BasePath="llm")) == 2, "rules need values that are valid"


def test_limits_of_length_and_number_and_texts_of_other_templates() -> None:
    document = yaml.safe_load("""
        Parameters:
          Name: {Type: String, MinLength: 2}
          Share: {Type: Number, MaxValue: 0.5}
          Count: {Type: Number}
        Rules:
          Never: {Assertions: [{Assert: {"Fn::Equals": [{Ref: Name}, other]}}]}
    """)
    wrong = {"Name": "a", "Share": "0.6", "Count": "many"}
    assert list(parameter_faults(document, wrong)) == [
        "Name: must satisfy MinLength 2",
        "Share: must satisfy MaxValue 0.5",
        "Count: must be a number",
    ]
    assert list(parameter_faults(document, {"Name": "ab", "Share": "0.5"})) == ["the template's rule Never is not met"]

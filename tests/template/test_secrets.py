"""Which function can read which secret, and in which form parameters name them."""

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.template.cloudformation import ROOT, Template
from tests.template.deployed import Deployed

TEMPLATE = Template()
PREFIX = "sekha"
PROVIDERS = {"chat_completions", "messages", "responses", "summarize", "extract", "score", "route", "health_check"}
BOTH = {"embeddings", "embed", "search", "ollama"}
CHROMA = {"drain", "migrate_collections"}
REFERENCES = {"OpenAiKeySecret": "secretsmanager:sekha/openai#key", "ChromaTokenSecret": "ssm:/sekha/chroma/token"}
NAMES = {"openai": ("/sekha/openai", "sekha/openai-AbCdEf"), "chroma": ("/sekha/chroma/token", "sekha/chroma-AbCdEf")}


@pytest.fixture
def stack(deployed: Callable[..., Deployed]) -> Deployed:
    return deployed(REFERENCES)


def functions(stack: Deployed) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the folder and the properties of each function."""
    folders = {
        name: resource["Properties"]["CodeUri"].removeprefix("functions/")
        for name, resource in TEMPLATE.resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    for name, properties in stack.of_type("AWS::Lambda::Function").items():
        yield folders[name], properties


def statements(stack: Deployed, function: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the statements of the managed policies of a function's role."""
    role = stack.resources[function["Role"].strip("<>").removesuffix(".Arn")]["Properties"]
    for arn in role["ManagedPolicyArns"]:
        if arn.startswith("<"):
            document = stack.resources[arn.strip("<>")]["Properties"]["PolicyDocument"]
            yield from (one for one in document["Statement"] if isinstance(one, dict) and "Effect" in one)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def may(stack: Deployed, function: Mapping[str, Any], action: str, name: str) -> bool:
    """Whether the role allows the action on the parameter or secret of that name, and no statement denies it."""
    service = "ssm" if action.startswith("ssm") else "secretsmanager"
    kind = f"parameter{name}" if service == "ssm" else f"secret:{name}"
    arn = f"arn:aws:{service}:eu-west-1:123456789012:{kind}"
    effects = {
        one["Effect"]
        for one in statements(stack, function)
        if action in listed(one["Action"]) and any(fnmatchcase(arn, pattern) for pattern in listed(one["Resource"]))
    }
    return effects == {"Allow"}


@pytest.mark.parametrize(("secret", "readers"), [("openai", PROVIDERS | BOTH), ("chroma", CHROMA | BOTH)])
def test_a_secret_can_be_read_only_by_the_functions_that_use_it(
    stack: Deployed, secret: str, readers: set[str]
) -> None:
    parameter, name = NAMES[secret]
    for action, stored in (("ssm:GetParameters", parameter), ("secretsmanager:GetSecretValue", name)):
        assert {folder for folder, one in functions(stack) if may(stack, one, action, stored)} == readers


def test_no_function_has_another_action_on_secrets(stack: Deployed) -> None:
    used = {"ssm:GetParameters", "secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue"}
    for _, function in functions(stack):
        actions = {action for one in statements(stack, function) for action in listed(one["Action"])}
        assert {action for action in actions if action.split(":")[0] in {"ssm", "secretsmanager"}} <= used


def test_the_code_of_a_function_asks_for_the_secrets_that_its_role_may_read() -> None:
    uses = {
        folder.name: (folder / "app.py").read_text() for folder in (ROOT / "functions").iterdir() if folder.is_dir()
    }
    found = {name: match[1] for name, text in uses.items() if (match := re.search(r"secrets=SecretUse\.(\w+)", text))}
    assert found == {
        **dict.fromkeys(PROVIDERS, "PROVIDERS"),
        **dict.fromkeys(BOTH, "ALL"),
        **dict.fromkeys(CHROMA, "CHROMA"),
    }


def test_the_environment_has_references_and_never_a_secret(stack: Deployed) -> None:
    without = {"authorizer", "usage_records"}
    for folder, function in functions(stack):
        variables = function["Environment"]["Variables"]
        expected = (
            ("", "") if folder in without else ("${secretsmanager:sekha/openai#key}", "${ssm:/sekha/chroma/token}")
        )
        assert (variables["OPENAI_API_KEY"], variables["CHROMA_TOKEN"]) == expected


def test_without_references_the_variables_are_empty(deployed: Callable[..., Deployed]) -> None:
    for _, function in functions(deployed()):
        variables = function["Environment"]["Variables"]
        assert (variables["OPENAI_API_KEY"], variables["CHROMA_TOKEN"]) == ("", "")


@pytest.mark.parametrize("name", ["OpenAiKeySecret", "ChromaTokenSecret"])
@pytest.mark.parametrize(
    "pasted",
    [
        "sk-proj-4fJ0aBcDeFgHiJkLmNoPqRsT",
        "ck-7Yw2hGZqC1XvB9",
        "eyJhbGciOiJIUzI1NiJ9.e30.abc",
        "${ssm:/sekha/openai}",
        "ssm:sekha",
        "secretsmanager:sk-proj-4fJ0aBcDeFgHiJkLmNoPqRsT",
    ],
)
def test_a_pasted_secret_is_refused(name: str, pasted: str) -> None:
    assert re.fullmatch(TEMPLATE.parameters[name]["AllowedPattern"], pasted) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OpenAiKeySecret", value) for value in ("", "ssm:/sekha/openai", "secretsmanager:sekha/openai")),
        ("OpenAiKeySecret", "secretsmanager:team/prod/openai#api_key"),
        *(("ChromaTokenSecret", value) for value in ("", "ssm:/sekha/chroma", "secretsmanager:a/chroma-cloud#token")),
    ],
)
def test_a_reference_is_accepted(name: str, value: str) -> None:
    parameter = TEMPLATE.parameters[name]
    assert re.fullmatch(parameter["AllowedPattern"], value)
    assert len(value) <= parameter["MaxLength"]


def test_a_token_of_chroma_with_a_name_that_other_functions_may_read_is_refused() -> None:
    assert re.fullmatch(TEMPLATE.parameters["ChromaTokenSecret"]["AllowedPattern"], "ssm:/sekha/token") is None

"""Tests the syntax of references, without values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.config.references import AwsReference, MalformedReference, Variable, escape, parse

TEXTS = st.text(st.sampled_from("${}:-#ab/ "), max_size=20)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ("plain",)),
        ("", ()),
        ("${VAR}", (Variable("VAR"),)),
        ("a${B}c${D}", ("a", Variable("B"), "c", Variable("D"))),
        ("${VAR:-}", (Variable("VAR", ()),)),
        ("${VAR:-http://localhost:11434}", (Variable("VAR", ("http://localhost:11434",)),)),
        ("${A:-${B:-c}}", (Variable("A", (Variable("B", ("c",)),)),)),
        ("${A:-${ssm:/x}}", (Variable("A", (AwsReference("ssm", "/x"),)),)),
        ("${ssm:/sekha/openai.key}", (AwsReference("ssm", "/sekha/openai.key"),)),
        ("${ssm:/sekha/key:3}", (AwsReference("ssm", "/sekha/key:3"),)),
        ("${secretsmanager:prod/openai}", (AwsReference("secretsmanager", "prod/openai"),)),
        ("${secretsmanager:prod/openai#api_key}", (AwsReference("secretsmanager", "prod/openai", "api_key"),)),
        (
            "${secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-b#k}",
            (AwsReference("secretsmanager", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-b", "k"),),
        ),
        ("$${VAR}", ("${", "VAR", "}")),
        ("$VAR $ {x}", ("$VAR $ {x", "}")),
        ("ssm:/x", ("ssm:/x",)),
    ],
)
def test_a_text_is_parsed_into_these_parts(text: str, parts: tuple[object, ...]) -> None:
    assert parse(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${VAR",
        "${}",
        "${ VAR }",
        "${1VAR}",
        "${VAR-default}",
        "${VAR:?message}",
        "${VAR:-${B}",
        "${VÄR}",
        "${ssm:}",
        "${ssm:/a b}",
        "${SSM:/a}",
        "${env:VAR}",
        "${ssm:/path:-default}",
        "${secretsmanager:}",
        "${secretsmanager:name#}",
        "${secretsmanager:${NAME}}",
        "${VAR\n}",
    ],
)
def test_a_malformed_reference_is_an_error(text: str) -> None:
    with pytest.raises(MalformedReference):
        parse(f"x {text}")


def test_the_error_for_a_malformed_reference_does_not_quote_the_text() -> None:
    with pytest.raises(MalformedReference) as caught:
        parse("hunter2${hunter3")
    assert "hunter" not in str(caught.value)


@given(TEXTS)
def test_an_escaped_text_is_parsed_as_itself(text: str) -> None:
    assert "".join(str(part) for part in parse(escape(text))) == text


@given(TEXTS)
def test_any_text_is_parsed_or_is_a_malformed_reference(text: str) -> None:
    try:
        parts = parse(text)
    except MalformedReference:
        assert "${" in text
    else:
        assert all(isinstance(part, str | Variable | AwsReference) for part in parts)

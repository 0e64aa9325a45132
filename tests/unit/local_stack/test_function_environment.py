"""Whose value of a variable a function sees."""

from pathlib import Path

from local_stack.function_environment import function_environment, wrapper
from local_stack.template import Function, Variable


def make(tmp_path: Path, environment: dict[str, Variable] | None = None) -> Function:
    """A function with one layer."""
    for name in ("code", "layer"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Function(
        logical_id="One",
        name="stack-One",
        code=tmp_path / "code",
        handler="app.handler",
        memory_mb=256,
        timeout_s=9,
        environment=environment or {},
        layers=[tmp_path / "layer"],
    )


def seen(
    tmp_path: Path,
    *,
    template: dict[str, Variable] | None = None,
    user: dict[str, str] | None = None,
    stack: dict[str, str] | None = None,
) -> dict[str, str]:
    """The environment of the function."""
    function = make(tmp_path, template)
    return function_environment(function, region="eu-west-1", user=user or {}, stack=stack or {}, home=tmp_path)


def test_the_users_own_variables_are_inherited(tmp_path: Path) -> None:
    assert seen(tmp_path, user={"OPENAI_API_KEY": "k"})["OPENAI_API_KEY"] == "k"


def test_a_constant_of_the_template_overrides_the_users_variable(tmp_path: Path) -> None:
    assert seen(tmp_path, template={"TABLE": Variable("t")}, user={"TABLE": "mine"})["TABLE"] == "t"


def test_a_variable_that_is_a_parameter_can_be_set_by_the_user(tmp_path: Path) -> None:
    template = {"CHROMA_URL": Variable("", from_parameter=True)}
    assert seen(tmp_path, template=template, user={"CHROMA_URL": "http://mine"})["CHROMA_URL"] == "http://mine"
    assert seen(tmp_path, template=template)["CHROMA_URL"] == ""


def test_the_address_of_a_started_server_overrides_all(tmp_path: Path) -> None:
    template = {"CHROMA_URL": Variable("", from_parameter=True)}
    stack = {"CHROMA_URL": "http://started"}
    assert seen(tmp_path, template=template, stack=stack)["CHROMA_URL"] == "http://started"


def test_lambdas_own_variables_are_set(tmp_path: Path) -> None:
    environment = seen(tmp_path)
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "stack-One"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert environment["_HANDLER"] == "app.handler"


def test_code_and_layers_are_importable_and_the_stacks_own_python_is_not(tmp_path: Path) -> None:
    environment = seen(tmp_path, user={"PYTHONPATH": "/stack", "VIRTUAL_ENV": "/venv"})
    assert environment["PYTHONPATH"] == f"{tmp_path}/code:{tmp_path}/layer"
    assert "VIRTUAL_ENV" not in environment


def test_dummy_credentials_are_used_only_without_real_ones(tmp_path: Path) -> None:
    assert seen(tmp_path)["AWS_ACCESS_KEY_ID"] == "local"
    assert "AWS_ACCESS_KEY_ID" not in seen(tmp_path, user={"AWS_PROFILE": "work"})
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\n")
    assert "AWS_ACCESS_KEY_ID" not in seen(tmp_path)


def test_the_exec_wrapper_is_found_in_the_layers_folder(tmp_path: Path) -> None:
    function = make(tmp_path)
    (tmp_path / "layer" / "bin").mkdir()
    script = tmp_path / "layer" / "bin" / "start"
    script.write_text("#!/bin/sh\n")
    assert wrapper(function, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/start"}) == script
    assert wrapper(function, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/other"}) is None
    assert wrapper(function, {}) is None

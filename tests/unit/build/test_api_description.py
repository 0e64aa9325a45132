"""`openapi.json`: made from the models, complete, and in step with the template."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from api_description.document import description, description_text
from api_description.fields import FIELDS
from api_description.operations import OPERATIONS, Operation
from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.landing.overview import DESCRIPTION_FILE
from sekha_llm_bridge.errors import (
    BridgeError,
    ClientDisconnected,
    FailureKind,
    StreamInterrupted,
    UnknownPath,
    WrongMethod,
)
from tests.template.cloudformation import ROOT, Template

DOCUMENT = description()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
EXAMPLES = [
    pytest.param(operation, value, id=f"{operation.path} {title}")
    for operation in OPERATIONS
    for title, value in operation.examples.items()
]
NOT_IN_ANSWERS_OF_OPERATIONS = {UnknownPath, WrongMethod, ClientDisconnected, StreamInterrupted}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inside)
    if isinstance(value, dict):
        yield value


def subclasses(error: type[BridgeError]) -> Iterator[type[BridgeError]]:
    for one in error.__subclasses__():
        if one.__module__ != BridgeError.__module__:
            continue  # the client has errors of its own
        yield from (one, *subclasses(one))


def test_the_committed_description_is_that_of_the_models() -> None:
    """Otherwise run `PYTHONPATH=infra/build:layers/bridge .local/envs/bridge/bin/python -m api_description`."""
    assert DESCRIPTION_FILE.read_text(encoding="utf-8") == description_text()


def test_it_has_every_path_of_the_template_and_no_other() -> None:
    events = [event for function in Template().functions for event in function.events("Api")]
    routes = {re.sub(r"\+}", "}", event["Path"]) for event in events} - {"/{proxy}"}
    assert set(DOCUMENT["paths"]) == routes | {"/openapi.json"}


def test_operations_have_unique_ids_titles_and_descriptions() -> None:
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] and operation["description"] and operation["tags"] for operation in operations)
    assert all(re.fullmatch("[a-z][A-Za-z0-9]+", operation["operationId"]) for operation in operations)


def test_every_reference_has_its_target() -> None:
    referred = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
    for reference in referred:
        _, _, kind, name = reference.split("/")
        assert name in DOCUMENT["components"][kind]
    assert {name for name in SCHEMAS if f"#/components/schemas/{name}" not in referred} <= {"ChatCompletionChunk"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_and_described(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["description"]


def test_every_field_of_a_request_is_described() -> None:
    requests = {operation.request for operation in OPERATIONS if operation.request is not None}
    used = {model for model in FIELDS if any(f"/{model}" in str(SCHEMAS[other.__name__]) for other in requests)}
    for model in {*used, *(request.__name__ for request in requests)}:
        assert FIELDS[model].keys() == SCHEMAS[model]["properties"].keys()


@pytest.mark.parametrize(("operation", "value"), EXAMPLES)
def test_an_example_is_a_valid_request(operation: Operation, value: Any) -> None:
    assert operation.request is not None
    operation.request.model_validate(value)
    schema = {"$ref": f"#/components/schemas/{operation.request.__name__}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(value)


def test_every_post_has_an_example() -> None:
    assert [
        operation.path for operation in OPERATIONS if operation.request is not None and not operation.examples
    ] == []


def test_every_error_that_a_caller_can_get_is_in_a_status_of_some_operation() -> None:
    text = yaml.safe_dump(list(DOCUMENT["paths"].values()), width=1_000_000)
    errors = [error for error in subclasses(BridgeError) if not list(subclasses(error))]
    errors = [
        error for error in errors if error not in NOT_IN_ANSWERS_OF_OPERATIONS and error.__name__ != "ProviderError"
    ]
    codes = {error.code for error in errors} | {kind.code for kind in FailureKind if kind.status < 500}
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_every_error_has_the_envelope_of_its_api() -> None:
    envelopes = {"Anthropic": "AnthropicErrorAnswer", "Ollama": "OllamaErrorAnswer"}
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            schema = {"$ref": f"#/components/schemas/{envelopes.get(operation['tags'][0], 'ErrorAnswer')}"}
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and (operation["operationId"], status) != ("getHealth", "503"):
                    assert answer["content"] == {"application/json": {"schema": schema}}


def test_health_and_what_describes_the_api_need_no_key_and_everything_else_may_have_one() -> None:
    assert DOCUMENT["security"] == [{}, {"bearer": []}]
    public = {path for path, operations in DOCUMENT["paths"].items() if "security" in next(iter(operations.values()))}
    assert public == {"/health", "/api/v1/health", "/", "/openapi.json"}  # those without an authorizer in the template


def test_it_has_the_packages_version_and_a_relative_server() -> None:
    assert DOCUMENT["info"]["version"] == __version__
    assert [server["url"] for server in DOCUMENT["servers"]] == ["."]


def test_serving_it_needs_only_the_file() -> None:
    assert orjson.loads(DESCRIPTION_FILE.read_bytes()) == DOCUMENT
    assert not list((ROOT / "layers/bridge/sekha_llm_bridge").rglob("api_description*"))

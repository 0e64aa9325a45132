"""Empty objects that were sent as `[]`."""

from typing import Any

import pytest

from sekha_llm_bridge.providers.empty_objects import arguments_with_object, schema_with_objects


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ([], {}),
        ({"type": "object", "properties": [], "required": []}, {"type": "object", "properties": {}, "required": []}),
        (
            {"items": {"$defs": []}, "anyOf": [{"properties": []}]},
            {"items": {"$defs": {}}, "anyOf": [{"properties": {}}]},
        ),
        (
            {"properties": {"a": [], "properties": {"type": "string"}}},
            {"properties": {"a": {}, "properties": {"type": "string"}}},
        ),
        ({"properties": {"default": {"properties": []}}}, {"properties": {"default": {"properties": {}}}}),
        ({"default": {"properties": []}, "enum": [[]]}, {"default": {"properties": []}, "enum": [[]]}),
        (None, None),
    ],
)
def test_a_schema_has_objects_where_it_must(sent: Any, meant: Any) -> None:
    assert schema_with_objects(sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"), [("[]", "{}"), (" [ ]", " [ ]"), ("[1]", "[1]"), ("", ""), ('{"a":1}', '{"a":1}')]
)
def test_only_an_empty_list_of_arguments_is_an_object(sent: str, meant: str) -> None:
    assert arguments_with_object(sent) == meant

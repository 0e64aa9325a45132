"""The fake assistant answers by the schema that it is given."""

import jsonschema
import pytest
from pydantic import BaseModel, Field

from tests.fakes.assistant import PERSON
from tests.fakes.schema_answers import example_of


class Person(BaseModel):
    name: str
    age: int


class Report(BaseModel):
    author: Person
    tags: list[str]
    score: int = Field(ge=1, le=10)
    is_final: bool | None
    level: str = Field(json_schema_extra={"enum": ["daily", "weekly"]})


@pytest.mark.parametrize("model", [Person, Report])
def test_an_example_fits_its_schema(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    jsonschema.validate(example_of(schema), schema)


def test_the_example_of_a_person_is_the_expected_one() -> None:
    schema = Person.model_json_schema()
    assert example_of(schema, PERSON) == PERSON

"""The bridge's Messages API and Responses API beside llama.cpp's own, with the same model and seed.

The bridge has llama.cpp behind it, once as a provider of OpenAI's format and once as one of Anthropic's.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.llama_cpp.cases import CASES, MODEL, Case, Json
from tests.integration.llama_cpp.differences import differences, pieces
from tests.integration.llama_cpp.listed_differences import ROWS
from tests.integration.llama_cpp.sides import ASKS, Answer, Ask, Sides
from tests.integration.llama_server import llama_server

pytestmark = [pytest.mark.model]

TEMPLATE = Path(__file__).with_name("tools.jinja")
SCHEMA = "a JSON schema"
COUNT_PATH = "/v1/messages/count_tokens"


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with llama_server(TEMPLATE) as url:
        yield Sides(url)


def texts(answer: Answer, api: str) -> list[Any]:
    """The texts and calls of a whole answer, in their order."""
    if api == "messages":
        return [block.get("text", block.get("name")) for block in answer.body["content"]]
    items = answer.body["output"]
    return [text for item in items for text in (item.get("name"), *(part["text"] for part in item.get("content", ())))]


@pytest.mark.parametrize("ask", [ask for ask in ASKS if ask.case.name != SCHEMA], ids=str)
def test_the_texts_and_the_pieces_of_the_streams_are_the_same(sides: Sides, ask: Ask) -> None:
    own, bridge = sides.own(ask), sides.bridge(ask)
    assert texts(bridge, ask.api) == texts(own, ask.api) != []
    assert pieces(bridge.events) == pieces(own.events) != []


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_every_difference_is_listed_with_its_reason(sides: Sides, ask: Ask) -> None:
    found = list(differences(sides.own(ask), sides.bridge(ask)))
    assert [one for one in found if not any(row.matches(ask, one) for row in ROWS)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.api}: {row.reason}")
def test_every_listed_difference_is_found(sides: Sides, row: Any) -> None:
    """Each end of a path, over each format that the row names."""
    found = [(ask, one) for ask in ASKS for one in differences(sides.own(ask), sides.bridge(ask))]
    missing = {
        (end, provider_type)
        for end in row.ends
        for provider_type in row.over
        if not any(
            row._replace(ends=[end]).matches(ask, one) for ask, one in found if ask.provider_type == provider_type
        )
    }
    assert missing == set()


def test_a_schema_that_llama_cpp_ignores_is_obeyed_where_its_chat_completions_can(sides: Sides) -> None:
    for ask in ASKS:
        if ask.case.name == SCHEMA and ask.provider_type == "openai":
            [text] = texts(sides.bridge(ask), ask.api)[-1:]
            assert json.loads(text) == {"n": 7}


def count_over(sides: Sides, provider_type: str, body: Json) -> Json:
    """The bridge's count. It waits no longer than a second for the provider's, which a busy machine may miss once."""
    function = sides.function("messages", provider_type)
    for _ in range(3):
        counted: Json = function("POST", COUNT_PATH, body).json()
        if not counted["bridge"]["estimated"]:
            break
        function = function.with_bridge(sides.bridge_over(provider_type))
    return counted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tokens_are_counted_as_llama_cpp_counts_them_or_marked_as_an_estimate(sides: Sides, case: Case) -> None:
    body: Json = {"model": MODEL, **case.messages}
    own = sides.post(COUNT_PATH, body).json()
    assert own == {"input_tokens": sides.own(Ask(case, "messages", "openai")).body["usage"]["input_tokens"]}
    counted, estimated = (count_over(sides, provider_type, body) for provider_type in ("anthropic", "openai"))
    assert not counted["bridge"]["estimated"]
    assert counted["input_tokens"] == own["input_tokens"]
    assert estimated["bridge"]["estimated"], "no API of OpenAI's format counts"
    assert estimated["input_tokens"] > 0

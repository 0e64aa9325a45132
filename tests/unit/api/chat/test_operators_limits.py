"""The limits that an operator sets for all chats: through the function, against a provider over HTTP."""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import ask, error, function


def limited(fake: FakeProvider, model: dict[str, Any] | None = None, **routing: Any) -> Function:
    return function(provider("p", model or chat_model("m"), base_url=f"{fake.url}/v1"), routing=routing)


def test_more_answers_than_the_limit_are_a_400_that_names_it(fake: FakeProvider) -> None:
    answer = ask(limited(fake, max_n=2), n=3)
    found = error(answer)
    assert (answer.status, found["code"], found["param"]) == (400, "invalid_request", "n")
    assert "at most 2 (`routing.max_n`" in found["message"]
    assert fake.received == []


@pytest.mark.parametrize("n", [None, 1, 2])
def test_answers_within_the_limit_are_given(fake: FakeProvider, n: int | None) -> None:
    assert ask(limited(fake, max_n=2), n=n).status == 200


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_output_limit_is_lowered_with_a_note(fake: FakeProvider, field: str) -> None:
    answer = ask(limited(fake, max_output_tokens=50), **{field: 500})
    (received,) = fake.received
    assert {value for name, value in received.body.items() if name in {"max_tokens", "max_completion_tokens"}} == {50}
    assert answer.json()["bridge"]["notes"] == [
        "at most 50 of the 500 output tokens that were asked for: the limit of this bridge"
    ]


def test_the_output_limit_is_sent_for_a_request_without_one(fake: FakeProvider) -> None:
    assert ask(limited(fake, max_output_tokens=50)).json()["bridge"]["notes"] == []
    (received,) = fake.received
    assert 50 in {received.body.get("max_tokens"), received.body.get("max_completion_tokens")}


@pytest.mark.parametrize("limit", ["max_n", "max_output_tokens"])
@pytest.mark.parametrize(
    "fields", [{"best_of": 4}, {"max_new_tokens": 9000}, {"options": {"num_predict": 9000}}, {"extra_body": {"n": 9}}]
)
def test_a_vendors_field_that_would_get_round_a_limit_is_a_400(
    fake: FakeProvider, limit: str, fields: dict[str, Any]
) -> None:
    answer = ask(limited(fake, None, **{limit: 2}), **fields)
    assert (answer.status, error(answer)["param"]) == (400, next(iter(fields)))
    assert fake.received == []
    assert ask(limited(fake), **fields).status == 200


def test_a_file_without_a_limit_has_one_and_the_error_says_how_to_change_it(fake: FakeProvider) -> None:
    dear = chat_model("m", price=(0, 100_000))
    answer = ask(limited(fake, dear))
    found = error(answer)
    assert (answer.status, found["code"]) == (402, "cost_limit_exceeded")
    assert "over the limit of $1" in found["message"]
    assert "set max_cost_per_request in the configuration, which has its default value" in found["message"]
    assert ask(limited(fake, dear, max_cost_per_request=None)).status == 200
    assert fake.received[0].body.keys() & {"max_tokens", "max_completion_tokens"} == set()


def test_a_file_without_a_limit_does_not_exclude_what_a_written_limit_does(fake: FakeProvider) -> None:
    unknown = chat_model("m", price=None)
    assert ask(limited(fake, unknown)).status == 200
    assert ask(limited(fake, unknown, max_cost_per_request=1)).status == 402
    assert ask(limited(fake, unknown), max_cost=1).status == 402

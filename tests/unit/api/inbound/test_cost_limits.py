"""A cost limit holds through every inbound API."""

from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, provider
from tests.unit.api.inbound.apis import Ask, Client, InboundApi

CLOUD_PATH = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def test_a_limit_lowers_the_providers_output_limit(client: Client, fake: FakeProvider, ask: Ask) -> None:
    answer = client(ask, model="gpt", max_cost=0.001)
    assert 64 <= fake.calls(CLOUD_PATH)[0].body["max_tokens"] < 500
    assert answer.receipt["cost_bound"] <= 0.001


def test_a_limit_in_a_header_holds(client: Client, fake: FakeProvider, ask: Ask) -> None:
    client(ask, model="gpt", headers={**JSON, "x-bridge-max-cost": "0.001"})
    assert 64 <= fake.calls(CLOUD_PATH)[0].body["max_tokens"] < 500


@pytest.mark.parametrize(("field", "header"), [(0.001, "0.5"), (0.5, "0.001")])
def test_of_two_limits_the_lower_one_holds(client: Client, fake: FakeProvider, field: float, header: str) -> None:
    client(model="gpt", max_cost=field, headers={**JSON, "x-bridge-max-cost": header})
    assert 64 <= fake.calls(CLOUD_PATH)[0].body["max_tokens"] < 500


@pytest.mark.parametrize("value", ["-1", "nan", "much", ""])
def test_a_bad_limit_in_a_header_is_a_400_that_names_it(client: Client, fake: FakeProvider, value: str) -> None:
    answer = client(model="gpt", headers={**JSON, "x-bridge-max-cost": value})
    assert answer.status == 400
    assert answer.error is not None
    assert answer.error["param"] == "x-bridge-max-cost"
    assert fake.received == []


def test_too_low_a_limit_is_a_402_that_names_the_cheapest(client: Client, fake: FakeProvider, ask: Ask) -> None:
    answer = client(ask, model="gpt", max_cost=0.000001)
    assert answer.status == 402
    assert answer.error is not None
    assert answer.error["code"] == "cost_limit_exceeded"
    assert "first/gpt" in answer.error["message"]
    assert fake.received == []


def test_under_a_limit_of_nothing_the_free_model_answers(client: Client, ask: Ask) -> None:
    assert client(ask, model="auto", max_cost=0).receipt["provider_id"] == "local"


def test_a_model_of_unknown_price_is_excluded_under_a_limit(api: InboundApi, fake: FakeProvider) -> None:
    over = api.over(provider("p", chat_model("unpriced", price=None), base_url=f"{fake.url}/v1"))
    assert over(model="unpriced", max_cost=1).status == 402
    assert fake.received == []


def test_a_billed_failure_counts_against_the_limit(
    api: InboundApi, fake: FakeProvider, second: FakeProvider, ask: Ask
) -> None:
    """The first answer is empty and was billed nearly the whole limit, so the second provider is too expensive."""
    empty = chat_completion(None)
    empty["choices"] = []
    empty["usage"] = {"prompt_tokens": 20, "completion_tokens": 450, "total_tokens": 470}
    fake.always(CLOUD_PATH, Reply(body=empty))
    over = api.over(
        provider("one", chat_model("a", price=(1, 2)), base_url=f"{fake.url}/v1", priority=1),
        provider("two", chat_model("b", price=(1, 2)), base_url=f"{second.url}/v1", priority=2),
    )
    answer = over(ask, model="auto", max_cost=0.00105)
    assert answer.status == 502
    assert answer.error is not None
    assert "not tried: two/b" in answer.error["message"]
    assert answer.error["cost_bound"] <= 0.00105
    assert second.received == []


def test_the_operators_limit_holds_for_every_api(api: InboundApi, fake: FakeProvider) -> None:
    over = api.over(
        provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"), routing={"max_cost_per_request": 0.001}
    )
    assert over(model="gpt", max_cost=5).receipt["cost_bound"] <= 0.001


_EFFORTS: dict[str, dict[str, Any]] = {
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 8000}, "max_tokens": 20_000},
    "ollama-chat": {"think": "high"},
    "ollama-generate": {"think": "high"},
}


def test_a_limit_without_room_for_a_budget_of_thinking_leaves_it_out_with_a_note(
    api: InboundApi, fake: FakeProvider, ask: Ask
) -> None:
    """Anthropic's smallest budget is 1,024 tokens. `reasoning_effort` is a requirement: its model is no candidate."""
    claude = chat_model("claude-sonnet-4-5", price=(3, 15), context_window=200_000)
    over = api.over(provider("p", claude, provider_type="anthropic", base_url=fake.url))
    ask = replace(ask, max_tokens=None)
    if api.name not in _EFFORTS:
        effort = {"reasoning": {"effort": "high"}} if api.name == "responses" else {"reasoning_effort": "high"}
        answer = over(ask, model="claude-sonnet-4-5", max_cost=0.012, **effort)
        assert answer.status == 400
        assert answer.error is not None
        assert "reasons only with more than 1024 output tokens" in answer.error["message"]
        return
    answer = over(ask, model="claude-sonnet-4-5", max_cost=0.012, **_EFFORTS[api.name])
    sent = fake.calls("/v1/messages")[0].body
    assert 64 <= sent["max_tokens"] <= 1024
    assert "thinking" not in sent
    assert any(note.startswith("left out") for note in answer.receipt["notes"])

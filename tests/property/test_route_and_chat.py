"""What `/route` explains is what a chat then does: both through their handlers, over random fleets that partly fail."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider
from tests.property.worlds import limits_usd, models

CHAT = "/v1/chat/completions"
FAILURES = {"ok": None, "down": Reply(500, {}), "limited": Reply(429, {}), "missing": Reply(404, {})}
fleets = st.lists(
    st.tuples(
        st.integers(1, 3), st.sampled_from(["ok", "ok", "ok", *FAILURES]), st.lists(models, min_size=2, max_size=4)
    ),
    min_size=1,
    max_size=3,
)
texts = st.text(min_size=1, max_size=200)
questions = st.fixed_dictionaries(
    {"messages": texts.map(lambda text: [{"role": "user", "content": text}])},
    optional={
        "max_tokens": st.integers(1, 3000),
        "preferred_model": st.sampled_from(["m0", "m1", "ghost"]),
        "model": st.sampled_from(["m0", "m1", "auto"]),
        "require_vision": st.booleans(),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "max_cost": limits_usd.map(lambda amount: None if amount is None else str(amount)),
        "n": st.integers(1, 2),
    },
)


@pytest.fixture(scope="module")
def fakes() -> Iterator[list[FakeProvider]]:
    with FakeProvider() as one, FakeProvider() as two, FakeProvider() as three:
        yield [one, two, three]


@pytest.fixture(scope="module")
def functions() -> tuple[Function, Function]:
    bridge = make_bridge(make_settings(provider("p", chat_model())))
    return Function("route", bridge), Function("chat_completions", bridge)


def fleet_of(rows: list[tuple[int, str, list[dict[str, Any]]]], fakes: list[FakeProvider]) -> list[dict[str, Any]]:
    for fake in fakes:
        fake.received.clear()
    for fake, (_, failure, _) in zip(fakes, rows, strict=False):
        fake.always(CHAT, FAILURES[failure])
    return [
        provider(f"p{i}", *offered, base_url=f"{fakes[i].url}/v1", priority=priority)
        for i, (priority, _, offered) in enumerate(rows)
    ]


# The functions and the fake providers are made once; each example gives them another fleet.
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=fleets, question=questions, task=st.sampled_from(["chat_small", "chat_small", "chat_smart"]), limit=limits_usd
)
def test_route_names_the_attempts_that_a_chat_makes_in_their_order(
    rows: list[Any],
    question: dict[str, Any],
    task: str,
    limit: Any,
    fakes: list[FakeProvider],
    functions: tuple[Function, Function],
) -> None:
    fleet = fleet_of(rows, fakes)
    bridge = make_bridge(make_settings(*fleet, routing={"max_cost_per_request": limit}))
    route, chat = (function.with_bridge(bridge) for function in functions)
    explained = route("POST", "/api/v1/route", {**question, "task": task})
    answer = chat("POST", CHAT, {**question, "task": task})
    if explained.status != 200:
        event(f"route says {explained.status}")
        said = explained.json()
        assert all(row["excluded"] for row in said["error"].pop("candidates", ()))
        assert (answer.status, answer.json()) == (explained.status, said)
        assert not any(fake.calls(CHAT) for fake in fakes)
        return
    candidates = [row for row in explained.json()["candidates"] if row["excluded"] is None]
    works = {f"p{i}": failure == "ok" for i, (_, failure, _) in enumerate(rows)}
    expected = [(row["provider_id"], row["model_id"]) for row in candidates]
    first_that_works = next((i for i, row in enumerate(candidates) if works[row["provider_id"]]), None)
    event(f"answered by {first_that_works}")
    if first_that_works is None:
        assert answer.status in {429, 502}
        attempts = answer.json()["error"]["attempts"]
    else:
        expected = expected[: first_that_works + 1]
        receipt, row = answer.json()["bridge"], candidates[first_that_works]
        attempts = receipt["attempts"]
        assert (receipt["estimated_cost"], receipt["price_source"]) == (row["estimated_cost"], row["price_source"])
        # The provider always bills seven tokens of output, even above the requested limit; the receipt notes that.
        bound = row["cost_bound"]
        assert receipt["cost_bound"] == (bound if bound is None else max(bound, receipt["cost"]))
    assert [(attempt["provider_id"], attempt["model_id"]) for attempt in attempts] == expected

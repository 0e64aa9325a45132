"""A conversation stays for five minutes at the provider that has answered it, where another would be as good."""

from collections.abc import Iterator
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.clock import Clock, SystemClock
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat_function import PATH

CHAT = "/v1/chat/completions"
RULES = {"role": "system", "content": "Answer in one sentence, and name the file. " * 60}
UNAVAILABLE = Reply(503, {"error": {"message": "overloaded"}})


class Twins:
    """Two providers of the same model, at the same price, and the clock of the bridge. A stream needs a real one: it
    waits for the next ping.
    """

    def __init__(self, fake: FakeProvider, second: FakeProvider, clock: Clock | None = None, **fields: Any) -> None:
        self.first = fake
        twins = [
            provider("first", chat_model("m"), base_url=f"{fake.url}/v1"),
            provider("second", chat_model("m", **fields), base_url=f"{second.url}/v1"),
        ]
        self.bridge = make_bridge(make_settings(*twins), clock=clock or FakeClock())
        self._chat, self._route = Function("chat_completions", self.bridge), Function("route", self.bridge)

    def ask(self, *, rules: dict[str, str] = RULES, stream: bool = False) -> str:
        """The provider of the answer."""
        messages = [rules, {"role": "user", "content": "Which one?"}]
        answer = self._chat("POST", PATH, {"messages": messages, "stream": stream})
        assert answer.status == 200
        return answer.headers["x-bridge-provider"]

    def explain(self) -> list[str]:
        """The order that `/route` explains."""
        body = {"messages": [RULES, {"role": "user", "content": "Which one?"}]}
        plan = self._route("POST", "/api/v1/route", body).json()
        return [row["provider_id"] for row in plan["candidates"]]

    def fail_once(self) -> None:
        """Has the first provider fail at the next request."""
        self.first.script(CHAT, UNAVAILABLE)


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_conversation_stays_where_a_failover_has_brought_it(
    fake: FakeProvider, second: FakeProvider, *, stream: bool
) -> None:
    twins = Twins(fake, second, SystemClock())
    assert twins.explain() == ["first", "second"]
    twins.fail_once()
    assert twins.ask(stream=stream) == "second"
    assert twins.ask(stream=stream) == "second"
    assert twins.explain() == ["second", "first"]
    assert twins.ask(rules={**RULES, "content": RULES["content"][::-1]}) == "first"


def test_it_returns_after_five_minutes_without_a_request(fake: FakeProvider, second: FakeProvider) -> None:
    clock = FakeClock()
    twins = Twins(fake, second, clock)
    twins.fail_once()
    twins.ask()
    clock.advance(299)
    assert twins.ask() == "second"
    clock.advance(300)
    assert twins.explain() == ["first", "second"]
    assert twins.ask() == "first"


def test_it_returns_at_once_where_the_other_costs_more(fake: FakeProvider, second: FakeProvider) -> None:
    twins = Twins(fake, second, price=(1, 2.1))
    twins.fail_once()
    assert [twins.ask(), twins.ask()] == ["second", "first"]


def test_a_prompt_too_short_to_be_cached_is_not_remembered(fake: FakeProvider, second: FakeProvider) -> None:
    twins = Twins(fake, second)
    twins.fail_once()
    brief = {"role": "system", "content": "Be brief."}
    assert [twins.ask(rules=brief), twins.ask(rules=brief)] == ["second", "first"]

"""How long a provider may take to count the tokens of a prompt."""

import asyncio
from typing import Any

import pytest

from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.execution.token_counts import TokenCounts
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.routing import Catalog
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider


class Counter:
    """A directory with one provider, which records the time that it was given."""

    def __init__(self) -> None:
        self.timeouts_s: list[float] = []

    def get(self, _provider_id: str) -> Any:
        return self

    async def count_tokens(self, _call: ChatCall, *, timeout_s: float) -> int:
        self.timeouts_s.append(timeout_s)
        return 7


@pytest.mark.parametrize(("remaining_s", "timeout_s"), [(100.0, 1.0), (5.0, 1.0), (3.0, 0.6), (0.5, 0.1)])
def test_a_count_has_a_second_and_at_most_a_fifth_of_what_is_left(
    clock: FakeClock, remaining_s: float, timeout_s: float
) -> None:
    catalog = Catalog.of(make_settings(provider("p", chat_model("m"))), PriceBook())
    counter: Any = Counter()
    counting = TokenCounts(counter, clock).count(catalog.models, Conversation(()), remaining_s=remaining_s)
    assert asyncio.run(counting) == {("p", "m"): 7}
    assert counter.timeouts_s == pytest.approx([timeout_s])

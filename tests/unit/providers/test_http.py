"""The connection pool reuses connections, but not after the environment was frozen."""

import asyncio

from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider


def ports_of_calls(fake: FakeProvider, clock: FakeClock, sleep_s: float) -> list[int]:
    """The client ports of two calls with `sleep_s` between them."""

    async def calls() -> None:
        http = JsonHttp(clock)
        await http.get(f"{fake.url}/v1/models", headers={}, timeout_s=5)
        clock.advance(sleep_s)
        await http.get(f"{fake.url}/v1/models", headers={}, timeout_s=5)
        await http.aclose()

    asyncio.run(calls())
    return [request.peer_port for request in fake.received]


def test_the_next_call_uses_the_same_connection(fake: FakeProvider, clock: FakeClock) -> None:
    first, second = ports_of_calls(fake, clock, 1)
    assert first == second


def test_after_a_long_pause_a_new_connection_is_opened(fake: FakeProvider, clock: FakeClock) -> None:
    first, second = ports_of_calls(fake, clock, 31)
    assert first != second

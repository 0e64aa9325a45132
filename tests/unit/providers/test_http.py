"""The connection pool: connections are kept, but not beyond a sleep."""

import asyncio

from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider


def ports_of_calls(fake: FakeProvider, clock: FakeClock, sleep_s: float) -> list[int]:
    """The client ports of two calls with a sleep of the environment between them."""

    async def calls() -> None:
        http = JsonHttp(clock)
        await http.get(f"{fake.url}/v1/models", headers={}, timeout_s=5)
        clock.advance(sleep_s)
        await http.get(f"{fake.url}/v1/models", headers={}, timeout_s=5)
        await http.aclose()

    asyncio.run(calls())
    return [request.peer_port for request in fake.received]


def test_the_next_call_takes_the_same_connection(fake: FakeProvider, clock: FakeClock) -> None:
    first, second = ports_of_calls(fake, clock, 1)
    assert first == second


def test_after_a_long_sleep_the_connection_is_not_trusted(fake: FakeProvider, clock: FakeClock) -> None:
    first, second = ports_of_calls(fake, clock, 31)
    assert first != second

"""Both clients, and providers in the place of a bridge."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.clients.both_clients import CLIENTS, Client

Connect = Callable[..., Client]


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes the blocking client, or that for asyncio, of a URL."""
    with ExitStack() as closing:

        def make(url: str, **options: Any) -> Client:
            client = CLIENTS[request.param](url, **options)
            closing.callback(client.close)
            return client

        yield make

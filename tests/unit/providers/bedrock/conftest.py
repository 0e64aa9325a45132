"""Bedrock on loopback."""

from collections.abc import Iterator

import pytest

from tests.fakes.bedrock import FakeBedrock


@pytest.fixture
def bedrock() -> Iterator[FakeBedrock]:
    """Bedrock on loopback."""
    with FakeBedrock() as server:
        yield server

"""Runs the claims about adapters over each wire format, and over each vendor's row where they have no cases."""

from collections.abc import Iterator

import pytest

from tests.contract.streams import AdapterRunner, run_adapter
from tests.contract.wire_formats import OLLAMA, OPENAI, WireFormat, formats_of
from tests.fakes.provider import FakeProvider
from tests.fakes.unfinished_work import fast_garbage_collection


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a claim with the argument `wire` every format that it applies to, unless it lists its own."""
    tables = list(metafunc.definition.iter_markers("parametrize"))
    if "wire" in metafunc.fixturenames and not any("wire" in table.args[0] for table in tables):
        formats = formats_of(metafunc.function.__name__, has_cases=bool(tables))
        metafunc.parametrize("wire", formats, ids=lambda wire: wire.name, indirect=True)


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> WireFormat:
    """The wire format under test."""
    found: WireFormat = request.param
    return found


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """A provider on loopback, of the format under test."""
    wire = request.getfixturevalue("wire") if "wire" in request.fixturenames else OPENAI
    with wire.fake() as server:
        yield server


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """Makes garbage collection fast, so that each test can check for its own leftovers."""
    with fast_garbage_collection():
        yield


@pytest.fixture
def adapter_runner(wire: WireFormat, fake: FakeProvider) -> Iterator[AdapterRunner]:
    """An adapter of each wire format in turn."""
    yield from run_adapter(fake, wire)


@pytest.fixture
def openai(fake: FakeProvider) -> Iterator[AdapterRunner]:
    """The adapter for OpenAI's format."""
    yield from run_adapter(fake, OPENAI)


@pytest.fixture
def ollama(fake: FakeProvider) -> Iterator[AdapterRunner]:
    """The adapter for Ollama's format."""
    yield from run_adapter(fake, OLLAMA)

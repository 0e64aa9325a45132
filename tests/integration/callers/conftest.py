"""One stack for all callers."""

from collections.abc import Iterator

import pytest

from local_stack.testing import RunningStack
from tests.clients.stack import CallersStack, stack_of_callers


@pytest.fixture(scope="package")
def callers_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallersStack]:
    """A stack that answers everything."""
    with stack_of_callers(tmp_path_factory.mktemp("config")) as running:
        yield running


@pytest.fixture(scope="package")
def stack(callers_stack: CallersStack) -> RunningStack:
    """The same stack, for tests that do not look at its provider."""
    return callers_stack.running

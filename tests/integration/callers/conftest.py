"""One stack for all callers."""

from collections.abc import Iterator

import pytest

from local_stack.testing import RunningStack
from tests.clients.stack import stack_of_callers


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that answers everything."""
    with stack_of_callers(tmp_path_factory.mktemp("config")) as running:
        yield running

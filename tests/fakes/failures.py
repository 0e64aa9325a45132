"""Expecting one kind of failure."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sekha_llm_bridge.errors import FailureKind, ProviderError


@contextmanager
def raises_failure(kind: FailureKind, *, match: str | None = None) -> Iterator[pytest.ExceptionInfo[ProviderError]]:
    """Like `pytest.raises`, for a `ProviderError` of that kind."""
    with pytest.raises(ProviderError, match=match) as caught:
        yield caught
    assert caught.value.kind is kind

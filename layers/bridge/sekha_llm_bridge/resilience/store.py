"""The interface of the stores of provider records. Every write is one conditional write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sekha_llm_bridge.resilience.breaker import Breaker
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Whether the condition was met and the write was made, and the stored breaker after the request."""

    is_written: bool
    breaker: Breaker


class ProviderStore(Protocol):
    """The records of all providers. Every method raises `StoreUnavailable`.

    A write that raises may have been made, or may still be made later.
    """

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """Returns the records that exist, read consistently."""
        ...

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """Adds 1 to the failure count atomically, and stores the last failure of `after`.

        The condition: the stored epoch is that of `before`.
        """
        ...

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """Stores the fields in which `after` differs from `before`.

        The condition: the stored epoch and lease are those of `before`, and the stored failure count is not lower.
        """
        ...

    async def record_check(self, result: CheckResult) -> None:
        """Stores the result of a check. The breaker is not changed."""
        ...


class StoreUnavailable(Exception):
    """The store did not answer in time, or failed. The message has only the kind of failure."""

"""Where the records are kept: three ways to write, each of them one conditional write at most."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sekha_llm_bridge.resilience.breaker import Breaker
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Whether the condition held and the write was made, and the breaker as it is now, by whoever wrote it."""

    done: bool
    breaker: Breaker


class ProviderStore(Protocol):
    """The records of all providers. Every method raises `StoreUnavailable`; what it was doing may then have been done,
    or may yet be.
    """

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """The record of each provider that has one, consistently."""
        ...

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """Adds one to the count, atomically, and keeps `after`'s last failure; if the epoch is still that of
        `before`.
        """
        ...

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """Writes what differs between the two; if epoch and lease are still those of `before`, and at least as many
        failures have been counted.
        """
        ...

    async def record_check(self, result: CheckResult) -> None:
        """Keeps the result of a check; the breaker is left as it is."""
        ...


class StoreUnavailable(Exception):
    """The store did not answer, or not in time; the message says no more than the kind of failure."""

"""Provider records in memory: for tests, and for functions without a table."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from sekha_llm_bridge.resilience.breaker import Breaker
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import WriteResult


class MemoryProviderStore:
    """A `ProviderStore` in this process. Its methods never suspend, so each write is atomic within the event loop."""

    def __init__(self) -> None:
        self._records: dict[str, ProviderRecord] = {}

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`."""
        return {provider_id: self._records[provider_id] for provider_id in provider_ids if provider_id in self._records}

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.add_failure`."""
        stored = self._record(provider_id).breaker
        if stored.epoch != before.epoch:
            return WriteResult(is_written=False, breaker=stored)
        counted = replace(stored, failure_count=stored.failure_count + 1, last_failure=after.last_failure)
        return self._write(provider_id, replace(counted, cause=after.cause, failure_source=after.failure_source))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.replace`."""
        stored = self._record(provider_id).breaker
        is_unchanged = (stored.epoch, _token(stored)) == (before.epoch, _token(before))
        if not is_unchanged or stored.failure_count < before.failure_count:
            return WriteResult(is_written=False, breaker=stored)
        return self._write(provider_id, replace(stored, **_differences(before, after)))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`."""
        self._records[result.provider_id] = replace(self._record(result.provider_id), check=result)

    def _record(self, provider_id: str) -> ProviderRecord:
        return self._records.get(provider_id, ProviderRecord())

    def _write(self, provider_id: str, breaker: Breaker) -> WriteResult:
        self._records[provider_id] = replace(self._record(provider_id), breaker=breaker)
        return WriteResult(is_written=True, breaker=breaker)


def _token(breaker: Breaker) -> str | None:
    return breaker.lease.token if breaker.lease else None


def _differences(before: Breaker, after: Breaker) -> dict[str, Any]:
    names = [field.name for field in fields(Breaker)]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}

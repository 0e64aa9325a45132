"""Provider records in this process: for tests, and where no table is configured."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from sekha_llm_bridge.resilience.breaker import Breaker
from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord
from sekha_llm_bridge.resilience.store import WriteResult


class MemoryProviderStore:
    """A `ProviderStore` that forgets with its process. Nothing in it waits, so each write is atomic in its loop."""

    def __init__(self) -> None:
        self._records: dict[str, ProviderRecord] = {}

    async def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `ProviderStore.read`."""
        return {provider_id: self._records[provider_id] for provider_id in provider_ids if provider_id in self._records}

    async def add_failure(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.add_failure`."""
        now = self._record(provider_id).breaker
        if now.epoch != before.epoch:
            return WriteResult(done=False, breaker=now)
        counted = replace(now, failure_count=now.failure_count + 1, last_failure=after.last_failure)
        return self._write(provider_id, replace(counted, cause=after.cause, failure_source=after.failure_source))

    async def replace(self, provider_id: str, before: Breaker, after: Breaker) -> WriteResult:
        """See `ProviderStore.replace`."""
        now = self._record(provider_id).breaker
        is_as_before = (now.epoch, _token(now)) == (before.epoch, _token(before))
        if not is_as_before or now.failure_count < before.failure_count:
            return WriteResult(done=False, breaker=now)
        return self._write(provider_id, replace(now, **_differences(before, after)))

    async def record_check(self, result: CheckResult) -> None:
        """See `ProviderStore.record_check`."""
        self._records[result.provider_id] = replace(self._record(result.provider_id), check=result)

    def _record(self, provider_id: str) -> ProviderRecord:
        return self._records.get(provider_id, ProviderRecord())

    def _write(self, provider_id: str, breaker: Breaker) -> WriteResult:
        self._records[provider_id] = replace(self._record(provider_id), breaker=breaker)
        return WriteResult(done=True, breaker=breaker)


def _token(breaker: Breaker) -> str | None:
    return breaker.lease.token if breaker.lease else None


def _differences(before: Breaker, after: Breaker) -> dict[str, Any]:
    names = [field.name for field in fields(Breaker)]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}

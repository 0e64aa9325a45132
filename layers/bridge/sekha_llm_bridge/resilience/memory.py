"""Provider records in this process: for tests, and where no table is configured."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sekha_llm_bridge.resilience.records import CheckResult, ProviderRecord


class MemoryHealthStore:
    """A `HealthStore` that forgets with its process."""

    def __init__(self) -> None:
        self._records: dict[str, ProviderRecord] = {}

    def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `HealthStore.read`."""
        return {provider_id: self._records[provider_id] for provider_id in provider_ids if provider_id in self._records}

    def record_check(self, result: CheckResult) -> None:
        """See `HealthStore.record_check`."""
        before = self._records.get(result.provider_id, ProviderRecord())
        self._records[result.provider_id] = replace(before, check=result)

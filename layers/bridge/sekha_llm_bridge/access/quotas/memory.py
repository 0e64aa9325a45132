"""Accounts in memory: for tests, and for a bridge without a table, whose quotas hold for one process."""

from sekha_llm_bridge.access.quotas.account import NO_HOLD, Account
from sekha_llm_bridge.access.quotas.store import Change, WriteResult


class MemoryQuotaStore:
    """A `QuotaStore` in this process. Its methods never suspend, so each write is atomic within the event loop."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    async def read(self, owner: str) -> Account:
        """See `QuotaStore.read`."""
        return self._accounts.get(owner, Account())

    async def change(self, owner: str, change: Change) -> WriteResult:
        """See `QuotaStore.change`."""
        stored = await self.read(owner)
        if not _is_allowed(stored, change):
            return WriteResult(is_written=False, account=stored)
        holds = {name: hold for name, hold in stored.holds.items() if name not in change.ended}
        if change.hold != NO_HOLD:
            holds[change.hold_name] = change.hold
        return self._write(owner, stored.added(change.amounts)._replace(holds=holds))

    async def replace(self, owner: str, before: Account, after: Account) -> WriteResult:
        """See `QuotaStore.replace`."""
        stored = await self.read(owner)
        if stored.version != before.version:
            return WriteResult(is_written=False, account=stored)
        return self._write(owner, after._replace(version=stored.version))

    def _write(self, owner: str, account: Account) -> WriteResult:
        self._accounts[owner] = written = account._replace(version=account.version + 1)
        return WriteResult(is_written=True, account=written)


def _is_allowed(stored: Account, change: Change) -> bool:
    return (
        all(stored.periods.get(period) == name for period, name in change.periods.items())
        and all(stored.used.get(counter, 0) <= most for counter, most in change.maxima.items())
        and (change.hold == NO_HOLD or change.hold_name not in stored.holds)
        and (not change.ended or change.ended[0] in stored.holds)
    )

"""The interface of the stores of accounts. Every write is one conditional write of one item."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sekha_llm_bridge.access.quotas.account import NO_HOLD, Account, Counter, Hold, Period


class Change(NamedTuple):
    """Amounts to add to an account, under conditions.

    `periods`: the account counts in these periods. `maxima`: what each counter may have before the change. `hold` is
    stored under `hold_name`, which must not exist yet. The holds named in `ended` are removed; the first must exist.
    """

    amounts: Mapping[Counter, int]
    periods: Mapping[Period, str] = {}
    maxima: Mapping[Counter, int] = {}
    hold_name: str = ""
    hold: Hold = NO_HOLD
    ended: tuple[str, ...] = ()


class WriteResult(NamedTuple):
    """Whether the conditions were met and the change was made, and the account after the request."""

    is_written: bool
    account: Account


class QuotasUnavailable(Exception):
    """The store did not answer in time, or failed. The message has only the kind of failure."""


class QuotaStore(Protocol):
    """The accounts of all owners. Every method raises `QuotasUnavailable`.

    A write that raises may have been made, or may still be made later.
    """

    async def read(self, owner: str) -> Account:
        """Returns the account, read consistently; an empty one where there is none."""
        ...

    async def change(self, owner: str, change: Change) -> WriteResult:
        """Makes a change if its conditions are met. A counter that does not exist counts as 0."""
        ...

    async def replace(self, owner: str, before: Account, after: Account) -> WriteResult:
        """Stores `after` if the stored account still has the version of `before`."""
        ...

"""The known health of a bridge: the last report, and the outage since then, if any."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from sekha_llm_bridge.cli.health.report import HealthReport


@dataclass(frozen=True, slots=True)
class Received:
    """A report, and the time when it was received."""

    report: HealthReport
    at: datetime


@dataclass(frozen=True, slots=True)
class Outage:
    """No report was received since then. `reason`: the error of the latest attempt."""

    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class View:
    """The last report and the current outage; both None before the first answer."""

    url: str
    received: Received | None = None
    outage: Outage | None = None

    def with_report(self, report: HealthReport, at: datetime) -> Self:
        """Returns the view with a new report, without outage."""
        return replace(self, received=Received(report, at), outage=None)

    def without_report(self, reason: str, at: datetime) -> Self:
        """Returns the view with an outage. The last report stays, and so does the start of an outage that already
        exists."""
        return replace(self, outage=Outage(self.outage.since if self.outage else at, reason))

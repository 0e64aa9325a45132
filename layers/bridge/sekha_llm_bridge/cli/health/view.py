"""What is known of a bridge's health at one moment: the last report, and since when none has come."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from sekha_llm_bridge.cli.health.report import HealthReport


@dataclass(frozen=True, slots=True)
class Received:
    """A report and when it came."""

    report: HealthReport
    at: datetime


@dataclass(frozen=True, slots=True)
class Outage:
    """No report has come since then; `reason` is that of the latest attempt."""

    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class View:
    """Nothing but the URL at first."""

    url: str
    received: Received | None = None
    outage: Outage | None = None

    def with_report(self, report: HealthReport, at: datetime) -> Self:
        """A report came: an outage is over."""
        return replace(self, received=Received(report, at), outage=None)

    def without_report(self, reason: str, at: datetime) -> Self:
        """None came: the last one stays, and so does the time since which there is an outage."""
        return replace(self, outage=Outage(self.outage.since if self.outage else at, reason))

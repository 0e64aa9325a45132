"""The loop of `sekha-bridge health`, with scripted answers and a fake wait."""

import pytest

from sekha_llm_bridge.cli.health.report import HealthReport, Overall
from sekha_llm_bridge.cli.health.source import Answer, NoReport
from sekha_llm_bridge.cli.health.view import Outage, Received, View
from sekha_llm_bridge.cli.health.watch import watch
from tests.fakes.clock import FakeClock

HEALTHY = HealthReport(status=Overall.HEALTHY, providers={})
DEGRADED = HealthReport(status=Overall.DEGRADED, providers={})
REFUSED = NoReport("http://h", "cannot be reached, refused", "start it")
RESET = NoReport("http://h", "cannot be reached, reset", "start it")

Event = HealthReport | NoReport | KeyboardInterrupt


class WatchRun:
    """Runs the loop on `events`, 2 s apart, with Ctrl-C during the wait after the last. `shown`: the displayed views."""

    def __init__(self, clock: FakeClock, *events: Event) -> None:
        self.shown: list[View] = []
        self._events = iter(events)
        self._waits = iter(range(len(events) - 1))
        self._clock = clock
        self.last = watch(View("http://h"), ask=self._ask, show=self.shown.append, wait=self._wait, now=clock.now)

    def _ask(self) -> Answer:
        event = next(self._events)
        if isinstance(event, HealthReport):
            return Answer(event, {})
        raise event

    def _wait(self) -> None:
        if next(self._waits, None) is None:
            raise KeyboardInterrupt
        self._clock.advance(2)


def test_every_report_is_shown_with_the_time_of_its_receipt(clock: FakeClock) -> None:
    first_at = clock.now()
    run = WatchRun(clock, HEALTHY, DEGRADED)
    assert [view.received for view in run.shown] == [
        None,
        Received(HEALTHY, first_at),
        Received(DEGRADED, clock.now()),
    ]


def test_ctrl_c_during_the_wait_returns_the_last_view(clock: FakeClock) -> None:
    assert WatchRun(clock, HEALTHY, DEGRADED).last.received == Received(DEGRADED, clock.now())


def test_ctrl_c_during_a_request_returns_the_view_before_it(clock: FakeClock) -> None:
    received = WatchRun(clock, HEALTHY, KeyboardInterrupt()).last.received
    assert received is not None
    assert received.report is HEALTHY


def test_ctrl_c_before_the_first_answer_returns_an_empty_view(clock: FakeClock) -> None:
    assert WatchRun(clock, KeyboardInterrupt()).last == View("http://h")


def test_an_outage_keeps_the_last_report_its_start_and_the_latest_reason(clock: FakeClock) -> None:
    received_at = clock.now()
    last = WatchRun(clock, HEALTHY, REFUSED, RESET, REFUSED, RESET).last
    began_at = received_at.replace(second=received_at.second + 2)
    assert last.received == Received(HEALTHY, received_at)
    assert last.outage == Outage(began_at, "cannot be reached, reset: start it")


def test_a_bridge_that_is_unreachable_at_first_is_requested_again(clock: FakeClock) -> None:
    run = WatchRun(clock, REFUSED, REFUSED, HEALTHY)
    assert [view.outage is not None for view in run.shown] == [False, True, True, False]
    assert run.last.received == Received(HEALTHY, clock.now())


def test_the_next_outage_has_its_own_start(clock: FakeClock) -> None:
    last = WatchRun(clock, REFUSED, HEALTHY, REFUSED).last
    assert last.outage is not None
    assert last.outage.since == clock.now()


def test_an_unexpected_error_is_not_treated_as_an_outage(clock: FakeClock) -> None:
    def broken() -> Answer:
        raise ZeroDivisionError

    shown: list[View] = []
    with pytest.raises(ZeroDivisionError):
        watch(View("http://h"), ask=broken, show=shown.append, wait=lambda: None, now=clock.now)

"""The display of `sekha-bridge health`, at a fixed time."""

from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sekha_llm_bridge.cli.health.durations import ago_text, duration_text
from sekha_llm_bridge.cli.health.report import HealthReport
from sekha_llm_bridge.cli.health.screen import HealthScreen
from sekha_llm_bridge.cli.health.view import View

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://127.0.0.1:8000"


def at(seconds: float) -> str:
    """Returns the time that many seconds after `NOW`, in the format of the bridge."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


LOCAL = {
    "status": "healthy",
    "models_count": 3,
    "circuit_breaker": {"state": "closed", "failure_count": 0, "last_failure": None},
    "latency_ms": 45,
    "last_checked": at(-12),
}
CLOUD = {
    "status": "unhealthy",
    "models_count": 12,
    "circuit_breaker": {
        "state": "open",
        "failure_count": 5,
        "last_failure": at(-3),
        "cause": "connect_failed",
        "retry_at": at(42),
    },
    "latency_ms": None,
    "last_checked": at(-12),
    "error": "provider_timeout",
}


def view_of(providers: dict[str, Any], **more: object) -> View:
    report = HealthReport.model_validate({"status": "degraded", "version": "2.0.0", "providers": providers, **more})
    return View(URL).with_report(report, NOW)


def drawn(view: View, width: int = 80, now: datetime = NOW) -> list[str]:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(HealthScreen(view, now))
    return [line.rstrip() for line in console.export_text().splitlines()]


def row(provider: dict[str, Any], width: int = 140) -> str:
    return drawn(view_of({"p": {"status": "healthy", **provider}}), width)[4]


def breaker(**fields: object) -> str:
    return row({"circuit_breaker": fields})


def test_80_columns_show_every_value_with_parts_below_each_other() -> None:
    assert drawn(view_of({"ollama_local": LOCAL, "openai_cloud": CLOUD})) == [
        "degraded  http://127.0.0.1:8000",
        "version 2.0.0, reported 2026-01-02 03:04:05 UTC",
        "",
        "provider          status     models  latency  checked   breaker        failures",
        "ollama_local      healthy         3    45 ms  12 s ago  closed         0",
        "openai_cloud      unhealthy      12        –  12 s ago  open           5",
        "  connect_failed                                        probe in 42 s  3 s ago",
    ]


def test_a_wide_terminal_has_a_line_for_each_provider() -> None:
    assert drawn(view_of({"ollama_local": LOCAL, "openai_cloud": CLOUD}), width=120)[3:] == [
        "provider      status     models  latency  checked   breaker              failures    why",
        "ollama_local  healthy         3    45 ms  12 s ago  closed               0",
        "openai_cloud  unhealthy      12        –  12 s ago  open, probe in 42 s  5, 3 s ago  connect_failed",
    ]


def test_when_80_columns_are_too_few_the_number_of_models_is_dropped_first() -> None:
    assert drawn(view_of({"openai_cloud_backup": {**CLOUD, "last_checked": at(-600)}}))[3:] == [
        "provider             status     latency  checked     breaker        failures",
        "openai_cloud_backup  unhealthy        –  10 min ago  open           5",
        "  connect_failed                                     probe in 42 s  3 s ago",
    ]


@pytest.mark.parametrize("width", [30, 44, 60])
def test_a_terminal_that_no_table_fits_gets_a_block_of_lines_for_each_provider(width: int) -> None:
    lines = drawn(view_of({"ollama_local": LOCAL, "openai_cloud": CLOUD}), width)
    blocks = [line.split() for line in lines if line.strip()]
    names = [words[1] for words in blocks if words[0] == "provider"]
    assert names == ["ollama_local", "openai_cloud"]
    assert [words[1] for words in blocks if words[0] == "status"] == [LOCAL["status"], CLOUD["status"]]
    assert all(len(line.rstrip()) <= width for line in lines)


def test_only_a_long_name_is_folded() -> None:
    lines = drawn(view_of({"openrouter_fallback_for_the_whole_of_europe": CLOUD}))
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["provider", "status", "latency", "checked", "breaker", "failures"]
    assert "unhealthy        –  12 s ago  open           5" in lines[4]
    assert "probe in 42 s  3 s ago" in lines[5]
    width = lines[3].index("status")
    folded = "".join(line[:width].strip() for line in lines[4:])
    assert folded == "openrouter_fallback_for_the_whole_of_europeconnect_failed"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "closed"}, "  closed  "),
        ({"state": "half_open"}, "  half-open  "),
        ({"state": "open"}, "  open  "),
        ({"state": "open", "retry_at": at(42)}, "  open, probe in 42 s  "),
        ({"state": "open", "retry_at": at(0.2)}, "  open, probe in 1 s  "),
        ({"state": "open", "retry_at": at(0)}, "  open, probe due  "),
        ({"state": "open", "retry_at": at(-60)}, "  open, probe due  "),
        ({"state": "half_open", "retry_at": at(42)}, "  half-open  "),
        ({"state": "isolated"}, "  isolated  "),
    ],
)
def test_a_breaker_shows_its_state_and_when_an_open_one_may_be_probed(fields: dict[str, Any], text: str) -> None:
    assert text in breaker(**fields)


def test_failures_show_their_number_and_the_last_time() -> None:
    assert breaker(state="closed", failure_count=2, last_failure=at(-180)).endswith("  closed   2, 3 min ago")
    assert breaker(state="closed", failure_count=2).endswith("  closed   2")


def test_the_breakers_cause_is_preferred_to_the_checks_error() -> None:
    assert row({"circuit_breaker": {"cause": "connect_failed"}, "error": "rate_limited"}).endswith("  connect_failed")
    assert row({"circuit_breaker": {"cause": None}, "error": "rate_limited"}).endswith("  rate_limited")


@pytest.mark.parametrize(
    "provider",
    [
        {},
        {"models_count": None, "circuit_breaker": None, "latency_ms": None, "last_checked": None, "error": None},
        {"circuit_breaker": {}},
        {"circuit_breaker": {"state": None, "failure_count": None, "last_failure": None, "retry_at": None}},
    ],
)
def test_a_value_missing_in_the_report_is_a_dash(provider: dict[str, Any]) -> None:
    assert row(provider).split() == ["p", "healthy", "–", "–", "–", "–", "–"]


def test_a_report_without_version_and_providers_is_displayed() -> None:
    lines = drawn(view_of({}, version=None, notes=None))
    assert lines[1] == "version unknown, reported 2026-01-02 03:04:05 UTC"
    assert lines[3:] == ["no provider is configured"]


def test_a_bridge_that_hides_its_providers_is_not_shown_as_one_without_any() -> None:
    report = HealthReport.model_validate({"status": "healthy", "version": "2.0.0"})
    lines = drawn(View(URL).with_report(report, NOW), 140)
    assert lines[-1].startswith("note: the bridge shows its providers to callers with a valid key")
    assert "no provider is configured" in drawn(view_of({}, notes=["3 wait to be stored"]))


def test_unknown_fields_of_a_newer_bridge_are_ignored() -> None:
    assert drawn(view_of({"p": {**LOCAL, "news": {"a": 1}}}, more=1)) == drawn(view_of({"p": LOCAL}))


def test_notes_are_above_the_table() -> None:
    lines = drawn(view_of({}, notes=["the table could not be read", "second"]))
    assert lines[2:4] == ["note: the table could not be read", "note: second"]


def test_ages_are_relative_to_the_time_of_drawing() -> None:
    assert "  72 s ago  " not in drawn(view_of({"p": LOCAL}), now=NOW + timedelta(seconds=60))[4]
    assert "  1 min ago  " in drawn(view_of({"p": LOCAL}), now=NOW + timedelta(seconds=60))[4]


def test_a_time_without_an_offset_is_utc() -> None:
    assert "  5 s ago  " in row({"last_checked": "2026-01-02T03:04:00"})


def test_before_the_first_report_the_url_is_shown() -> None:
    assert drawn(View(URL)) == [f"waiting for {URL}"]


def test_an_outage_is_above_the_last_report_with_its_start_and_reason() -> None:
    view = view_of({"p": LOCAL}).without_report("cannot be reached, refused: start it", NOW)
    lines = drawn(view, now=NOW + timedelta(seconds=90))
    assert lines[2] == "no report since 03:04:05 (1 min): cannot be reached, refused: start it"
    assert lines[5].startswith("p  ")


def test_an_outage_is_displayed_without_any_report() -> None:
    assert drawn(View(URL).without_report("r", NOW)) == [URL, "no report since 03:04:05 (0 s): r"]


@pytest.mark.parametrize(
    ("word", "colour"),
    [("healthy", "32"), ("degraded", "33"), ("unhealthy", "31"), ("unknown", "2"), ("new", "2")],
)
def test_a_status_has_its_colour(word: str, colour: str) -> None:
    assert f"\x1b[{colour}m{word}\x1b[0m" in coloured({"status": word})


@pytest.mark.parametrize(
    ("state", "shown", "colour"), [("closed", "closed", "32"), ("half_open", "half-open", "33"), ("open", "open", "31")]
)
def test_a_breakers_state_has_its_colour(state: str, shown: str, colour: str) -> None:
    assert f"\x1b[{colour}m{shown}\x1b[0m" in coloured({"status": "new", "circuit_breaker": {"state": state}})


def coloured(provider: dict[str, Any]) -> str:
    file = StringIO()
    environ = {"TERM": "xterm-256color"}
    console = Console(width=80, file=file, force_terminal=True, color_system="standard", _environ=environ)
    console.print(HealthScreen(view_of({"p": provider}), NOW))
    return file.getvalue()


def test_markup_and_control_characters_in_a_providers_name_have_no_effect() -> None:
    assert drawn(view_of({"[red]a\x1b[2J\nb": LOCAL}))[4].startswith("[red]a?[2J?b  ")


def test_a_console_without_utf_8_gets_ascii() -> None:
    written = BytesIO()
    console = Console(width=80, file=TextIOWrapper(written, encoding="ascii", write_through=True))
    console.print(HealthScreen(view_of({"café": {"status": "healthy"}}), NOW))
    assert written.getvalue().splitlines()[4].split() == [b"caf?", b"healthy", b"-", b"-", b"-", b"-", b"-"]


@given(
    names=st.lists(st.text(max_size=60), max_size=4, unique=True),
    width=st.integers(20, 200),
    seconds=st.floats(-1e9, 1e9),
)
def test_no_line_is_wider_than_the_console(names: list[str], width: int, seconds: float) -> None:
    provider = {**CLOUD, "last_checked": at(seconds)}
    console = Console(width=width, file=StringIO(), record=True)
    console.print(HealthScreen(view_of(dict.fromkeys(names, provider)), NOW))
    assert all(console.measure(line).maximum <= width for line in console.export_text().splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d"),
        (864_000, "10 d"),
    ],
)
def test_a_duration_has_one_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_future_time_is_shown_as_0_s_ago() -> None:
    assert ago_text(NOW + timedelta(seconds=9), NOW) == "0 s ago"

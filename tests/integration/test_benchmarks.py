"""Tests that the benchmarks run and print their tables. The measured times are not asserted."""

import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "infra" / "bench" / "run"
SHORT = ("--endpoint", "chat_completions", "--rounds", "2", "--repeats", "2", "--starts", "1")


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, check=False)


def test_a_run_without_a_benchmark_name_lists_the_benchmarks() -> None:
    done = benchmark()
    assert "  requests  The bridge's own time per request" in done.stderr
    assert done.returncode != 0


def test_the_requests_benchmark_prints_the_baselines_and_the_bridges_own_time() -> None:
    done = benchmark("requests", *SHORT)
    assert done.returncode == 0, done.stderr
    rows = [line[:52].strip() for line in done.stdout.splitlines() if "(" in line[52:]]
    assert rows == [
        "http.client, bare",
        "the bridge's HTTP client, bare",
        "the whole handler",
        "the bridge's own time, beyond http.client",
        "the bridge's own time, beyond its HTTP client",
        "http.client and json",
        "the libraries alone",
        "the function's handler",
    ]


def test_the_streams_benchmark_prints_first_token_times_and_cpu_per_chunk() -> None:
    done = benchmark("streams", "--rounds", "2", "--repeats", "2", "--chunks", "20")
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line[52:].count("(") == 0 and line[:52].strip()]
    assert titles == [
        "time to the first token in µs, medians of 2 pairs",
        "CPU of a whole stream of 3 tokens in µs, medians of 2",
        "CPU per chunk in µs, of 20 chunks each 0.5 ms after the last",
        "CPU per chunk in µs, of 20 chunks all at once",
    ]
    rows = [line[:52].strip() for line in done.stdout.splitlines() if "(" in line[52:]]
    assert rows == ["chat_completions", "messages", "messages_to_anthropic", "responses", "ollama"] * 4


def test_the_errors_benchmark_prints_a_row_for_each_body_and_size() -> None:
    done = benchmark("errors", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert [len(line.split()[-4:]) for line in done.stdout.splitlines()[1:]] == [4] * 30


def test_the_outages_benchmark_answers_every_request_during_every_table_fault() -> None:
    done = benchmark("outages", "--seconds", "0.3")
    assert done.returncode == 0, done.stderr
    rows = [line.replace("the table is", "table").split() for line in done.stdout.splitlines()[1:]]
    assert {row[0] for row in rows} == {"healthy", "throttled", "failing", "hanging", "unreachable"}
    assert {row[2] for row in rows} == {"0"}


def test_the_storing_benchmark_prints_a_row_for_each_size() -> None:
    done = benchmark("storing", "--rounds", "1", "--sizes", "1", "8")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[-2:]] == ["1", "8"]


def test_the_migration_benchmark_loses_no_record_when_the_command_is_killed() -> None:
    done = benchmark("migration", "--records", "1000", "--dimension", "16", "--kills", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 / 0 / 0" in done.stdout


def test_the_backup_benchmark_prints_a_row_for_backup_and_restore() -> None:
    done = benchmark("backup", "--sizes", "500")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.split()[0] for row in done.stdout.splitlines()[1:]] == ["backup", "restore"]


@pytest.mark.parametrize(
    ("options", "function"),
    [
        (["--profile"], "sekha_llm_bridge/"),  # which functions take the most time themselves differs between runs
        (["--profile", "cumtime"], "endpoint.py"),
    ],
)
def test_a_profile_lists_packages_and_functions(options: list[str], function: str) -> None:
    done = benchmark("requests", *SHORT, *options)
    assert done.returncode == 0, done.stderr
    assert "bridge: api" in done.stdout
    assert function in done.stdout


def test_the_keys_benchmark_compares_the_times_of_wrong_keys() -> None:
    done = benchmark("keys", "--rounds", "20", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if " / " in line]
    assert [row.split(":")[0] for row in rows] == [
        "the first character wrong / the last character wrong",
        "the first character wrong / another secret",
    ]


def test_the_memory_benchmark_prints_the_peak_of_a_function_and_its_times_with_less_memory() -> None:
    done = benchmark("memory", "--function", "authorizer")
    assert done.returncode == 0, done.stderr
    [row] = [line for line in done.stdout.splitlines() if line.startswith("authorizer")]
    peak_mb, fits_mb, *times = map(int, row.removeprefix("authorizer, its start").split())
    assert peak_mb <= fits_mb
    assert times[:4] == sorted(times[:4], reverse=True)  # half of the memory is half of a processor

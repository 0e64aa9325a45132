"""Tests of the benchmarks' measuring: alternating calls, a baseline, and a provider with a negligible time of its own."""

import http.client
import json
from collections import Counter

import pytest

from bridge_bench.endpoints import ENDPOINTS
from bridge_bench.measuring import Samples, measure_interleaved
from bridge_bench.provider_process import DIMENSION, fast_provider
from bridge_bench.tables import cold_table, warm_table


def test_every_call_is_made_once_per_round_and_the_first_call_rotates() -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in "abc"}
    taken = measure_interleaved(calls, 6)
    rounds = ["".join(made[start : start + 3]) for start in range(0, 18, 3)]
    assert rounds == ["abc", "bca", "cab"] * 2
    assert {name: len(samples.wall) for name, samples in taken.items()} == Counter("aaaaaabbbbbbcccccc")
    assert all(ns > 0 for samples in taken.values() for ns in samples.wall)


def test_a_call_is_compared_with_the_baselines_call_of_the_same_round() -> None:
    assert Samples([5, 7], [4, 4]).minus(Samples([1, 2], [3, 1])) == Samples([4, 5], [1, 3])


def test_a_cell_shows_the_median_the_lowest_and_the_highest_of_the_repeats() -> None:
    repeats = [Samples([ns * 1000] * 10, [ns * 1000] * 10) for ns in (30, 10, 20)]
    assert warm_table({"it": repeats}).splitlines()[1].split() == ["it", *["20", "(10–30)"] * 4]


def test_a_cold_start_without_a_request_has_an_empty_first_request_column() -> None:
    table = cold_table({"libraries": [[2_000_000], [1_000_000]], "handler": [[3_000_000, 500_000]]})
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["libraries", "1.5", "(1.0–2.0)"],
        ["handler", "3.0", "(3.0–3.0)", "0.5", "(0.5–0.5)"],
    ]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_provider_answers_completely_on_a_persistent_connection(name: str) -> None:
    endpoint = ENDPOINTS[name]
    with fast_provider(None) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        answers = []
        for _ in range(2):
            connection.request(
                "POST", endpoint.provider_path, endpoint.provider_text, {"content-type": "application/json"}
            )
            answers.append(json.loads(connection.getresponse().read()))
        connection.close()
    assert answers[0] == answers[1]
    vectors = [row["embedding"] for row in answers[0].get("data", [])]
    assert [len(vector) for vector in vectors] == ([DIMENSION] if name == "embeddings" else [])

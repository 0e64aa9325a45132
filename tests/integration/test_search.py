"""Search in a real Chroma, through the functions' own handlers."""

import json
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from itertools import count
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.chroma import chroma_server, client_of
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, embeddings, vector_of
from tests.fakes.settings import embedding_model, make_settings, provider

PATH = "/api/v1/search"
_names = (f"notes{i}" for i in count())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as address:
        yield address


@pytest.fixture
def name() -> str:
    return next(_names)


@pytest.fixture
def wide() -> Iterator[FakeProvider]:
    with FakeProvider(dimension=16) as fake:
        yield fake


def deep(levels: int) -> Any:
    where: Any = {"n": 1}
    for _ in range(levels):
        where = {"$and": [where, {"n": 1}]}
    return where


class Bridge:
    """Both functions, with a provider of 8-dimensional vectors and one of 16-dimensional ones."""

    def __init__(self, url: str, fake: FakeProvider, wide: FakeProvider) -> None:
        made = make_bridge(
            make_settings(
                provider("p", embedding_model("mini"), embedding_model("other"), base_url=f"{fake.url}/v1"),
                provider("w", embedding_model("wide", dimension=16), base_url=f"{wide.url}/v1"),
                chroma={"url": url},
                default_models={"embedding": "mini"},
            )
        )
        self.embeddings = Function("embeddings", made)
        self.search = Function("search", made)

    def store(self, name: str, *texts: str, **fields: Any) -> None:
        answer = self.embeddings("POST", "/v1/embeddings", {"input": list(texts), "collection": name, **fields})
        assert answer.json()["bridge"]["stored"] == len(texts)

    def find(self, query: str, name: str | None = None, **fields: Any) -> Any:
        answer = self.search("POST", PATH, {"query": query, **({"collection": name} if name else {}), **fields})
        assert answer.status == 200, answer.text
        return answer.json()

    def refused(self, **fields: Any) -> tuple[int, str, str | None]:
        answer = self.search("POST", PATH, fields)
        error = answer.json()["error"]
        return answer.status, error["code"], error["param"]


@pytest.fixture
def bridge(url: str, fake: FakeProvider, wide: FakeProvider) -> Bridge:
    return Bridge(url, fake, wide)


def test_matches_are_sorted_by_distance_and_have_all_stored_fields(bridge: Bridge, name: str) -> None:
    bridge.store(name, "one", "two", "three", ids=["1", "2", "3"], metadatas=[{"n": 1}, {"n": 2}, {"n": 3}])
    found = bridge.find("two", name)
    assert found["matches"][0] == {
        "id": "2",
        "document": "two",
        "metadata": {"n": 2},
        "distance": pytest.approx(0, abs=1e-5),
        "score": pytest.approx(1, abs=1e-5),
        "collection": f"{name}_8",
    }
    scores = [match["score"] for match in found["matches"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert found["bridge"]["collections"] == [f"{name}_8"]
    assert found["bridge"]["embeddings"][0]["model_id"] == "mini"


def test_at_most_limit_matches_are_returned(bridge: Bridge, name: str) -> None:
    bridge.store(name, *(f"text {i}" for i in range(15)))
    assert len(bridge.find("text", name, n_results=2)["matches"]) == 2
    assert len(bridge.find("text", name)["matches"]) == 10
    assert len(bridge.find("text", name, n_results=100)["matches"]) == 15


def test_where_filters_the_matches(bridge: Bridge, name: str) -> None:
    bridge.store(name, "one", "two", "three", metadatas=[{"n": 1}, {"n": 2}, {"n": 3}])
    found = bridge.find("one", name, where={"$and": [{"n": {"$gt": 1}}, {"n": {"$lt": 3}}]})
    assert [match["document"] for match in found["matches"]] == ["two"]


@pytest.mark.parametrize(
    "where",
    [
        deep(150),
        {"n": {"$in": list(range(3_000))}},
        {"n": {"$foo": 1}},
        {"$and": [{"n": 1}]},
        {"n": None},
        {"n": {"$in": []}},
    ],
)
def test_a_malformed_filter_is_refused_before_the_provider_is_called(
    bridge: Bridge, fake: FakeProvider, name: str, where: Any
) -> None:
    bridge.store(name, "one")
    calls = len(fake.calls("/v1/embeddings"))
    assert bridge.refused(query="one", collection=name, where=where) == (400, "invalid_request", "where")
    assert len(fake.calls("/v1/embeddings")) == calls


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": ["a"]}, "query"),
        ({"query": "a", "n_results": 0}, "n_results"),
        ({"query": "a", "n_results": 1001}, "n_results"),
        ({"query": "a", "n_results": "3"}, "n_results"),
        ({"query": "a", "n_result": 3}, "n_result"),
        ({"query": "a", "where": {}}, "where"),
        ({"query": "a", "where": "x"}, "where"),
        ({"query": "a", "collection": "../x"}, "collection"),
        ({"query": "a", "all_dimensions": True, "model": "mini"}, "model"),
        ({"query": "a", "model": "chat_fast"}, "model"),
    ],
)
def test_an_invalid_field_is_named_in_the_error(bridge: Bridge, fields: Any, param: str) -> None:
    assert bridge.refused(**fields) == (400, "invalid_request", param)


def test_an_unknown_model_is_404(bridge: Bridge) -> None:
    assert bridge.refused(query="a", model="nobody")[:2] == (404, "model_not_found")


def test_a_named_collection_that_does_not_exist_is_404(bridge: Bridge, name: str) -> None:
    assert bridge.refused(query="a", collection=name) == (404, "collection_not_found", "collection")
    assert bridge.refused(query="a", collection=name, all_dimensions=True)[0] == 404


def test_a_default_collection_that_does_not_exist_has_no_matches(bridge: Bridge) -> None:
    found = bridge.find("a")
    assert found["matches"] == []
    assert found["bridge"]["notes"] == ["nothing has been stored in conversations_8 yet"]


def test_a_collection_of_another_dimension_is_named_in_the_error(bridge: Bridge, name: str) -> None:
    bridge.store(name, "one", model="wide")
    found = bridge.find("one", name)
    assert found["matches"] == []
    assert f"{name}_16" in found["bridge"]["notes"][0]
    assert bridge.find("one", name, model="wide")["matches"][0]["document"] == "one"


def test_a_vector_of_another_space_is_an_error_that_has_the_cost(bridge: Bridge, name: str) -> None:
    bridge.store(name, "one")
    answer = bridge.search("POST", PATH, {"query": "one", "collection": name, "model": "other"})
    assert (answer.status, answer.json()["error"]["code"]) == (409, "embedding_space_mismatch")
    assert answer.json()["error"]["bridge"]["attempts"][0]["code"] == "ok"


def test_all_dimensions_are_searched_each_with_its_own_model_and_merged_by_rank(bridge: Bridge, name: str) -> None:
    bridge.store(name, "one", "two", ids=["1", "2"])
    bridge.store(name, "one", "three", ids=["1", "3"], model="wide")
    found = bridge.find("one", name, all_dimensions=True)
    assert [(match["id"], match["collection"]) for match in found["matches"]] == [
        ("1", f"{name}_8"),
        ("2", f"{name}_8"),
        ("3", f"{name}_16"),
    ]
    assert found["bridge"]["collections"] == [f"{name}_8", f"{name}_16"]
    assert [one["model_id"] for one in found["bridge"]["embeddings"]] == ["mini", "wide"]


def test_a_dimension_that_cannot_be_searched_is_noted_and_the_others_are_searched(
    bridge: Bridge, wide: FakeProvider, name: str
) -> None:
    bridge.store(name, "one")
    bridge.store(name, "two", model="wide")
    wide.always("/v1/embeddings", Reply(500, {}))
    found = bridge.find("one", name, all_dimensions=True)
    assert [match["document"] for match in found["matches"]] == ["one"]
    assert any(note.startswith(f"{name}_16 was not searched") for note in found["bridge"]["notes"])


def test_a_space_without_a_model_is_noted(bridge: Bridge, url: str, name: str) -> None:
    bridge.store(name, "one")
    foreign = client_of(url).create_collection(
        f"{name}_4", metadata={"embedding_space": "gone"}, embedding_function=None
    )
    foreign.add(ids=["x"], embeddings=[[1.0, 2.0, 3.0, 4.0]])
    found = bridge.find("one", name, all_dimensions=True)
    assert [match["document"] for match in found["matches"]] == ["one"]
    assert f"{name}_4 was not searched" in found["bridge"]["notes"][0]


def test_the_limit_applies_to_all_dimensions_together(bridge: Bridge, fake: FakeProvider, name: str) -> None:
    bridge.store(name, "one")
    bridge.store(name, "one", model="wide")
    both = bridge.find("one", name, all_dimensions=True)["bridge"]["embeddings"]
    dearest = max(one["cost_bound"] for one in both)
    fake.always(
        "/v1/embeddings", Reply(200, {**embeddings(["one"], 8), "usage": {"prompt_tokens": 7, "total_tokens": 7}})
    )
    found = bridge.find("one", name, all_dimensions=True, max_cost=dearest)
    assert len(found["bridge"]["collections"]) == 1
    assert sum(one["cost"] for one in found["bridge"]["embeddings"]) <= dearest


def test_collections_without_a_recorded_space_are_searched_with_the_default_model(
    bridge: Bridge, url: str, name: str
) -> None:
    old = client_of(url).create_collection(name, embedding_function=None)
    old.add(ids=["old"], embeddings=[vector_of("old", 8)], documents=["old"])
    match = bridge.find("old", name)["matches"][0]
    assert (match["document"], match["collection"]) == ("old", f"{name}_8")
    assert match["score"] == pytest.approx(1), "squared distance, which v1's collections measure, is 0"


def test_a_chroma_server_that_is_down_is_503_with_retry_after(fake: FakeProvider, wide: FakeProvider) -> None:
    down = Bridge("http://127.0.0.1:9", fake, wide)
    answer = down.search("POST", PATH, {"query": "the secret text"})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "vector_store_unavailable")
    assert answer.headers["retry-after"] == "30"
    assert "secret" not in answer.text


def test_a_search_without_a_configured_chroma_server_is_an_error(fake: FakeProvider) -> None:
    models = (embedding_model("mini"),)
    bare = Function("search", make_bridge(make_settings(provider("p", *models, base_url=f"{fake.url}/v1"))))
    answer = bare("POST", PATH, {"query": "a"})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "vector_store_unavailable")
    assert fake.calls("/v1/embeddings") == []


def test_a_search_over_all_dimensions_logs_the_attempts_and_the_cost_of_every_embedding(
    bridge: Bridge, name: str, log: StringIO
) -> None:
    bridge.store(name, "one")
    bridge.store(name, "one", model="wide")
    log.seek(0)
    log.truncate()
    found = bridge.find("one", name, all_dimensions=True)
    costs = [Decimal(str(embedding["cost"])) for embedding in found["bridge"]["embeddings"]]
    line = json.loads(log.getvalue().splitlines()[-1])
    assert len(costs) == 2
    assert line["attempts"] == ["p: ok", "w: ok"]
    assert Decimal(str(line["cost_usd"])) == sum(costs) > costs[0] > 0

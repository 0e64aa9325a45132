"""A search over several collections that fails: its error has the attempts and the cost of all embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.embeddings import Batch, Database, EmbeddingStorage, Match, StoreDown, VectorStore
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import embedding_model, make_settings, provider


class Store:
    """A `VectorStore` with two collections, which breaks down at the second query."""

    def __init__(self) -> None:
        self._queries = 0

    def in_database(self, database: Database) -> VectorStore:
        raise NotImplementedError

    def prepare(self) -> None:
        return

    def upsert(self, batch: Batch, *, should_continue: Callable[[], bool] = lambda: True) -> int:
        raise StoreDown(f"{batch.collection} was not to be written")

    def spaces(self, base_name: str) -> Mapping[str, str | None]:
        return {f"{base_name}_8": "mini", f"{base_name}_16": "wide"}

    def check_filter(self, where: Mapping[str, Any]) -> None:
        return

    def query(self, collection: str, space: str, vector: Sequence[float], **_: Any) -> list[Match]:
        self._queries += 1
        if self._queries == 2:
            raise StoreDown("Chroma did not search")
        return []


def searching(fake: FakeProvider, wide: FakeProvider) -> Function:
    bridge: Bridge = make_bridge(
        make_settings(
            provider("p", embedding_model("mini"), base_url=f"{fake.url}/v1"),
            provider("w", embedding_model("wide", dimension=16), base_url=f"{wide.url}/v1"),
            chroma={"url": "http://127.0.0.1:9"},
            default_models={"embedding": "mini"},
        )
    )
    vectors = replace(bridge.vectors(), storage=EmbeddingStorage(Store()))
    return Function("search", replace(bridge, vectors=lambda: vectors))


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_error_has_every_attempt_and_its_cost_is_null_where_one_is_unknown(
    fake: FakeProvider,
    interrupted: bool,  # noqa: FBT001 — a column of the table
) -> None:
    with FakeProvider(dimension=16) as wide:
        if interrupted:
            wide.script("/v1/embeddings", Reply(reset=True), Reply(reset=True))
            fake.script("/v1/embeddings", Reply(401, {}))
        answer = searching(fake, wide)("POST", "/api/v1/search", {"query": "x", "all_dimensions": True})
    error = answer.json()["error"]
    if interrupted:
        assert (answer.status, error["code"]) == (502, "all_providers_failed")
        assert [attempt["code"] for attempt in error["attempts"]] == ["credentials_rejected", "connection_lost"]
        assert (error["cost"], error["cost_bound"] > 0) == (None, True)
        assert answer.headers["x-bridge-attempts"] == "2"
        assert "x-bridge-cost-usd" not in answer.headers
    else:
        assert (answer.status, error["code"]) == (503, "vector_store_unavailable")
        assert [attempt["code"] for attempt in error["attempts"]] == ["ok", "ok"]
        assert error["cost"] == error["cost_bound"] > 0
        assert float(answer.headers["x-bridge-cost-usd"]) == error["cost"]

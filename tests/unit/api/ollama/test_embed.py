"""`POST /api/embed` and `POST /api/embeddings`, through the function's own handler, against providers over HTTP."""

from dataclasses import replace
from typing import Any

import pytest
from ollama import EmbeddingsResponse, EmbedResponse

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.embeddings import Batch, EmbeddingStorage, StoreReport
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, vector_of
from tests.fakes.settings import embedding_model, make_settings, provider
from tests.unit.api.ollama.function import EMBED, EMBEDDINGS, error, post

NOT_STORED = "no Chroma server is configured: nothing was stored"


class Storage(EmbeddingStorage):
    """Keeps what it is to store."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    @property
    def is_configured(self) -> bool:
        return True

    async def preload(self) -> None:
        pass

    async def save(self, batch: Batch, *, timeout_s: float) -> StoreReport:
        self.batches.append(batch)
        return StoreReport(batch.collection, len(batch.records))


def embed(api: Function, **fields: Any) -> dict[str, Any]:
    """The answer, as Ollama's client reads it."""
    answer = post(api, EMBED, **fields)
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.json()
    EmbedResponse.model_validate(body, strict=True)
    return body


@pytest.mark.parametrize("model", ["mini", "nomic", "nomic:latest"])
def test_every_text_gets_its_vector_in_order(ollama: Function, model: str) -> None:
    body = embed(ollama, model=model, input=["one", "two"])
    assert body["embeddings"] == [vector_of("one", 8), vector_of("two", 8)]
    assert (body["model"], body["prompt_eval_count"]) == (model.removesuffix(":latest"), 6)
    assert body["total_duration"] > 0
    assert body["bridge"]["notes"] == [NOT_STORED]


def test_one_text_gets_a_list_with_one_vector(ollama: Function) -> None:
    assert embed(ollama, model="mini", input="one")["embeddings"] == [vector_of("one", 8)]


def test_the_older_path_answers_with_one_vector(ollama: Function) -> None:
    answer = post(ollama, EMBEDDINGS, model="mini", prompt="one")
    EmbeddingsResponse.model_validate(answer.json(), strict=True)
    assert answer.json()["embedding"] == vector_of("one", 8)


def test_each_path_takes_the_other_ones_name_of_the_text(ollama: Function) -> None:
    assert embed(ollama, model="mini", prompt=["one", "two"])["embeddings"] == [
        vector_of("one", 8),
        vector_of("two", 8),
    ]
    for given in ("one", ["one"]):
        assert post(ollama, EMBEDDINGS, model="mini", input=given).json()["embedding"] == vector_of("one", 8)


@pytest.mark.parametrize("given", [None, "", []])
def test_without_a_text_nobody_is_asked(ollama: Function, fake: FakeProvider, given: Any) -> None:
    assert embed(ollama, model="mini", input=given)["embeddings"] == []
    assert post(ollama, EMBEDDINGS, model="mini", prompt="").json()["embedding"] == []
    assert fake.received == []
    assert post(ollama, EMBED, model="llama9", input=given).status == 404


def function_that_stores(name: str, fake: FakeProvider) -> tuple[Function, Storage]:
    """The function, and what it stores."""
    mini = provider("p", embedding_model("mini"), base_url=f"{fake.url}/v1")
    made, storage = make_bridge(make_settings(mini, chroma={"url": "http://chroma:1"})), Storage()
    vectors = replace(made.vectors(), storage=storage)
    return Function(name, replace(made, vectors=lambda: vectors)), storage


def test_vectors_are_stored_as_those_of_openais_format_are(fake: FakeProvider) -> None:
    fields: dict[str, Any] = {"collection": "notes", "metadatas": [{"a": 1}, None], "ids": ["x", "y"]}
    batches = []
    for name, path in (("ollama", EMBED), ("embeddings", "/v1/embeddings")):
        api, storage = function_that_stores(name, fake)
        receipt = post(api, path, model="mini", input=["one", "two"], **fields).json()["bridge"]
        assert receipt.items() >= {"collection": "notes_8", "stored": 2, "ids": ["x", "y"]}.items()
        batches += storage.batches
    assert len(batches) == 2
    assert batches[0] == batches[1]


def test_the_default_collection_takes_the_vectors_of_both_paths(fake: FakeProvider) -> None:
    api, storage = function_that_stores("ollama", fake)
    post(api, EMBED, input="one")
    post(api, EMBEDDINGS, prompt="one")
    post(api, EMBEDDINGS, prompt="one", store=False)
    first, second = storage.batches
    assert first == second
    assert first.collection == "conversations_8"


def test_the_bridges_own_fields_hold_as_fields_and_as_headers(ollama: Function) -> None:
    for fields in ({"max_cost": 0}, {"headers": {"x-bridge-max-cost": "0"}}):
        answer = post(ollama, EMBED, model="mini", input="one", **fields)
        assert (answer.status, error(answer)[1]["code"]) == (402, "cost_limit_exceeded")


def test_ollamas_options_reach_ollama_and_no_other_provider(
    ollama: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    fields: dict[str, Any] = {"input": "one", "keep_alive": "5m", "options": {"num_ctx": 300, "num_gpu": 1}}
    embed(ollama, model="nomic", **fields)
    body = second.received[0].body
    assert (body["keep_alive"], body["truncate"]) == ("5m", False)
    assert body["options"] == {"num_ctx": 512, "num_gpu": 1}
    assert embed(ollama, model="mini", **fields)["bridge"]["notes"] == [NOT_STORED]
    assert fake.received[0].body.keys() == {"model", "input", "encoding_format"}


def test_what_has_no_place_is_noted(ollama: Function) -> None:
    fields = {"truncate": True, "brand_new": 1, "options": {"mirostat": 1}, "allow_fallback": True}
    notes = embed(ollama, model="mini", input="one", **fields)["bridge"]["notes"]
    assert notes == [
        NOT_STORED,
        "not a field of embeddings, ignored: allow_fallback",
        "openai has no place for: brand_new, options.mirostat, truncate",
    ]


def test_fewer_dimensions_are_requested_from_the_provider(ollama: Function, second: FakeProvider) -> None:
    post(ollama, EMBED, model="nomic", input="one", dimensions=4)
    assert second.received[0].body["dimensions"] == 4
    embed(ollama, model="nomic", input="one", dimensions=0)
    assert "dimensions" not in second.received[1].body


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (EMBED, {"input": [1, 2]}, "input[0]"),
        (EMBED, {"input": {"a": 1}}, "input"),
        (EMBED, {"input": ["a", ""]}, "input"),
        (EMBED, {"input": "a", "dimensions": "4"}, "dimensions"),
        (EMBED, {"input": "a", "collection": "!"}, "collection"),
        (EMBED, {"input": "a", "collektion": "x"}, "collektion"),
        (EMBED, {"input": "a", "ids": ["x", "y"]}, None),
        (EMBED, {"input": "a", "max_cost": -1}, "max_cost"),
        (EMBEDDINGS, {"prompt": ["a", "b"]}, "prompt"),
        (EMBED, {"store": {}}, "store"),
        (EMBEDDINGS, {"prompt": "", "collection": True}, "collection"),
    ],
    ids=str,
)
def test_a_field_with_a_wrong_value_is_a_400_that_names_it(
    ollama: Function, fake: FakeProvider, path: str, fields: dict[str, Any], param: str | None
) -> None:
    answer = post(ollama, path, model="mini", **fields)
    assert (answer.status, error(answer)[1]["param"]) == (400, param)
    assert fake.received == []


def test_a_chat_model_gives_no_vectors(ollama: Function) -> None:
    assert post(ollama, EMBED, model="gpt", input="one").status == 400

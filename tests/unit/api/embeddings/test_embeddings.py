"""Embeddings, through the functions' own handlers, against a provider over HTTP and without Chroma."""

import base64
import json
import struct
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.embeddings import EmbeddingStorage
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, vector_of
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

PATH = "/v1/embeddings"


def bridge(fake: FakeProvider, **sections: Any) -> Any:
    models = (embedding_model("mini"), chat_model("gpt"))
    return make_bridge(make_settings(provider("p", *models, base_url=f"{fake.url}/v1"), **sections))


@pytest.fixture
def embeddings(fake: FakeProvider) -> Function:
    return Function("embeddings", bridge(fake))


def test_every_text_gets_its_vector_in_order(embeddings: Function) -> None:
    body = embeddings("POST", PATH, {"input": ["one", "two"]}).json()
    assert [row["embedding"] for row in body["data"]] == [vector_of("one", 8), vector_of("two", 8)]
    assert [row["index"] for row in body["data"]] == [0, 1]
    assert body["object"] == "list"
    assert body["model"] == "mini"
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


def test_base64_is_little_endian_float32(embeddings: Function) -> None:
    body = embeddings("POST", PATH, {"input": "one", "encoding_format": "base64"}).json()
    numbers = struct.unpack("<8f", base64.b64decode(body["data"][0]["embedding"]))
    assert numbers == pytest.approx(vector_of("one", 8))


def test_without_a_chroma_server_nothing_is_stored_and_the_answer_says_so(embeddings: Function) -> None:
    receipt = embeddings("POST", PATH, {"input": "one"}).json()["bridge"]
    assert (receipt["stored"], receipt["collection"], receipt["ids"]) == (0, None, [])
    assert receipt["notes"] == ["no Chroma server is configured: nothing was stored"]


def test_a_chroma_server_that_is_down_does_not_fail_the_embedding(fake: FakeProvider) -> None:
    down = Function("embeddings", bridge(fake, chroma={"url": "http://127.0.0.1:9"}))
    answer = down("POST", PATH, {"input": "one"})
    assert answer.status == 200
    assert answer.json()["bridge"]["stored"] == 0
    assert answer.json()["bridge"]["notes"] == ["not stored: Chroma did not look up a collection (ConnectError)"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "collection": "../etc"}, "collection"),
        ({"input": "x", "ids": ["a", "b"]}, None),
        ({"input": ["x", "y"], "ids": ["a", "a"]}, "ids"),
        ({"input": "x", "ids": ["a" * 2_049]}, "ids[0]"),
        ({"input": "x", "metadatas": [{"a": {"b": 1}}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"a": None}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"": 1}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"$and": 1}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"a": 2**63}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"a": "x" * 65_536}]}, "metadatas"),
        ({"input": "x", "metadatas": [{"a": 2**70}]}, "metadatas"),
        ({"input": "x", "collection": "a..b"}, "collection"),
        ({"input": "x", "model": "chat_fast"}, "model"),
        ({"input": "x", "dimensions": 4}, "dimensions"),
    ],
)
def test_a_wrong_field_is_a_400_with_its_path(embeddings: Function, body: dict[str, Any], param: str | None) -> None:
    answer = embeddings("POST", PATH, body)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param


def test_a_chat_model_gives_no_vectors(embeddings: Function) -> None:
    answer = embeddings("POST", PATH, {"input": "x", "model": "gpt"})
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "no_capable_model"


def test_a_text_that_may_fit_is_sent_to_the_provider(embeddings: Function) -> None:
    assert embeddings("POST", PATH, {"input": "word " * 600}).status == 200


def test_vectors_of_another_length_than_configured_are_a_provider_failure(fake: FakeProvider) -> None:
    model = embedding_model("mini", dimension=16)
    settings = make_settings(provider("p", model, base_url=f"{fake.url}/v1"))
    answer = Function("embeddings", make_bridge(settings))("POST", PATH, {"input": "x"})
    assert answer.status == 502
    assert "1 vectors of 8 dimensions, not 1 of 16" in answer.json()["error"]["message"]


def test_store_without_a_collection_is_a_400(fake: FakeProvider) -> None:
    nowhere = Function("embeddings", bridge(fake, chroma={"default_collection": None}))
    assert nowhere("POST", PATH, {"input": "x"}).json()["bridge"]["collection"] is None
    answer = nowhere("POST", PATH, {"input": "x", "store": True})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "collection")


def test_a_text_longer_than_the_models_window_is_an_error_and_not_truncated(embeddings: Function) -> None:
    answer = embeddings("POST", PATH, {"input": "word " * 1000})
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert "input[0]" in error["message"]
    assert "maximum context length is 512 tokens" in error["message"]


def test_many_texts_that_each_fit_are_one_request(embeddings: Function) -> None:
    assert embeddings("POST", PATH, {"input": ["word " * 300] * 10}).status == 200


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [2.0]}],
        [{"index": 0, "embedding": []}],
        [{"index": 0, "embedding": ["x"]}],
    ],
)
def test_invalid_vectors_are_a_provider_failure(embeddings: Function, fake: FakeProvider, data: list[Any]) -> None:
    fake.always(PATH, Reply(body={"data": data}))
    answer = embeddings("POST", PATH, {"input": "x"})
    assert answer.status == 502
    assert answer.json()["error"]["attempts"][0]["code"] == "malformed_answer"


def test_fewer_dimensions_are_requested_from_the_provider_and_checked(embeddings: Function, fake: FakeProvider) -> None:
    embeddings("POST", PATH, {"input": "x", "dimensions": 8})
    assert "dimensions" not in fake.received.pop().body
    embeddings("POST", PATH, {"input": "x", "dimensions": 4})
    assert fake.received[0].body["dimensions"] == 4
    short = {"data": [{"index": 0, "embedding": [1, 2, 3, 4]}]}
    fake.script(PATH, Reply(body=short))
    assert embeddings("POST", PATH, {"input": "x", "dimensions": 4}).json()["bridge"]["dimension"] == 4


@pytest.mark.parametrize("path", ["/embed", "/embeddings", "/api/v1/embed"])
def test_the_legacy_paths_answer_in_the_legacy_format(fake: FakeProvider, path: str) -> None:
    body = Function("embed", bridge(fake))("POST", path, {"text": "one", "model": None}).json()
    assert body == {"embedding": vector_of("one", 8), "model": "mini", "dimension": 8, "tokens_used": 3}


def test_failover_never_leaves_the_embedding_space(fake: FakeProvider) -> None:
    settings = make_settings(
        provider("a", embedding_model("mini"), base_url="http://127.0.0.1:9/v1", priority=1),
        provider("b", embedding_model("other"), base_url=f"{fake.url}/v1", priority=2),
    )
    answer = Function("embeddings", make_bridge(settings))("POST", PATH, {"input": "x"})
    assert answer.status == 502
    assert fake.received == []


@pytest.mark.parametrize("number", [1e39, None, "x", 2**2000], ids=["too large", "null", "text", "huge"])
def test_a_vector_without_numbers_is_a_provider_failure(fake: FakeProvider, number: object) -> None:
    row = {"index": 0, "embedding": [0.5] * 7 + [number]}
    raw = json.dumps({"data": [row], "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode()
    fake.always(PATH, Reply(200, raw=raw))
    answer = Function("embeddings", bridge(fake))("POST", PATH, {"input": "one"})
    assert (answer.status, answer.json()["error"]["attempts"][0]["code"]) == (502, "malformed_answer")


def test_a_misspelt_field_of_the_bridge_is_refused(embeddings: Function, fake: FakeProvider) -> None:
    error = embeddings("POST", PATH, {"input": "one", "collektion": "x"}).json()["error"]
    assert (error["message"], error["param"]) == ("collektion: did you mean collection?", "collektion")
    assert fake.received == []


@pytest.mark.parametrize("path", ["/embed", "/embeddings"])
def test_a_misspelt_field_is_refused_on_the_legacy_paths(fake: FakeProvider, path: str) -> None:
    answer = Function("embed", bridge(fake))("POST", path, {"text": "one", "max_costs": 1})
    assert (answer.status, answer.json()["error"]["message"]) == (400, "max_costs: did you mean max_cost?")


def test_unknown_fields_are_sent_to_the_provider_in_every_batch_and_noted(fake: FakeProvider) -> None:
    settings = make_settings(
        provider("p", embedding_model("mini"), base_url=f"{fake.url}/v1", provider_type="gemini"),
        routing={"max_cost_per_request": "1"},
    )
    fields = {"input": ["a"] * 150, "input_type": "query", "truncate": "END", "task": "retrieval.query", "store": False}
    receipt = Function("embeddings", make_bridge(settings))("POST", PATH, fields).json()["bridge"]
    end = "; the cost limit does not cover what they may cost"
    assert receipt["notes"] == [f"passed on, unknown to the bridge: input_type, task, truncate{end}"]
    sent = [{name: request.body.get(name) for name in ("input_type", "truncate", "task")} for request in fake.received]
    assert sent == [{"input_type": "query", "truncate": "END", "task": "retrieval.query"}] * 2
    assert all("store" not in request.body for request in fake.received)


def test_a_field_of_chats_is_not_sent_with_an_embedding(embeddings: Function, fake: FakeProvider) -> None:
    receipt = embeddings("POST", PATH, {"input": "one", "allow_fallback": False, "store": False}).json()["bridge"]
    assert receipt["notes"] == ["not a field of embeddings, ignored: allow_fallback"]
    assert "allow_fallback" not in fake.received[0].body


def test_ollama_is_not_sent_unknown_fields_of_an_embedding_and_the_answer_says_so(fake: FakeProvider) -> None:
    settings = make_settings(provider("local", embedding_model("mini"), base_url=fake.url, provider_type="ollama"))
    answer = Function("embeddings", make_bridge(settings))("POST", PATH, {"input": "a", "input_type": "query"})
    assert "local has no place for: input_type" in answer.json()["bridge"]["notes"]
    assert "input_type" not in fake.received[0].body


def test_an_unknown_field_cannot_replace_what_the_bridge_sends(embeddings: Function, fake: FakeProvider) -> None:
    embeddings("POST", PATH, {"input": "one", "encoding_format": "base64", "texts": ["two"]})
    assert (fake.received[0].body["input"], fake.received[0].body["model"]) == (["one"], "mini")


def test_a_request_for_an_unknown_model_does_not_prepare_the_store(fake: FakeProvider) -> None:
    prepared = []

    class Storage(EmbeddingStorage):
        def preload(self) -> Awaitable[None]:
            prepared.append(True)
            return super().preload()

    made = bridge(fake, chroma={"url": "http://127.0.0.1:9"})
    vectors = replace(made.vectors(), storage=Storage(made.vectors().storage._store))
    function = Function("embeddings", replace(made, vectors=lambda: vectors))
    assert function("POST", PATH, {"input": "a", "model": "unknown"}).status == 404
    assert prepared == []

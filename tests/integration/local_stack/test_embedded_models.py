"""The embedded models, as the bridge's OpenAI adapter meets them."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.testing import running_stack

pytestmark = [pytest.mark.stack, pytest.mark.model]

CONFIG = """
providers:
  - id: chat
    provider_type: openai
    base_url: ${LOCAL_CHAT_URL}
    models: [{model_id: smollm2-135m-instruct, task: chat_small, context_window: 2048}]
  - id: embeddings
    provider_type: openai
    base_url: ${LOCAL_EMBEDDINGS_URL}
    models: [{model_id: all-minilm-l6-v2, task: embedding, context_window: 256, dimension: 384}]
"""


@pytest.fixture(scope="module")
def addresses(acting_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a function of a stack that runs both models."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text(CONFIG)
    with running_stack(template=acting_template, config=config, model=True) as stack:
        yield httpx.post(f"{stack.base_url}/act", json={"do": "environment"}, trust_env=False).json()


def embed(addresses: dict[str, str], **request: object) -> httpx.Response:
    """The answer of the embeddings server."""
    url = f"{addresses['LOCAL_EMBEDDINGS_URL']}/v1/embeddings"
    return httpx.post(url, json=request, timeout=60, trust_env=False)


def vectors(answer: httpx.Response) -> list[list[float]]:
    """The vectors in an answer."""
    data: list[dict[str, Any]] = answer.json()["data"]
    return [entry["embedding"] for entry in data]


def cosine(one: list[float], other: list[float]) -> float:
    """Of vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_chat_model_answers(addresses: dict[str, str]) -> None:
    request = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
    answer = httpx.post(f"{addresses['LOCAL_CHAT_URL']}/v1/chat/completions", json=request, timeout=60, trust_env=False)
    body = answer.json()
    assert body["choices"][0]["message"]["content"].strip()
    assert body["usage"]["completion_tokens"] > 0
    assert body["model"] == "smollm2-135m-instruct"


def test_related_texts_are_far_closer_than_unrelated_ones(addresses: dict[str, str]) -> None:
    texts = ["A cat sat on the mat", "The kitten rests on a rug", "Interest rates rose in March"]
    cat, kitten, rates = vectors(embed(addresses, model="all-minilm-l6-v2", input=texts))
    assert cosine(cat, kitten) > 0.5
    assert cosine(cat, rates) < 0.2


def test_vectors_have_384_dimensions_and_length_one_whatever_the_batch(addresses: dict[str, str]) -> None:
    texts = ["short", "a longer text of several words " * 5, "x" * 40]
    together = vectors(embed(addresses, input=texts))
    alone = [vectors(embed(addresses, input=text))[0] for text in texts]
    assert [len(vector) for vector in together] == [384] * 3
    for one, other in zip(together, alone, strict=True):
        assert cosine(one, one) == pytest.approx(1, abs=1e-5)
        assert cosine(one, other) == pytest.approx(1, abs=0.02)  # int8 weights: quantised per batch


def test_base64_holds_the_same_numbers(addresses: dict[str, str]) -> None:
    plain = vectors(embed(addresses, input="hello"))[0]
    packed = embed(addresses, input="hello", encoding_format="base64").json()["data"][0]["embedding"]
    assert list(struct.unpack("<384f", base64.b64decode(packed))) == pytest.approx(plain, abs=1e-6)


def test_usage_counts_tokens_and_a_text_of_more_than_256_is_refused(addresses: dict[str, str]) -> None:
    assert embed(addresses, input="hello world").json()["usage"]["prompt_tokens"] == 4
    assert embed(addresses, input="word " * 254).json()["usage"]["prompt_tokens"] == 256
    too_long = embed(addresses, input="word " * 255)
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    ("request_fields", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [1, 2]}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "x", "dimensions": 512}, 400, "dimensions"),
        ({"input": "x", "model": "other"}, 404, "model"),
    ],
)
def test_bad_input_gets_openais_error_envelope(
    addresses: dict[str, str], request_fields: dict[str, object], status: int, param: str
) -> None:
    answer = embed(addresses, **request_fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_both_list_their_model(addresses: dict[str, str]) -> None:
    for variable, model in (("LOCAL_CHAT_URL", "smollm2-135m-instruct"), ("LOCAL_EMBEDDINGS_URL", "all-minilm-l6-v2")):
        listed = httpx.get(f"{addresses[variable]}/v1/models", trust_env=False).json()
        assert [one["id"] for one in listed["data"]] == [model]

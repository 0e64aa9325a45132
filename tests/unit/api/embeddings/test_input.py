"""The four forms of `input` that OpenAI's schema has, through the functions' own handlers."""

import subprocess
import sys
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, vector_of
from tests.fakes.settings import embedding_model, make_settings, provider

PATH = "/v1/embeddings"
HELLO = [9906, 1917]  # cl100k_base's "Hello", " world"
CAT = [4719]  # "cat"


@pytest.fixture
def embeddings(fake: FakeProvider) -> Function:
    settings = make_settings(provider("p", embedding_model("mini"), base_url=f"{fake.url}/v1"))
    return Function("embeddings", make_bridge(settings))


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("Hello world", ["Hello world"]),
        (["Hello world", "cat"], ["Hello world", "cat"]),
        (HELLO, ["Hello world"]),
        ([HELLO, CAT], ["Hello world", "cat"]),
        ([HELLO] * 2048, ["Hello world"] * 2048),
        (CAT * 2049, ["cat" * 2049]),
    ],
)
def test_tokens_are_decoded_to_texts_and_embedded(fake: FakeProvider, given: Any, texts: list[str]) -> None:
    model = embedding_model("mini", context_window=8192)
    settings = make_settings(provider("p", model, base_url=f"{fake.url}/v1"))
    answer = Function("embeddings", make_bridge(settings))("POST", PATH, {"input": given})
    assert answer.status == 200
    assert [request.body["input"] for request in fake.calls(PATH)] == [texts]
    assert [row["embedding"] for row in answer.json()["data"]] == [vector_of(text, 8) for text in texts]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "must be a text, a list of texts, an array of tokens or a list of such arrays, and not empty"),
        (None, "must be a text, a list of texts"),
        (5, "must be a text, a list of texts"),
        (["a", 1], "must be a text, a list of texts"),
        (["a", [1]], "must be a text, a list of texts"),
        ([1, [1]], "must be a text, a list of texts"),
        ([1, True], "must be a text, a list of texts"),
        ([1.5], "must be a text, a list of texts"),
        ([[]], "input[0] is an empty text"),
        ([HELLO, []], "input[1] is an empty text"),
        ([[1, 2.0]], "arrays of tokens must hold nothing but whole numbers"),
        ([[True]], "arrays of tokens must hold nothing but whole numbers"),
        ([["a"]], "arrays of tokens must hold nothing but whole numbers"),
        ([9906, -1], "-1 is not the id of a token of text: ids of cl100k_base are taken, 0 to 100255, without its"),
        ([[100257]], "100257 is not the id of a token of text"),
        ([[1]] * 2049, "must hold at most 2048 texts, holds 2049"),
    ],
)
def test_any_other_form_of_input_is_a_400_that_says_why(
    embeddings: Function, fake: FakeProvider, given: Any, said: str
) -> None:
    answer = embeddings("POST", PATH, {"input": given})
    error = answer.json()["error"]
    assert (answer.status, error["param"]) == (400, "input")
    assert error["message"].startswith(f"input: {said}")
    assert fake.received == []


def test_the_token_table_is_read_only_for_arrays() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, of: event == "open" and str(of[0]).endswith(".bin") and opened.append(of[0]))
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest
EmbeddingRequest(input=["Hello world"])
print(len(opened))
EmbeddingRequest(input=[9906, 1917])
EmbeddingRequest(input=[9906, 1917])
print(len(opened), "tiktoken" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "False"]

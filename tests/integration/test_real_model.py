"""The bridge with its embedded models: what a new user gets on a machine with nothing else on it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest

from local_stack.testing import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.model]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    # No Ollama of this machine may answer in the embedded model's place.
    with running_stack(config=None, model=True, env={"OLLAMA_URL": "http://127.0.0.1:9"}) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="unused", max_retries=0)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def test_a_real_model_answers(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    reply = client.chat.completions.create(model="auto", messages=messages, max_tokens=30, temperature=0)  # type: ignore[arg-type]  # a literal
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens <= 30


def test_a_small_model_stops_at_its_output_limit(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Write a long story."}])
    assert reply.choices[0].finish_reason in {"stop", "length"}
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 512


def test_tools_are_refused_rather_than_dropped(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot call tools"):
        client.chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "Hello"}],
            tools=[{"type": "function", "function": {"name": "f"}}],
        )


def test_real_vectors_tell_related_from_unrelated_and_are_stored(client: openai.OpenAI, stack: RunningStack) -> None:
    texts = ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The stock market fell sharply."]
    reply = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    cat, kitten, market = (row.embedding for row in reply.data)
    assert len(cat) == 384
    assert cosine(cat, kitten) > cosine(cat, market) + 0.3
    stored = httpx.post(f"{stack.base_url}/v1/embeddings", json={"input": texts}, timeout=30).json()["bridge"]
    assert (stored["collection"], stored["stored"]) == ("conversations_384", 3)


TOPICS = {
    "cooking": [
        "Simmer the onions in butter until they turn golden.",
        "Knead the dough for ten minutes and let it rise overnight.",
        "Add a pinch of salt before the soup comes to the boil.",
        "The roast needs two hours in a moderate oven.",
        "Whisk the egg whites until they form stiff peaks.",
    ],
    "astronomy": [
        "The telescope found a planet orbiting a distant red dwarf.",
        "A lunar eclipse will be visible over Europe tonight.",
        "Galaxies drift apart as the universe expands.",
        "The comet's tail always points away from the sun.",
        "Astronauts spent six months aboard the space station.",
    ],
    "football": [
        "The striker scored twice in the second half.",
        "The goalkeeper saved a penalty in stoppage time.",
        "Their team was relegated after losing the final match.",
        "The referee showed a red card for the tackle.",
        "Fans filled the stadium for the cup final.",
    ],
    "money": [
        "The central bank raised interest rates again.",
        "Shares fell sharply after the earnings report.",
        "Inflation has eaten into household savings.",
        "She refinanced her mortgage at a lower rate.",
        "The company issued bonds to pay its debts.",
    ],
}
QUESTIONS = {
    "How do I bake bread?": "cooking",
    "recipe for a stew": "cooking",
    "stars and planets": "astronomy",
    "Who won the soccer game?": "football",
    "Why did the stock market drop?": "money",
    "loans and borrowing": "money",
}


def test_the_nearest_neighbours_of_real_texts_are_about_the_same(stack: RunningStack) -> None:
    for topic, texts in TOPICS.items():
        body: dict[str, Any] = {"input": texts, "collection": "topics", "metadatas": [{"topic": topic}] * len(texts)}
        kept = httpx.post(f"{stack.base_url}/v1/embeddings", json=body, timeout=60).json()["bridge"]
        assert kept["stored"] == len(texts)
    for question, topic in QUESTIONS.items():
        body = {"query": question, "collection": "topics", "n_results": 3}
        matches = httpx.post(f"{stack.base_url}/api/v1/search", json=body, timeout=60).json()["matches"]
        assert [match["metadata"]["topic"] for match in matches] == [topic] * 3, question
        assert matches[0]["score"] > matches[-1]["score"]

"""A stream that was cut never looks complete, wherever and however it was cut: the whole chat function over real HTTP."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events, ollama_pieces
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import HI, PATH, function

ENDINGS: tuple[Literal["whole", "closed", "reset"], ...] = ("whole", "closed", "reset")
TEXT = "Grüße aus dem 世界 🐋 und zurück"
WIRES: dict[str, tuple[str, str, list[bytes]]] = {
    "openai": (PATH, "text/event-stream", list(chat_events(TEXT))),
    "ollama": ("/api/chat", "application/x-ndjson", list(ollama_pieces(TEXT))),
}
FINISHES = {"openai": b'"finish_reason": "stop"', "ollama": b'"done": true'}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def chat(fake: FakeProvider) -> Function:
    tolerant = {"circuit_breaker": {"failure_threshold": 100_000}}
    return function(
        provider("openai", chat_model("openai"), base_url=f"{fake.url}/v1", priority=1),
        provider("ollama", chat_model("ollama"), provider_type="ollama", base_url=fake.url, priority=2),
        routing=tolerant,
    )


def parts_of(content: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes, in parts that begin at the cuts."""
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    return [content[a:b] for a, b in itertools.pairwise(places)]


def is_whole(wire: str, kept: bytes, ending: str) -> bool:
    """Whether the event that ends the answer has come in full; its line's own end may be missing where the stream has
    ended as it should.
    """
    lines = kept.split(b"\n")
    if ending == "whole":
        lines += [b"", b""]
    ended = [line for line, following in itertools.pairwise(lines) if wire == "ollama" or not following]
    return any(FINISHES[wire] in line and line.endswith(b"}") and is_json(line) for line in ended)


def is_json(line: bytes) -> bool:
    try:
        json.loads(line.removeprefix(b"data: "))
    except ValueError:
        return False
    return True


@given(data=st.data(), wire=st.sampled_from(sorted(WIRES)), ending=st.sampled_from(ENDINGS))
@settings(max_examples=250)
def test_done_is_said_exactly_when_the_provider_has_ended_its_answer(
    chat: Function, fake: FakeProvider, data: Any, wire: str, ending: Literal["whole", "closed", "reset"]
) -> None:
    path, content_type, events = WIRES[wire]
    whole = b"".join(events)
    kept = whole[: data.draw(st.integers(0, len(whole)), label="bytes that come")]
    parts = parts_of(kept, data.draw(st.lists(st.integers(0, len(whole)), max_size=5), label="parts begin at"))
    fake.script(path, Reply(stream=Stream(parts, ending=ending, content_type=content_type)))
    fields = {"messages": HI, "model": wire, "stream": True, "allow_fallback": False}
    answer = chat("POST", PATH, fields, remaining_ms=900_000)
    if answer.status != 200:
        assert ending == "reset" or not is_whole(wire, kept, ending), "a whole answer was refused"
        assert answer.json()["error"]["code"] == "all_providers_failed"
        return
    *told, last = [event.removeprefix("data: ") for event in answer.text.split("\n\n")[:-1]]
    said = "".join(json.loads(one)["choices"][0]["delta"].get("content") or "" for one in told)
    assert TEXT.startswith(said)
    if ending == "reset" and last != "[DONE]":
        # A reset may overtake what was sent before it, so less may have come.
        assert "error" in json.loads(last)
    else:
        assert (last == "[DONE]") == is_whole(wire, kept, ending)
        assert (said == TEXT) or last != "[DONE]"

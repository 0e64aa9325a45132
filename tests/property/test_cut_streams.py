"""A stream that was cut off never looks complete, wherever and however it was cut off: the chat function over real HTTP."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events, ollama_events
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import HI, PATH, function

ENDINGS: tuple[Literal["whole", "closed", "reset"], ...] = ("whole", "closed", "reset")
TEXT = "Grüße aus dem 世界 🐋 und zurück"
WIRES: dict[str, tuple[str, str, list[bytes]]] = {
    "openai": (PATH, "text/event-stream", list(chat_events(TEXT))),
    "ollama": ("/api/chat", "application/x-ndjson", list(ollama_events(TEXT))),
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


def parts_of(content: bytes, offsets: list[int]) -> list[bytes]:
    """The same bytes in parts that begin at the offsets."""
    places = sorted({0, len(content), *(offset % (len(content) + 1) for offset in offsets)})
    return [content[a:b] for a, b in itertools.pairwise(places)]


def is_complete(wire: str, kept: bytes, ending: str) -> bool:
    """Whether the event that ends the answer has arrived completely. The end of its line may be missing after the proper
    end of the stream.
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
def test_done_is_sent_exactly_when_the_provider_has_finished_its_answer(
    chat: Function, fake: FakeProvider, data: Any, wire: str, ending: Literal["whole", "closed", "reset"]
) -> None:
    path, content_type, events = WIRES[wire]
    whole = b"".join(events)
    kept = whole[: data.draw(st.integers(0, len(whole)), label="bytes that arrive")]
    parts = parts_of(kept, data.draw(st.lists(st.integers(0, len(whole)), max_size=5), label="parts begin at"))
    fake.script(path, Reply(stream=Stream(parts, ending=ending, content_type=content_type)))
    fields = {"messages": HI, "model": wire, "stream": True, "allow_fallback": False}
    answer = chat("POST", PATH, fields, remaining_ms=900_000)
    if answer.status != 200:
        assert ending == "reset" or not is_complete(wire, kept, ending), "a complete answer was rejected"
        assert answer.json()["error"]["code"] == "all_providers_failed"
        return
    *events_before, last = [event.removeprefix("data: ") for event in answer.text.split("\n\n")[:-1]]
    text = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events_before)
    assert TEXT.startswith(text)
    if ending == "reset" and last != "[DONE]":
        # A reset may discard bytes that were sent before it.
        assert "error" in json.loads(last)
    else:
        assert (last == "[DONE]") == is_complete(wire, kept, ending)
        assert (text == TEXT) or last != "[DONE]"

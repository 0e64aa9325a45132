"""A stream of Ollama's API that was cut off is never done, wherever and however its provider's was cut off."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.functions import Function
from tests.fakes.ollama_lines import check_ollama_lines, read_lines
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.fakes.settings import chat_model, provider
from tests.property.test_cut_streams import ENDINGS, TEXT, WIRES, is_complete, parts_of
from tests.unit.api.ollama.function import CHAT, GENERATE, function, post


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def api(fake: FakeProvider) -> Function:
    return function(
        provider("openai", chat_model("openai"), base_url=f"{fake.url}/v1", priority=1),
        provider("ollama", chat_model("ollama"), provider_type="ollama", base_url=fake.url, priority=2),
        routing={"circuit_breaker": {"failure_threshold": 100_000}},
    )


@given(
    data=st.data(),
    wire=st.sampled_from(sorted(WIRES)),
    ending=st.sampled_from(ENDINGS),
    path=st.sampled_from([CHAT, GENERATE]),
)
@settings(max_examples=150)
def test_a_stream_is_done_exactly_when_the_provider_has_finished_its_answer(
    api: Function,
    fake: FakeProvider,
    data: Any,
    wire: str,
    ending: Literal["whole", "closed", "reset"],
    path: str,
) -> None:
    provider_path, content_type, events = WIRES[wire]
    whole = b"".join(events)
    kept = whole[: data.draw(st.integers(0, len(whole)), label="bytes that arrive")]
    parts = parts_of(kept, data.draw(st.lists(st.integers(0, len(whole)), max_size=5), label="parts begin at"))
    fake.script(provider_path, Reply(stream=Stream(parts, ending=ending, content_type=content_type)))
    answer = post(api, path, model=wire, allow_fallback=False)
    if answer.status != 200:
        assert ending == "reset" or not is_complete(wire, kept, ending), "a complete answer was rejected"
        assert json.loads(answer.text)["bridge"]["code"] == "all_providers_failed"
        return
    stream = check_ollama_lines(read_lines(answer.text))
    assert TEXT.startswith(stream.text)
    assert stream.is_whole or stream.error
    if ending != "reset":  # a reset may discard bytes that were sent before it
        assert stream.is_whole == is_complete(wire, kept, ending)
    assert stream.text == TEXT or not stream.is_whole

"""Streams in Ollama's wire format: what the other formats do not have."""

import json
from dataclasses import replace

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.conversation import AnswerState
from sekha_llm_bridge.usage import Usage
from tests.contract.streams import AdapterRunner
from tests.contract.wire_formats import (
    OLLAMA,
)
from tests.fakes.openai_format import chunk_body
from tests.fakes.provider import (
    FakeProvider,
    Reply,
    ndjson,
    ollama_chat,
)

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.usefixtures("quick_collections"),
]


def test_nothing_after_ollamas_last_line_is_read(ollama: AdapterRunner, fake: FakeProvider) -> None:
    for ending in ("closed", "silent"):
        fake.script(
            OLLAMA.stream_path,
            replace(OLLAMA.streams([*OLLAMA.tokens("x"), *OLLAMA.end, ndjson({"error": "x"})], ending)),
        )
        result = ollama.read(timeout_s=60)
        assert result.text == "x"
        assert result.is_complete


def test_ollamas_tool_calls_get_ids_and_indexes(ollama: AdapterRunner, fake: FakeProvider) -> None:
    calls = [{"function": {"name": name, "arguments": {"at": name}}} for name in ("a", "b", "c")]
    pieces = [
        ndjson({"message": {"role": "assistant", "content": "", "tool_calls": some}, "done": False})
        for some in (calls[:2], calls[2:])
    ]
    fake.script(OLLAMA.stream_path, OLLAMA.streams([*pieces, *OLLAMA.end]))
    result = ollama.read()
    made = [made for one in result.chunks for made in chunk_body(one)["choices"][0]["delta"].get("tool_calls", ())]
    assert [(one["index"], one["function"]["name"]) for one in made] == [(0, "a"), (1, "b"), (2, "c")]
    assert [json.loads(one["function"]["arguments"]) for one in made] == [{"at": name} for name in "abc"]
    assert len({one["id"] for one in made}) == 3
    assert chunk_body(result.chunks[-1])["choices"][0]["finish_reason"] == "tool_calls"


def test_ollamas_thinking_is_progress_and_done_reason_length_a_finish_reason(
    ollama: AdapterRunner, fake: FakeProvider
) -> None:
    thinking = ndjson({"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False})
    empty = ndjson({"message": {"role": "assistant", "content": ""}, "done": False})
    end = ndjson({**ollama_chat(""), "done_reason": "length"})
    fake.script(OLLAMA.stream_path, OLLAMA.streams([empty, thinking, end]))
    result = ollama.read()
    assert [one.is_progress for one in result.chunks] == [False, True, True]
    assert chunk_body(result.chunks[1])["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert chunk_body(result.chunks[-1])["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_prompt_that_ollama_has_cut_is_a_failure_at_the_end(
    ollama: AdapterRunner,
    fake: FakeProvider,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    end = {**ollama_chat("x"), "prompt_eval_count": 4096}
    fake.script(
        OLLAMA.stream_path, OLLAMA.streams([*OLLAMA.tokens("x"), ndjson(end)]) if is_streamed else Reply(body=end)
    )
    result = ollama.read()
    assert result.kind is errors.FailureKind.CONTEXT_LENGTH_EXCEEDED
    assert result.failure.usage == Usage(4096, 4)
    assert all(one.state is AnswerState.OPEN for one in result.chunks)


def test_an_answer_of_ollama_without_counts_has_no_usage(ollama: AdapterRunner, fake: FakeProvider) -> None:
    end = ndjson({"message": {"content": ""}, "done": True})
    fake.script(OLLAMA.stream_path, OLLAMA.streams([*OLLAMA.tokens("x"), end]))
    result = ollama.read()
    assert result.usage is None
    assert result.is_complete

"""The estimate of output tokens: the same for a whole answer and for the same answer in deltas."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.conversation import ChoiceDelta, ToolCallDelta
from sekha_llm_bridge.execution.output_estimate import OutputEstimate
from sekha_llm_bridge.providers.openai.stream import ChunkReader
from tests.fakes.openai_format import chat_answer

ARGUMENTS = '{"city": "Ulaanbaatar", "days": [1, 2, 3], "detail": "everything that there is to say about the weather"}'


def tokens(*deltas: dict[str, Any]) -> int:
    """The estimate for an answer in these deltas of OpenAI's format."""
    estimate, reader = OutputEstimate(), ChunkReader(1, lambda: 0)
    for delta, finish in [*((delta, None) for delta in deltas), ({}, "stop")]:
        chunk = reader.read({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        for one in chunk.choices:
            estimate.add(one)
    return estimate.tokens


def tokens_of_whole(message: dict[str, Any]) -> int:
    """The estimate for the same answer as a whole."""
    estimate = OutputEstimate()
    for choice in chat_answer({"choices": [{"message": message, "finish_reason": "stop"}]}).choices:
        estimate.add_message(choice)
    return estimate.tokens


def call(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": arguments}}]}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, **call(ARGUMENTS)},
        {"role": "assistant", "content": "", "reasoning_content": "It asks for the weather, so a tool is needed."},
        {"role": "assistant", "content": "It is sunny.", "refusal": "Not that."},
    ],
)
def test_reasoning_refusals_and_tool_arguments_count_as_output(message: dict[str, Any]) -> None:
    assert tokens(message) > 3


def test_the_role_and_what_is_missing_count_nothing() -> None:
    assert tokens({"role": "assistant", "content": None}) == 0
    fragment = ChoiceDelta(is_first=True, tool_calls=(ToolCallDelta(0), ToolCallDelta(1)))
    estimate = OutputEstimate()
    estimate.add(fragment)
    assert estimate.tokens == 0


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200), st.integers(0, 200))
def test_deltas_count_as_the_whole_does_wherever_it_is_cut(
    content: str, reasoning: str, arguments: str, cut: int
) -> None:
    whole = {"role": "assistant", "content": content, "reasoning_content": reasoning, **call(arguments)}
    deltas = [
        {"role": "assistant"},
        {"reasoning_content": reasoning[:cut]},
        {"reasoning_content": reasoning[cut:]},
        {"content": content[:cut]},
        {"content": content[cut:]},
        call(arguments[:cut]),
        call(arguments[cut:]),
    ]
    assert tokens(*deltas) == tokens_of_whole(whole)


def test_an_answer_that_is_longer_than_what_is_kept_is_counted_whole() -> None:
    parts = [{"content": "word " * 5_000} for _ in range(10)]
    assert tokens(*parts) == pytest.approx(tokens({"content": "word " * 50_000}), rel=0.001)

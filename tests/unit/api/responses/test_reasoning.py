"""Reasoning items: what a caller gets, and what the same provider gets back."""

import pytest

from sekha_llm_bridge.api.conversations.packed_reasoning import packed, unpacked
from sekha_llm_bridge.conversation import Reasoning, ReasoningKind
from tests.fakes import anthropic_wire
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.response_events import Event
from tests.fakes.settings import chat_model, provider
from tests.unit.api.responses_function import CHAT_PATH, answer, function, sent_to

INCLUDE = {"include": ["reasoning.encrypted_content"]}
DETAILS: list[Event] = [
    {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "abc", "format": "anthropic-claude-v1", "index": 1},
]


def user(text: str) -> Event:
    return {"role": "user", "content": text}


def test_a_reasoning_item_has_an_encrypted_content_only_where_it_is_asked_for_or_needed(
    responses: Function, fake: FakeProvider
) -> None:
    thinking = Reply(body=chat_completion("Hi.", reasoning_content="Hm."))
    signed = Reply(body=chat_completion("Hi.", reasoning_details=DETAILS[:1]))
    fake.script(CHAT_PATH, thinking, thinking, signed)
    items = [answer(responses, **fields)["output"][0] for fields in ({}, INCLUDE, {})]
    assert ["encrypted_content" in item for item in items] == [False, True, True]
    assert [item["content"] for item in items] == [[{"type": "reasoning_text", "text": "Hm."}]] * 3


@pytest.mark.parametrize("fields", [INCLUDE, {}])
def test_openrouter_gets_its_reasoning_back_as_it_sent_it(fake: FakeProvider, fields: Event) -> None:
    responses = function(
        provider("r", chat_model("m"), provider_type="openrouter", base_url=f"{fake.url}/v1", api_key="k")
    )
    fake.script(CHAT_PATH, Reply(body=chat_completion("Hi.", reasoning_details=DETAILS)))
    output = answer(responses, **fields)["output"]
    assert [item["type"] for item in output] == ["reasoning", "reasoning", "message"]
    answer(responses, input=[user("Hello"), *output, user("Go on.")], **fields)
    assert sent_to(fake)["messages"][1] == {
        "role": "assistant",
        "content": "Hi.",
        "reasoning_content": "Hm.",
        "reasoning_details": DETAILS,
    }


def test_anthropic_gets_its_signed_thinking_back(fake: FakeProvider) -> None:
    """It requires that in a turn with calls."""
    model = chat_model("claude-sonnet-4-5", max_output_tokens=8192)
    responses = function(provider("a", model, provider_type="anthropic", base_url=fake.url, api_key="k"))
    blocks: list[Event] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]
    message = {**anthropic_wire.message(model="claude-sonnet-4-5"), "content": blocks, "stop_reason": "tool_use"}
    fake.script("/v1/messages", Reply(body=message))
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    output = answer(responses, tools=tools, reasoning={"effort": "low"})["output"]
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "1"}
    answer(responses, input=[user("Hi"), *output, result], tools=tools, reasoning={"effort": "low"})
    assert fake.calls("/v1/messages")[-1].body["messages"][1]["content"] == blocks


def test_reasoning_of_another_vendor_is_sent_as_its_text(responses: Function, fake: FakeProvider) -> None:
    """A client that was at OpenAI before has items that only OpenAI can read."""
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "content": None,
        "encrypted_content": "gAAAAA",
    }
    answer(responses, input=[user("Hi"), item, {"role": "assistant", "content": "Hi."}, user("Go on.")])
    assert sent_to(fake)["messages"][1] == {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm."}


def test_what_is_packed_is_unpacked_again() -> None:
    thoughts = (
        Reasoning("Hm.", ReasoningKind.ANTHROPIC, signature="s"),
        Reasoning("", ReasoningKind.OPENAI, encrypted="e", item_id="rs_1"),
        Reasoning("é"),
    )
    assert unpacked(packed(thoughts)) == thoughts


@pytest.mark.parametrize(
    "content", ["bridge1.", "bridge1.!", "bridge1.bnVsbA==", "bridge1.e30=", "bridge1.WzFd", "bridge1.W3t9XQ=="]
)
def test_a_damaged_content_is_nothing(content: str) -> None:
    assert unpacked(content) == ()


def test_where_the_content_is_damaged_the_summary_is_sent(responses: Function, fake: FakeProvider) -> None:
    summary = [{"type": "summary_text", "text": "Hm."}]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "bridge1.!"}
    answer(responses, input=[user("Hi"), item, {"role": "assistant", "content": "Hi."}, user("Go on.")])
    assert sent_to(fake)["messages"][1]["reasoning_content"] == "Hm."

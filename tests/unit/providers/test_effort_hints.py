"""A hint about how much to reason excludes no model: each gets what it takes, and the answer says what was left out."""

from typing import Any

import pytest

from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import Conversation, Message, Role, Text, WireFormat
from sekha_llm_bridge.providers.anthropic import request as anthropic
from sekha_llm_bridge.providers.bedrock import request as bedrock
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.openai.request import chat_payload as openai_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from sekha_llm_bridge.providers.thinking_budgets import unsent_thinking

HI = (Message(Role.USER, (Text("hi"),)),)
BUDGET = {"type": "enabled", "budget_tokens": 2000}
CLAUDE, NOVA, LLAMA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-2-lite-v1:0", "us.meta.llama3-3-70b"


def call_of(model: str, hint: str | None, **fields: Any) -> ChatCall:
    form = WireFormat.ANTHROPIC if "thinking" in fields else WireFormat.OLLAMA
    conversation = Conversation(HI, effort_hint=hint, wire_format=form, max_output_tokens=9000, **fields)
    return ChatCall(model, conversation, None, 9999)


@pytest.mark.parametrize(
    ("model", "hint", "expected", "is_left_out"),
    [
        ("claude-opus-4-6", "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, False),
        ("claude-opus-4-6", "none", {"thinking": {"type": "disabled"}}, False),
        ("claude-haiku-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 1800}}, False),
        ("claude-3-haiku-20240307", "low", {}, True),
        ("claude-3-haiku-20240307", "none", {}, False),
        ("claude-opus-5-5", "none", {}, False),  # it always thinks
    ],
)
def test_anthropics_models_get_a_hint_in_their_own_words(
    model: str, hint: str, expected: dict[str, Any], *, is_left_out: bool
) -> None:
    call = call_of(model, hint)
    payload = anthropic.chat_payload(call)
    assert {name: payload[name] for name in ("thinking", "output_config") if name in payload} == expected
    assert bool(anthropic.unsent_wishes(call.conversation, payload)) is is_left_out


@pytest.mark.parametrize(
    ("model", "fields", "expected", "is_left_out"),
    [
        (CLAUDE, {"thinking": BUDGET}, {"thinking": BUDGET}, False),
        (CLAUDE, {}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, False),
        (NOVA, {"thinking": BUDGET}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, False),
        (LLAMA, {"thinking": BUDGET}, {}, True),
        (LLAMA, {}, {}, True),
    ],
)
def test_bedrocks_models_get_what_each_takes(
    model: str, fields: dict[str, Any], expected: dict[str, Any], *, is_left_out: bool
) -> None:
    call = call_of(model, "low", **fields)
    body = bedrock.chat_body(call)
    assert body.get("additionalModelRequestFields", {}) == expected
    assert bool(bedrock.unsent_wishes(call.conversation, body)) is is_left_out


@pytest.mark.parametrize(
    ("cap", "expected", "note"),
    [
        (None, BUDGET, []),
        (3000, BUDGET, []),
        (1800, {"type": "enabled", "budget_tokens": 1024}, []),
        (1024, None, ["thinking with an output limit of at most 1024 tokens"]),
    ],
)
def test_a_budget_of_the_caller_stays_within_an_output_limit_of_the_bridge_for_every_format(
    cap: int | None, expected: dict[str, Any] | None, note: list[str]
) -> None:
    conversation = Conversation(HI, thinking=BUDGET, max_output_tokens=None if cap else 9000)
    call = ChatCall("claude-haiku-4-5", conversation, cap, 9999)
    payload = anthropic.chat_payload(call)
    assert (payload.get("thinking"), anthropic.unsent_wishes(conversation, payload)) == (expected, note)
    body = bedrock.chat_body(call._replace(model_id=CLAUDE))
    assert body.get("additionalModelRequestFields", {}).get("thinking") == expected
    assert bedrock.unsent_wishes(conversation, body) == note
    assert openai_payload(call, VENDORS[ProviderType.LITELLM]).get("thinking") == expected
    assert unsent_thinking(call) == note


def test_models_of_openais_format_get_an_effort_that_most_have_and_never_anthropics_thinking() -> None:
    vendor = VENDORS[ProviderType.OPENAI]
    for hint, expected in (("max", "high"), ("xhigh", "high"), ("low", "low"), ("none", "none"), (None, None)):
        payload = openai_payload(call_of("gpt", hint, thinking=BUDGET), vendor)
        assert (payload.get("reasoning_effort"), "thinking" in payload) == (expected, False)


def test_an_effort_that_the_caller_requests_takes_precedence_over_a_hint() -> None:
    call = call_of("gpt", "low", parameters={"reasoning_effort": "high"})
    assert openai_payload(call, VENDORS[ProviderType.OPENAI])["reasoning_effort"] == "high"

"""Conversations for the tests of Bedrock."""

from typing import Any

from sekha_llm_bridge.conversation import (
    Block,
    Conversation,
    Function,
    Message,
    Parameters,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.providers.bedrock.request import ChatBody, Guardrail, chat_body
from sekha_llm_bridge.providers.calls import ChatCall
from tests.fakes.bedrock import fault_of

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
OLD_CLAUDE = "anthropic.claude-3-5-sonnet-20241022-v2:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2407-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"

ADD = Function("add", "Adds numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
CALL = ToolCall("c1", "add", '{"a": 1}')


def user(*blocks: Block | str, **fields: Any) -> Message:
    return Message(Role.USER, tuple(Text(one) if isinstance(one, str) else one for one in blocks), **fields)


def assistant(*blocks: Block | str, **fields: Any) -> Message:
    return user(*blocks, **fields)._replace(role=Role.ASSISTANT)


def system(*blocks: Block | str, **fields: Any) -> Message:
    return user(*blocks, **fields)._replace(role=Role.SYSTEM)


def result(call_id: str | None, *blocks: Block | str, **fields: Any) -> Message:
    return user(*blocks, call_id=call_id, **fields)._replace(role=Role.TOOL)


HISTORY = (user("1 + 1?"), assistant(CALL), result("c1", "2"))


def choice(mode: ToolChoiceMode, name: str | None = None) -> ToolChoice:
    return ToolChoice(mode, name)


def chat_call(
    *messages: Message,
    model: str = CLAUDE,
    cap: int | None = None,
    model_max: int | None = None,
    parameters: Parameters | None = None,
    **fields: Any,
) -> ChatCall:
    conversation = Conversation(messages or (user("hi"),), parameters=parameters or {}, **fields)
    return ChatCall(model, conversation, cap, 5000, max_output_tokens=model_max)


def sent(*messages: Message, guardrail: Guardrail | None = None, **fields: Any) -> ChatBody:
    """Returns the body of the request, which Bedrock accepts."""
    call = chat_call(*messages, **fields)
    body = chat_body(call, guardrail)
    assert fault_of(body, call.model_id, "converse") is None
    assert fault_of(body, call.model_id, "converse-stream") is None
    return body

"""Whatever a conversation has, Bedrock gets a body that it accepts, or the model is excluded."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.conversation import (
    CacheControl,
    Conversation,
    Document,
    Function,
    Image,
    Media,
    Message,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.bedrock.adaptations import ADAPTATIONS, ChatPayload
from sekha_llm_bridge.providers.bedrock.request import chat_body
from sekha_llm_bridge.providers.calls import ChatCall
from tests.fakes.bedrock import fault_of

MODELS = (
    "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "global.anthropic.claude-opus-5",
    "anthropic.claude-3-5-sonnet-20241022-v2:0",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "mistral.mistral-large-2407-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123",
)
words = st.text(max_size=8)


def made(kind: type[Any], *values: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a type, whose other fields have their defaults."""
    return st.builds(lambda *given, **named: kind(*given, **named), *values, **fields)


caches = st.none() | made(CacheControl, st.sampled_from([None, "5m", "1h"]))
texts = made(Text, words, caches)
images = made(Image, st.just(Media("image/png", data="iVBORw0KGgo=")), cache=caches)
names = st.sampled_from([None, "a", "document 1", "document 2", "document 3"]) | words
documents = made(Document, st.just(Media("application/pdf", data="JVBERi0=")), name=names, cache=caches)
reasonings = made(Reasoning, words, st.sampled_from(ReasoningKind), st.none() | words, st.sampled_from([None, "AA=="]))
calls = made(ToolCall, st.none() | words, st.just("add"), st.sampled_from(["{}", '{"a": 1}', ""]), cache=caches)
users = st.lists(texts | images | documents, max_size=4)
answers = st.lists(texts | reasonings | calls | made(Refusal, words), max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Rounds of a question, an answer and the results of its calls, as a chat has them."""
    messages = [Message(draw(st.sampled_from([Role.SYSTEM, Role.DEVELOPER])), tuple(draw(st.lists(texts, max_size=2))))]
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(Role.USER, (Text("go on"), *draw(users)), cache=draw(caches)))
        blocks = tuple(draw(answers))
        messages.append(Message(Role.ASSISTANT, blocks, cache=draw(caches)))
        for call in (block for block in blocks if isinstance(block, ToolCall)):
            result = tuple(draw(st.lists(texts | images, max_size=2)))
            messages.append(Message(Role.TOOL, result, call_id=call.call_id, is_error=draw(st.booleans())))
    return Conversation(tuple(messages), **draw(settings))


schema = {"type": "object", "properties": {"city": {"type": "string"}}}
formats = [OutputFormat(OutputFormatKind.JSON_SCHEMA, "x", schema), OutputFormat(OutputFormatKind.JSON_OBJECT), None]
settings: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "tools": st.sampled_from(
            [(), (Function("add", " ", is_strict=True, cache=CacheControl()), Function("b", "B."))]
        ),
        "tool_choice": st.none() | made(ToolChoice, st.sampled_from(ToolChoiceMode), st.just("add")),
        "is_parallel": st.sampled_from([None, True, False]),
        "output_format": st.sampled_from(formats),
        "max_output_tokens": st.none() | st.integers(1, 10**6),
        "cache": caches,
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 1),
                "top_p": st.floats(0, 1),
                "top_k": st.integers(1, 100),
                "stop": st.sampled_from(["a", ["b", "c"], [], None]),
                "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
            },
        ),
        "thinking": st.sampled_from([None, {"type": "adaptive"}]),
    }
)


@given(st.sampled_from(MODELS), conversations(), st.none() | st.integers(1, 10**6))
def test_every_body_and_every_other_form_of_it_is_valid(
    model: str, conversation: Conversation, cap: int | None
) -> None:
    try:
        body = chat_body(ChatCall(model, conversation, cap, 0))
    except ProviderError as exc:
        if exc.kind is not FailureKind.CANDIDATE_UNSUITABLE:
            raise
        return
    payload = ChatPayload(model=model, body=body)
    forms = [body, *(changed["body"] for one in ADAPTATIONS if (changed := one.change(payload)) is not None)]
    for form in forms:
        for operation in ("converse", "converse-stream"):
            assert fault_of(form, model, operation) is None
    assert payload == ChatPayload(model=model, body=body)

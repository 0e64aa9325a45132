"""Requests in Ollama's format, and what must hold of the translation of any body, valid or not."""

from copy import deepcopy
from functools import cache
from typing import Any

from hypothesis import strategies as st

from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.api.ollama.conversation import chat_conversation, generate_conversation
from sekha_llm_bridge.api.ollama.request import ChatRequest, GenerateRequest
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import InvalidRequest, ProviderError
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.providers.anthropic.request import chat_payload as anthropic_payload
from sekha_llm_bridge.providers.bedrock.request import chat_body as bedrock_body
from sekha_llm_bridge.providers.ollama.request import chat_payload as ollama_payload
from sekha_llm_bridge.providers.openai.request import chat_payload as openai_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from tests.fakes.settings import chat_model, make_settings

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
texts = st.text(max_size=8)
names = st.sampled_from(["f", "g", "weather"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(texts, values, max_size=2)
calls = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": names}, optional={"arguments": objects, "index": st.integers(0, 3)})},
    optional={"id": st.sampled_from(["c0", "c1", ""])},
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "User"])},
    optional={
        "content": texts | st.none(),
        "thinking": texts,
        "images": st.lists(st.just(PNG), max_size=2),
        "tool_calls": st.lists(calls, max_size=3),
        "tool_name": names,
        "tool_call_id": st.sampled_from(["c0", "c1", "other"]),
    },
)
tools = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": names}, optional={"description": texts, "parameters": objects})},
    optional={"type": st.just("function")},
)
options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.none() | st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 99),
        "seed": st.integers(-1, 99),
        "num_predict": st.integers(-2, 99),
        "num_ctx": st.integers(0, 99_999),
        "stop": texts | st.lists(texts, max_size=2),
        "repeat_penalty": st.floats(0, 2),
        "new": values,
    },
)
common = {
    "model": st.sampled_from(["m", "m:latest"]),
    "stream": st.booleans() | st.none(),
    "format": st.sampled_from([None, "", "json", {"type": "object"}]),
    "options": options | st.none(),
    "think": st.sampled_from([None, True, False, "low", "max"]),
    "keep_alive": st.sampled_from([None, 0, -1, 2.5, "5m"]),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 20),
    "truncate": st.booleans(),
    "max_cost": st.floats(0, 1),
    "x_new": values,
}
chats = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=5)}, optional={"tools": st.lists(tools, max_size=2), **common}
)
completions = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1, max_size=5)},
    optional={"system": texts, "images": st.lists(st.just(PNG), max_size=2), **common},
)


@cache
def _bridge() -> Bridge:
    return make_bridge(
        make_settings({"id": "p", "provider_type": "ollama", "models": [chat_model(supports_vision=True)]})
    )


def conversation_of(body: dict[str, Any]) -> Conversation:
    """The conversation of a request of either path. Raises `InvalidRequest`."""
    if "prompt" in body:
        return generate_conversation(validated(GenerateRequest, body))
    return chat_conversation(validated(ChatRequest, body))


def check_translation(body: dict[str, Any]) -> bool:
    """Translates a body as the function does, down to what a provider of each format is sent, and returns whether it is
    a valid request. Any other exception than those for an error of the caller or of a candidate is raised.
    """
    try:
        conversation = conversation_of(body)
        route_request(conversation, Options(), _bridge())
    except InvalidRequest:
        return False
    call = ChatCall("m", conversation, None, 4096, max_output_tokens=4096)
    for send in (
        lambda: ollama_payload(call, stream=True),
        lambda: openai_payload(call, VENDORS[ProviderType.OPENAI]),
        lambda: anthropic_payload(call._replace(model_id="claude-opus-4-6")),
        lambda: bedrock_body(call._replace(model_id="amazon.nova-pro-v1:0")),
    ):
        try:
            send()
        except ProviderError:
            continue
    return True


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A valid request in which some value, however deep, is replaced by another one."""
    body: dict[str, Any] = deepcopy(draw(chats | completions))  # what is drawn may be shared
    place: Any = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return body
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or draw(st.booleans()):
            place[key] = draw(values)
            return body
        place = place[key]

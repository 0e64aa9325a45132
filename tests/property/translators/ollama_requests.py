"""Requests in Ollama's format."""

from typing import Any

import orjson
from hypothesis import strategies as st

from sekha_llm_bridge.api.ollama.conversation import chat_conversation, generate_conversation
from sekha_llm_bridge.api.ollama.request import ChatRequest, GenerateRequest
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.conversation import Conversation
from tests.property.translators.generated import json_values, texts

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
names = st.sampled_from(["f", "g", "weather"])
objects = st.dictionaries(texts, json_values, max_size=2).map(lambda made: orjson.loads(orjson.dumps(made)))
"""JSON objects as they are sent: without infinite numbers."""

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
        "new": st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(-9, 9)
        | texts
        | st.lists(texts, max_size=2),
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
    "x_new": json_values,
}
chats = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=5)}, optional={"tools": st.lists(tools, max_size=2), **common}
)
completions = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1, max_size=5)},
    optional={"system": texts, "images": st.lists(st.just(PNG), max_size=2), **common},
)


def conversation_of(body: dict[str, Any]) -> Conversation:
    """The conversation of a request of either path. Raises `InvalidRequest`."""
    if "prompt" in body:
        return generate_conversation(validated(GenerateRequest, body))
    return chat_conversation(validated(ChatRequest, body))

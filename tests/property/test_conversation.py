"""Any valid request in OpenAI's format, translated to the internal format and back, is the same request."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.providers.openai.request import chat_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from tests.fakes.openai_format import chat_call

PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
CACHE = {"type": "ephemeral"}
texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
unknown = st.dictionaries(st.sampled_from(["x_new", "vendor", "metadata"]), values, max_size=2)
caches = st.fixed_dictionaries(
    {"type": st.just("ephemeral")}, optional={"ttl": st.sampled_from(["5m", "1h", None]), "scope": texts}
) | st.sampled_from([None, "ephemeral", {"type": "other"}, {"type": None, "ttl": "5m"}])


def objects(fields: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with these fields, perhaps some of the optional ones, and perhaps unknown ones."""
    known = st.fixed_dictionaries(fields, optional=optional)
    return st.builds(lambda some, more: {**more, **some}, known, unknown)


def parts_of(kind: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return objects({"type": st.just(kind), kind: value}, cache_control=caches)


images = objects(
    {"url": st.sampled_from(["https://example.org/a.png", PNG])}, detail=st.sampled_from(["low", "auto", None])
)
files = objects(
    {},
    file_id=texts | st.none(),
    filename=texts | st.none(),
    file_data=st.sampled_from(
        ["data:application/pdf;base64,QUJD", "https://example.org/a.pdf", "data:text/plain,hello", None]
    ),
)
audios = objects({"data": st.just("QUJD")}, format=st.sampled_from(["wav", "mp3", None]))
parts = st.one_of(
    parts_of("text", texts),
    parts_of("image_url", images),
    parts_of("file", files | texts),
    parts_of("input_audio", audios | st.none()),
    parts_of("refusal", texts | st.none()),
    parts_of("video_url", values),
)
contents = texts | st.lists(parts, max_size=3)
functions_called = objects({"name": texts}, arguments=st.sampled_from(["{}", '{"a": 1}', ""]))
calls = objects(
    {"function": functions_called}, id=texts | st.none(), type=st.sampled_from(["function", "other"]), index=st.just(0)
) | objects({"id": texts, "type": st.just("custom"), "custom": objects({"name": texts, "input": texts})})
reasoning: dict[str, Any] = {
    "reasoning_content": texts | st.none(),
    "reasoning": texts,
    "reasoning_details": st.lists(objects({"type": texts}, text=texts, signature=texts, data=texts), max_size=2),
    "thinking_blocks": st.lists(objects({"type": texts}, thinking=texts, signature=texts), max_size=2),
}
messages = st.one_of(
    objects(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": contents},
        name=texts | st.none(),
        cache_control=caches,
    ),
    objects(
        {"role": st.just("assistant")},
        content=contents | st.none(),
        tool_calls=st.lists(calls, max_size=2) | st.none(),
        refusal=texts | st.none(),
        function_call=functions_called,
        cache_control=caches,
        **reasoning,
    ),
    objects({"role": st.just("tool"), "content": contents}, tool_call_id=texts | st.none(), cache_control=caches),
    objects({"role": st.just("function"), "content": texts, "name": texts}),
)
tools = objects(
    {
        "type": st.just("function"),
        "function": objects(
            {"name": st.text(min_size=1, max_size=5)},
            description=texts | st.none(),
            parameters=st.dictionaries(texts, values, max_size=2) | st.none(),
            strict=st.booleans() | st.none(),
        ),
    },
    cache_control=caches,
) | objects({"type": st.sampled_from(["web_search", "custom", "function"])})
formats = objects(
    {"type": st.sampled_from(["text", "json_object", "grammar"])}, schema=values, cache_control=caches
) | objects(
    {"type": st.just("json_schema"), "json_schema": objects({"name": texts}, schema=values, strict=st.booleans())}
)
limits = st.none() | st.integers(1, 99)
requests = objects(
    {"messages": st.lists(messages, min_size=1, max_size=3)},
    tools=st.lists(tools, max_size=2) | st.none(),
    functions=st.lists(objects({"name": texts}), max_size=1),
    tool_choice=st.sampled_from(["auto", "none", "required", "any", None])
    | objects({"type": st.just("function"), "function": objects({"name": texts})})
    | objects({"type": st.just("allowed_tools")}),
    parallel_tool_calls=st.sampled_from([True, False, None]),
    response_format=formats | st.none(),
    max_tokens=limits,
    max_completion_tokens=limits,
    n=st.none() | st.integers(1, 3),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.just(0),
    seed=st.none() | st.integers(0, 9),
    stop=st.none() | texts | st.lists(texts, max_size=2),
    logit_bias=st.just({"50256": -100}),
    reasoning_effort=st.sampled_from(["low", None]),
    thinking=st.sampled_from([None, {}, {"type": "enabled", "budget_tokens": 1024}]),
    cache_control=caches,
    user=texts,
)


def expected(request: dict[str, Any]) -> dict[str, Any]:
    """What is sent for a request. It differs from the request only in this: the lower output limit is in the vendor's
    field, and `n` of 1, empty lists of tools, functions and calls, and nulls in place of fields that may be missing are
    left out. See also `expected_message`.
    """
    sent = {name: value for name, value in request.items() if name not in {"max_tokens", "max_completion_tokens"}}
    caps = [cap for name in ("max_tokens", "max_completion_tokens") if (cap := request.get(name)) is not None]
    left_out: dict[str, list[Any]] = {
        "n": [None, 1],
        "tools": [None, []],
        "functions": [[]],
        "tool_choice": [None],
        "response_format": [None],
    }
    sent = without(sent, left_out) | ({"max_tokens": min(caps)} if caps else {})
    return {**sent, "model": "m", "messages": [expected_message(message) for message in request["messages"]]}


def expected_message(message: dict[str, Any]) -> dict[str, Any]:
    """A message has `content`, null where it has none; a call has a type, and a function its arguments."""
    sent = without(message, {"tool_calls": [None, []], "name": [None], "tool_call_id": [None]})
    sent.setdefault("content", None)
    if "tool_calls" in sent:
        sent["tool_calls"] = [expected_call(call) for call in sent["tool_calls"]]
    return sent


def expected_call(call: dict[str, Any]) -> dict[str, Any]:
    call = {"type": "function", **without(call, {"id": [None]})}
    if call["type"] == "function":
        call["function"] = {"arguments": "{}", **call["function"]}
    return call


def without(fields: dict[str, Any], left_out: dict[str, list[Any]]) -> dict[str, Any]:
    """The fields that do not have one of the values that are left out."""
    return {name: value for name, value in fields.items() if value not in left_out.get(name, ())}


def with_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def with_call(call: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}


@given(requests)
@example({"messages": [{"role": "assistant", "content": [{"type": "text", "text": "a"}], "refusal": "No."}]})
@example(with_part({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": None}}))
@example(with_part({"type": "image_url", "image_url": {"url": PNG, "detail": None}}))
@example(with_part({"type": "input_audio", "input_audio": {"data": "QUJD"}}))
@example(with_part({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav", "x_new": 1}}))
@example(with_part({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}, "cache_control": CACHE}))
@example(with_part({"type": "refusal", "refusal": "No.", "x_new": 1}))
@example(with_part({"type": "refusal", "refusal": "No.", "cache_control": CACHE}))
@example(with_part({"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "file_id": "f"}}))
@example(with_part({"type": "file", "file": {"file_data": "data:text/plain,hello"}}))
@example(with_call({"id": "c", "type": "other", "function": {"name": "f", "arguments": "{}"}}))
@example({**HI, "tools": [{"type": "function", "function": {"name": "f", "strict": None, "description": None}}]})
def test_a_request_is_the_same_after_its_translation_to_the_internal_format_and_back(request: dict[str, Any]) -> None:
    ChatRequest.model_validate(request)
    sent = chat_payload(chat_call("m", request, None, 4096), VENDORS[ProviderType.LITELLM])
    assert sent == expected(request)

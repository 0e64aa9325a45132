"""Translation of OpenAI's requests to Ollama's, and of Ollama's answers to OpenAI's."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai.types.chat import ChatCompletionTokenLogprob

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import ChatAnswer, Conversation, WireFormat
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import EmbeddingCall, Provider, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.ollama.request import chat_payload, context_window_for, embedding_payload
from sekha_llm_bridge.providers.ollama.response import read_chat_answer
from sekha_llm_bridge.providers.ollama.system_messages import system_adaptations
from sekha_llm_bridge.usage import Usage
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import answer_body, chat_call
from tests.fakes.provider import FakeProvider, Reply, ollama_chat
from tests.fakes.settings import chat_model, embedding_model, provider


def payload(cap: int | None = None, **request: Any) -> dict[str, Any]:
    call = chat_call("m", {"messages": [{"role": "user", "content": "hi"}], **request}, cap, 5000)
    return {**chat_payload(call, stream=False)}


def test_sampling_fields_become_options_and_nulls_are_left_out() -> None:
    options = payload(temperature=0, top_p=0.5, seed=7, stop="end", presence_penalty=None)["options"]
    assert options == {"temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["end"], "num_ctx": 8192}


@pytest.mark.parametrize(
    ("cap", "fields", "expected"),
    [(None, {}, None), (10, {}, 10), (10, {"max_tokens": 5}, 5), (None, {"max_completion_tokens": 9}, 9)],
)
def test_the_lowest_output_limit_is_sent(cap: int | None, fields: dict[str, int], expected: int | None) -> None:
    assert payload(cap, **fields)["options"].get("num_predict") == expected


def test_the_requested_context_is_4096_doubled_until_the_request_fits() -> None:
    assert [context_window_for(tokens) for tokens in (1, 4096, 4097, 20_000)] == [4096, 4096, 8192, 32_768]


def test_a_response_format_becomes_ollamas_format() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert payload(response_format=form)["format"] == schema
    assert payload(response_format={"type": "json_object"})["format"] == "json"
    assert "format" not in payload(response_format={"type": "text"})


def test_inline_images_become_base64_without_prefix_beside_the_text() -> None:
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
    ]
    message = payload(messages=[{"role": "user", "content": parts}])["messages"][0]
    assert message == {"role": "user", "content": "what?", "images": ["QUJD"]}


def test_options_of_ollamas_own_are_those_of_requests_in_its_format() -> None:
    call = chat_call("m", {"messages": [{"role": "user", "content": "hi"}], "options.mirostat": 2}, None, 5000)
    assert "mirostat" not in chat_payload(call, stream=False)["options"]
    own = call._replace(conversation=call.conversation._replace(wire_format=WireFormat.OLLAMA))
    assert chat_payload(own, stream=False)["options"]["mirostat"] == 2


def test_the_reasoning_of_earlier_answers_is_sent_unless_it_is_of_another_vendors_model() -> None:
    own = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hmm."}
    detail = {"type": "reasoning.text", "text": "Hmm.", "format": "anthropic-claude-v1", "signature": "s"}
    others = {"role": "assistant", "content": "Yes.", "reasoning_details": [detail]}
    first, second = payload(messages=[own, others])["messages"]
    assert first == {"role": "assistant", "content": "Yes.", "thinking": "Hmm."}
    assert second == {"role": "assistant", "content": "Yes."}


def test_log_probabilities_are_requested_and_come_in_openais_form() -> None:
    assert payload(logprobs=True, top_logprobs=2).items() >= {"logprobs": True, "top_logprobs": 2}.items()
    token = {"token": "Hi", "logprob": -0.5}
    sent = {**ollama_chat("Hi"), "logprobs": [token, {**token, "bytes": [72], "top_logprobs": [token]}]}
    answer = answer_body(read_chat_answer(sent, created=0))
    content = answer["choices"][0]["logprobs"]["content"]
    assert content == [
        {**token, "bytes": None, "top_logprobs": []},
        {**token, "bytes": [72], "top_logprobs": [token]},
    ]
    for one in content:
        ChatCompletionTokenLogprob.model_validate(one, strict=True)


def test_the_developer_role_becomes_the_system_role() -> None:
    assert payload(messages=[{"role": "developer", "content": "be brief"}])["messages"][0]["role"] == "system"


def test_tool_calls_and_their_results_keep_names_and_arguments() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    assistant, tool = payload(messages=messages, tools=[{"type": "function"}])["messages"]
    assert assistant == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}],
    }
    assert tool == {"role": "tool", "content": "2", "tool_name": "add"}


def test_tool_arguments_that_are_not_json_are_a_rejected_request() -> None:
    call = {"id": "c1", "function": {"name": "add", "arguments": "{oops"}}
    with raises_failure(FailureKind.REQUEST_REJECTED, match="not JSON"):
        payload(messages=[{"role": "assistant", "tool_calls": [call]}])


def test_tools_are_not_sent_with_tool_choice_none() -> None:
    assert "tools" not in payload(tools=[{"type": "function"}], tool_choice="none")


def test_tool_calls_in_answers_get_ids_and_arguments_as_text() -> None:
    calls = [{"function": {"name": "add", "arguments": {"a": 1}}}]
    choice = answer_body(read_chat_answer(ollama_chat("", tool_calls=calls), created=1))["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == {"a": 1}


def test_an_answer_that_reached_its_output_limit_has_finish_reason_length() -> None:
    body = {**ollama_chat("hal"), "done_reason": "length"}
    assert read_chat_answer(body, created=1).choices[0].finish_reason == "length"


def test_usage_is_none_when_ollama_sends_no_counts() -> None:
    body = ollama_chat("hi")
    del body["prompt_eval_count"]
    assert read_chat_answer(body, created=1).usage is None


def test_ollama_is_asked_not_to_truncate_the_prompt() -> None:
    sent = payload()
    assert (sent["truncate"], sent["shift"]) == (False, False)


def test_an_answer_to_a_prompt_that_was_cut_is_a_context_length_failure(fake: FakeProvider) -> None:
    config = ProviderConfig.model_validate(
        provider("p", chat_model("m"), provider_type="ollama", base_url=fake.url),
    )

    async def answer(counted: int) -> ChatAnswer:
        fake.script("/api/chat", Reply(body={**ollama_chat("hi"), "prompt_eval_count": counted}))
        adapter = make_provider(config, JsonHttp(SystemClock()), SystemClock())
        return await adapter.chat(chat_call("m", {"messages": []}, None, 4096), timeout_s=5)

    assert asyncio.run(answer(4000)).usage == Usage(4000, 4)
    with raises_failure(FailureKind.CONTEXT_LENGTH_EXCEEDED):
        asyncio.run(answer(4096))


@pytest.mark.parametrize(
    ("text", "window", "num_ctx"),
    [
        ("short", 8192, 4096),
        ("short", 512, 512),
        ("x" * 4094, 8192, 4096),
        ("x" * 4095, 8192, 8192),
        ("x" * 9000, 8192, 8192),
        ("x" * 9000, None, 16_384),
    ],
)
def test_embeddings_request_a_context_for_the_longest_text_within_the_models_window(
    text: str, window: int | None, num_ctx: int
) -> None:
    sent = embedding_payload(EmbeddingCall("m", ["a", text, "b"], context_window=window))
    assert (sent["options"], sent["truncate"]) == ({"num_ctx": num_ctx}, False)


def test_the_models_window_limits_the_context_of_embeddings(fake: FakeProvider) -> None:
    with_adapter(fake, lambda adapter: adapter.embed(EmbeddingCall("e", ["x" * 2000], context_window=512), timeout_s=5))
    assert fake.received[0].body["options"] == {"num_ctx": 512}


def with_adapter(fake: FakeProvider, *uses: Callable[[Provider], Awaitable[Any]]) -> None:
    """Calls one adapter for the fake, once for each of `uses`."""
    models = (chat_model("llama"), chat_model("gpt-oss:20b"), embedding_model("e"))
    config = ProviderConfig.model_validate(provider("p", *models, provider_type="ollama", base_url=fake.url))

    async def scenario() -> None:
        http = JsonHttp(SystemClock())
        adapter = make_provider(config, http, SystemClock())
        for use in uses:
            await use(adapter)
        await http.aclose()

    asyncio.run(scenario())


def whole(model_id: str, **fields: Any) -> Callable[[Provider], Awaitable[Any]]:
    call = chat_call(model_id, {"messages": [{"role": "user", "content": "hi"}], **fields}, None, 100)
    return lambda adapter: adapter.chat(call, timeout_s=5)


def streamed(model_id: str, **fields: Any) -> Callable[[Provider], Awaitable[Any]]:
    call = chat_call(model_id, {"messages": [{"role": "user", "content": "hi"}], **fields}, None, 100)

    async def read(adapter: Provider) -> int:
        return len([chunk async for chunk in adapter.stream(call, timeout_s=5)])

    return read


def thinks(fake: FakeProvider) -> list[Any]:
    """The values of `think` that the fake has received; "absent" where there is none."""
    return [one.body.get("think", "absent") for one in fake.received]


each_form = pytest.mark.parametrize("ask", [whole, streamed])


@each_form
@pytest.mark.parametrize(
    ("model_id", "effort", "think"),
    [
        ("llama", "none", False),
        ("llama", "low", True),
        ("llama", "high", True),
        ("gpt-oss:20b", "none", False),
        ("gpt-oss:20b", "minimal", "low"),
        ("gpt-oss:20b", "medium", "medium"),
        ("gpt-oss:20b", "xhigh", "high"),
        ("llama", None, "absent"),
        ("llama", "auto", "absent"),
    ],
)
def test_a_reasoning_effort_becomes_think(
    fake: FakeProvider, ask: Any, model_id: str, effort: str | None, think: object
) -> None:
    with_adapter(fake, ask(model_id, reasoning_effort=effort))
    assert thinks(fake) == [think]
    assert "reasoning_effort" not in fake.received[0].body


@each_form
def test_an_explicit_think_takes_precedence_over_the_effort(fake: FakeProvider, ask: Any) -> None:
    with_adapter(fake, ask("llama", reasoning_effort="high", think=False), ask("llama", think="low"))
    assert thinks(fake) == [False, "low"]


@each_form
def test_a_model_that_cannot_think_is_asked_again_without_and_not_again_later(fake: FakeProvider, ask: Any) -> None:
    fake.script("/api/chat", Reply(400, {"error": '"llama" does not support thinking'}))
    with_adapter(fake, ask("llama", reasoning_effort="high"), ask("llama", reasoning_effort="low"))
    assert thinks(fake) == [True, "absent", "absent"]


@each_form
def test_a_model_without_levels_gets_a_plain_true(fake: FakeProvider, ask: Any) -> None:
    fake.script("/api/chat", Reply(400, {"error": 'think value "high" is not supported for this model'}))
    with_adapter(fake, ask("gpt-oss:20b", reasoning_effort="high"), ask("gpt-oss:20b", reasoning_effort="high"))
    assert thinks(fake) == ["high", True, True]


@each_form
def test_a_request_that_is_wrong_for_another_reason_keeps_its_error_and_nothing_is_remembered(
    fake: FakeProvider, ask: Any
) -> None:
    async def fail(adapter: Provider) -> None:
        with pytest.raises(ProviderError):
            await ask("llama", reasoning_effort="high")(adapter)

    fake.script("/api/chat", Reply(400, {"error": "invalid options"}))
    with_adapter(fake, fail, ask("llama", reasoning_effort="high"))
    assert thinks(fake) == [True, True]


def test_a_think_of_the_callers_own_that_is_rejected_is_not_changed(fake: FakeProvider) -> None:
    fake.script("/api/chat", Reply(400, {"error": '"llama" does not support thinking'}))
    with pytest.raises(ProviderError):
        with_adapter(fake, whole("llama", think=True))
    assert thinks(fake) == [True]


def test_later_system_messages_become_the_users_with_all_images() -> None:
    conversation = Conversation((), wire_format=WireFormat.ANTHROPIC)
    (adaptation,) = system_adaptations(conversation)
    sent = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a", "images": ["1"]},
        {"role": "system", "content": "later"},
        {"role": "user", "content": "b", "images": ["2"]},
        {"role": "assistant", "content": "c"},
        {"role": "system", "content": "last"},
    ]
    changed = adaptation.change({"messages": sent}) or {}
    assert changed["messages"] == [
        sent[0],
        {"role": "user", "content": "a\n<system_message>\nlater\n</system_message>\nb", "images": ["1", "2"]},
        sent[4],
        {"role": "user", "content": "<system_message>\nlast\n</system_message>"},
    ]
    assert adaptation.change(changed) is None

"""The adapter over real HTTP: headers, failures, cuts, other forms of a request, counting and the probe."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import (
    AnswerChunk,
    Conversation,
    Document,
    Function,
    Media,
    Message,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    Role,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.adapter import AnthropicAdapter
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL
from sekha_llm_bridge.providers.base import EmbeddingCall
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.fakes import anthropic_wire as wire
from tests.fakes.anthropic_types import faults
from tests.fakes.failures import raises_failure
from tests.fakes.provider import FakeProvider, Received, Reply, Stream
from tests.fakes.settings import chat_model, provider

T = TypeVar("T")

PATH, COUNT_PATH = "/v1/messages", "/v1/messages/count_tokens"
MODEL = "claude-opus-4-6"
HI = (Message(Role.USER, (Text("hi"),)),)
ANSWER = wire.message(wire.text("Hello there."), usage=wire.usage(9, 3))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
FORM = OutputFormat(OutputFormatKind.JSON_SCHEMA, "x", SCHEMA)
SIGNED = Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig")


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        running.always(PATH, Reply(body=ANSWER))
        yield running


def call_of(model: str = MODEL, *, cap: int | None = None, **fields: Any) -> ChatCall:
    return ChatCall(model, Conversation(**{"messages": HI, **fields}), cap, 1000)


def run(fake: FakeProvider, use: Callable[[AnthropicAdapter], Awaitable[T]], **fields: Any) -> T:
    section = {"base_url": fake.url, "api_key": "sk-ant-api03-k", **fields}
    config = ProviderConfig.model_validate(provider("a", chat_model(MODEL), provider_type="anthropic", **section))

    async def main() -> T:
        http = JsonHttp(SystemClock())
        try:
            return await use(AnthropicAdapter(config, http, SystemClock()))
        finally:
            await http.aclose()

    return asyncio.run(main())


def chat(fake: FakeProvider, call: ChatCall | None = None, **fields: Any) -> Any:
    return run(fake, lambda adapter: adapter.chat(call or call_of(), timeout_s=5), **fields)


async def collect(adapter: AnthropicAdapter, call: ChatCall) -> list[AnswerChunk]:
    return [chunk async for chunk in adapter.stream(call, timeout_s=5)]


def stream(fake: FakeProvider, call: ChatCall | None = None) -> list[AnswerChunk]:
    return run(fake, lambda adapter: collect(adapter, call or call_of()))


def text_of(chunks: list[AnswerChunk]) -> str:
    return "".join(delta.text or "" for chunk in chunks for delta in chunk.choices)


def sent(fake: FakeProvider, path: str = PATH) -> Received:
    return fake.calls(path)[-1]


def reject(message: str, status: int = 400, kind: str = "invalid_request_error") -> Reply:
    return Reply(status, wire.error(kind, message))


def test_a_whole_answer_is_read(fake: FakeProvider) -> None:
    answer = chat(fake)
    assert answer.choices[0].blocks == (Text("Hello there."),)
    assert answer.usage == Usage(9, 3)


def test_a_streamed_answer_is_read_and_its_request_is_what_anthropics_client_would_send(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)))))
    chunks = stream(fake)
    assert text_of(chunks) == "Hello there."
    assert [chunk.usage for chunk in chunks if chunk.usage] == [Usage(9, 3)]
    assert list(faults(sent(fake).body, MessageCreateParamsStreaming)) == []
    assert sent(fake).body["stream"] is True


def test_the_key_and_the_version_are_headers(fake: FakeProvider) -> None:
    chat(fake)
    headers = sent(fake).headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-ant-api03-k", "2023-06-01")
    assert not headers.keys() & {"authorization", "anthropic-beta"}


def test_an_oauth_token_is_sent_as_bearer_with_its_beta_feature(fake: FakeProvider) -> None:
    chat(fake, api_key="sk-ant-oat01-t", headers={"Anthropic-Beta": "context-1m-2025-08-07"})
    headers = sent(fake).headers
    assert headers["authorization"] == "Bearer sk-ant-oat01-t"
    assert headers["anthropic-beta"] == "context-1m-2025-08-07,oauth-2025-04-20"
    assert "x-api-key" not in headers


def test_configured_headers_take_precedence(fake: FakeProvider) -> None:
    chat(fake, headers={"Authorization": "Bearer mine", "anthropic-version": "2026-10-21"})
    headers = sent(fake).headers
    assert (headers["authorization"], headers["anthropic-version"]) == ("Bearer mine", "2026-10-21")
    assert "x-api-key" not in headers
    chat(fake, headers={"x-api-key": "mine"})
    assert sent(fake).headers["x-api-key"] == "mine"


def test_the_beta_features_of_a_request_are_added_to_the_configured_ones(fake: FakeProvider) -> None:
    document = Document(Media(file_id="file_1"))
    call = call_of(messages=(Message(Role.USER, (document,)),))
    chat(fake, call, headers={"anthropic-beta": "context-1m-2025-08-07, files-api-2025-04-14"})
    assert sent(fake).headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    chat(fake, call)
    assert sent(fake).headers["anthropic-beta"] == "files-api-2025-04-14"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/messages"])
def test_the_address_is_found_from_any_form_of_the_base_url(fake: FakeProvider, suffix: str) -> None:
    chat(fake, base_url=fake.url + suffix)
    assert len(fake.calls(PATH)) == 1


def test_a_configured_path_is_also_that_of_the_counting(fake: FakeProvider) -> None:
    paths = {"paths": {"chat": "/gw/messages"}, "query": {"beta": "true"}}
    fake.script("/gw/messages/count_tokens?beta=true", Reply(body={"input_tokens": 5}))
    assert run(fake, lambda adapter: adapter.count_tokens(call_of(), timeout_s=5), **paths) == 5


@pytest.mark.parametrize("n_events", range(len(wire.events(ANSWER)) - 2))
@pytest.mark.parametrize("ending", ["whole", "closed", "reset"])
def test_a_stream_that_is_cut_at_any_event_fails(fake: FakeProvider, n_events: int, ending: Any) -> None:
    parts = list(wire.stream(ANSWER))[:n_events]
    fake.script(PATH, Reply(stream=Stream(parts, ending=ending)))
    expected = FailureKind.MALFORMED_ANSWER if ending == "whole" else FailureKind.CONNECTION_LOST
    with raises_failure(expected) as caught:
        stream(fake)
    assert caught.value.failure.may_be_billed


@pytest.mark.parametrize("ending", ["closed", "reset", "silent"])
def test_a_connection_that_breaks_after_the_end_of_the_answer_does_no_harm(fake: FakeProvider, ending: Any) -> None:
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)), ending=ending)))
    assert text_of(stream(fake)) == "Hello there."
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER))[:-1], ending="closed")))
    assert text_of(stream(fake)) == "Hello there."


def test_an_error_after_the_end_of_the_answer_does_no_harm(fake: FakeProvider) -> None:
    parts = [*list(wire.stream(ANSWER))[:-1], wire.sse(wire.error("overloaded_error"))]
    fake.script(PATH, Reply(stream=Stream(parts)))
    assert text_of(stream(fake)) == "Hello there."


def test_a_whole_answer_where_a_stream_was_requested_is_accepted(fake: FakeProvider) -> None:
    assert text_of(stream(fake)) == "Hello there."


def test_a_stream_where_a_whole_answer_was_requested_is_joined(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)))))
    answer = chat(fake)
    assert (answer.choices[0].blocks, answer.usage) == ((Text("Hello there."),), Usage(9, 3))


def test_a_joined_stream_with_an_error_or_a_cut_fails(fake: FakeProvider) -> None:
    parts = list(wire.stream(ANSWER))
    fake.script(PATH, Reply(stream=Stream([*parts[:3], wire.sse(wire.error("overloaded_error"))])))
    with raises_failure(FailureKind.SERVER_ERROR):
        chat(fake)
    fake.script(PATH, Reply(stream=Stream(parts[:-2])))
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        chat(fake)


def test_an_unusable_answer_is_billed_with_its_usage(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(body={**ANSWER, "content": [{"type": "text"}]}))
    with raises_failure(FailureKind.MALFORMED_ANSWER) as caught:
        chat(fake)
    assert caught.value.failure.usage == Usage(9, 3)


# Anthropic documentation, "Errors", and messages that are quoted in public reports.
ERRORS = [
    (401, "authentication_error", "invalid x-api-key", FailureKind.CREDENTIALS_REJECTED),
    (402, "billing_error", "There is an issue with your billing.", FailureKind.QUOTA_EXHAUSTED),
    (403, "permission_error", "Your API key does not have permission.", FailureKind.ACCESS_DENIED),
    (404, "not_found_error", "model: claude-9", FailureKind.MODEL_MISSING),
    (409, "conflict_error", "Conflict", FailureKind.SERVER_ERROR),
    (413, "request_too_large", "Request exceeds the maximum size", FailureKind.REQUEST_REJECTED),
    (429, "rate_limit_error", "This request would exceed your rate limit", FailureKind.RATE_LIMITED),
    (500, "api_error", "Internal server error", FailureKind.SERVER_ERROR),
    (504, "timeout_error", "Request timed out", FailureKind.TIMEOUT),
    (529, "overloaded_error", "Overloaded", FailureKind.SERVER_ERROR),
    *(
        (400, "invalid_request_error", message, kind)
        for message, kind in [
            ("prompt is too long: 210000 tokens > 200000 maximum", FailureKind.CONTEXT_LENGTH_EXCEEDED),
            (
                "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length",
                FailureKind.CONTEXT_LENGTH_EXCEEDED,
            ),
            (
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing",
                FailureKind.QUOTA_EXHAUSTED,
            ),
            ("You have reached your specified API usage limits.", FailureKind.QUOTA_EXHAUSTED),
            ("This organization has been disabled.", FailureKind.CREDENTIALS_REJECTED),
            ("Output blocked by content filtering policy", FailureKind.CONTENT_REFUSED),
            ("`temperature` is deprecated for this model.", FailureKind.CANDIDATE_UNSUITABLE),
            ("`temperature` may only be set to 1 when thinking is enabled.", FailureKind.CANDIDATE_UNSUITABLE),
            ("`top_k` must be unset when thinking is enabled.", FailureKind.CANDIDATE_UNSUITABLE),
            ("Thinking may not be enabled when tool_choice forces tool use.", FailureKind.CANDIDATE_UNSUITABLE),
            ("This model does not support assistant message prefill.", FailureKind.CANDIDATE_UNSUITABLE),
            ('"thinking.type.disabled" is not supported for this model.', FailureKind.CANDIDATE_UNSUITABLE),
            (
                "messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 6 bytes > 5 bytes",
                FailureKind.CANDIDATE_UNSUITABLE,
            ),
            ("A maximum of 100 PDF pages may be provided.", FailureKind.CANDIDATE_UNSUITABLE),
            (
                "The long context beta is not yet available for this subscription.",
                FailureKind.CANDIDATE_UNSUITABLE,
            ),
            ("messages: text content blocks must be non-empty", FailureKind.REQUEST_REJECTED),
            ("messages.1: `tool_use` ids were found without `tool_result` blocks", FailureKind.REQUEST_REJECTED),
        ]
    ),
]


@pytest.mark.parametrize(("status", "kind", "message", "expected"), ERRORS)
def test_an_error_is_its_kind_of_failure_whole_and_streamed(
    fake: FakeProvider, status: int, kind: str, message: str, expected: FailureKind
) -> None:
    fake.always(PATH, reject(message, status, kind))
    for ask in (chat, stream):
        with raises_failure(expected) as caught:
            ask(fake)
        assert caught.value.failure.provider_status == status
        assert caught.value.failure.usage is None


def test_a_rate_limit_has_its_wait(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(429, wire.error("rate_limit_error"), headers={"retry-after": "21"}))
    with raises_failure(FailureKind.RATE_LIMITED) as caught:
        chat(fake)
    assert caught.value.failure.retry_after_s == 21


TOO_MUCH = "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-x"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (call_of(), FailureKind.OUTPUT_CAP_REFUSED),
        (call_of(cap=100_000), FailureKind.OUTPUT_CAP_REFUSED),
        (call_of(max_output_tokens=100_000), FailureKind.CANDIDATE_UNSUITABLE),
    ],
)
def test_an_output_limit_that_the_caller_did_not_send_is_not_the_callers_fault(
    fake: FakeProvider, call: ChatCall, expected: FailureKind
) -> None:
    fake.always(PATH, reject(TOO_MUCH))
    for ask in (chat, stream):
        with raises_failure(expected):
            ask(fake, call)


def history(*blocks: Any) -> tuple[Message, ...]:
    return (*HI, Message(Role.ASSISTANT, blocks), *HI)


def test_reasoning_that_another_account_has_signed_is_left_out_in_a_second_request(fake: FakeProvider) -> None:
    rejection = reject("messages.1.content.0: Invalid `signature` in `thinking` block")
    fake.script(PATH, rejection)
    call = call_of(messages=history(SIGNED, Text("b")))

    async def twice(adapter: AnthropicAdapter) -> None:
        await adapter.chat(call, timeout_s=5)
        await adapter.chat(call, timeout_s=5)

    run(fake, twice)
    types = [[block["type"] for block in one.body["messages"][1]["content"]] for one in fake.calls(PATH)]
    assert types == [["thinking", "text"], ["text"], ["thinking", "text"]]


def test_calls_that_another_model_has_made_are_continued_without_the_budget_that_forbids_it(fake: FakeProvider) -> None:
    expected = "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final"
    fake.script(
        PATH, reject("Invalid `signature` in `thinking` block"), reject(f"messages.1.content.0.type: {expected}")
    )
    own = {"type": "enabled", "budget_tokens": 2000}
    done = Message(Role.TOOL, (Text("1"),), call_id="c")
    calls = Message(Role.ASSISTANT, (SIGNED, ToolCall("c", "f", "{}")))
    chat(fake, call_of(messages=(*HI, calls, done), thinking=own, tools=(Function("f"),)))
    assert [one.body.get("thinking") for one in fake.calls(PATH)] == [own, own, None]
    assert [block["type"] for block in sent(fake).body["messages"][1]["content"]] == ["tool_use"]


def test_a_schema_that_is_rejected_becomes_a_forced_tool(fake: FakeProvider) -> None:
    answer = wire.message(wire.tool_use("t", ANSWER_TOOL, n=1), stop_reason="tool_use")
    rejection = reject("output_config.format.schema: For 'integer' type, property 'minimum' is not supported")
    fake.script(PATH, rejection, Reply(body=answer), rejection, Reply(stream=Stream(list(wire.stream(answer)))))
    assert chat(fake, call_of(output_format=FORM)).choices[0].blocks == (Text('{"n":1}'),)
    assert sent(fake).body["tool_choice"]["name"] == ANSWER_TOOL
    assert "output_config" not in sent(fake).body
    assert text_of(stream(fake, call_of(output_format=FORM))) == '{"n": 1}'


def test_a_server_that_ignores_the_answer_tool_is_not_suitable_and_bills_its_answer(fake: FakeProvider) -> None:
    call = call_of("claude-opus-4-1", output_format=FORM)
    fake.script(PATH, Reply(body=ANSWER), Reply(stream=Stream(list(wire.stream(ANSWER)))))
    for ask in (chat, stream):
        with raises_failure(FailureKind.CANDIDATE_UNSUITABLE) as caught:
            ask(fake, call)
        failure = caught.value.failure
        assert (failure.unsupported_feature, failure.may_be_billed) == ("response_format", True)
    assert chat(fake, call_of("claude-opus-4-1")).choices[0].blocks == (Text("Hello there."),)


def test_a_limit_or_a_refusal_before_the_answer_tool_is_an_answer(fake: FakeProvider) -> None:
    call = call_of("claude-opus-4-1", output_format=FORM)
    fake.script(PATH, Reply(body=wire.message(stop_reason="refusal")))
    assert chat(fake, call).choices[0].finish_reason == "content_filter"
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(wire.message(stop_reason="max_tokens"))))))
    assert stream(fake, call)[-2].choices[0].finish_reason == "length"


def test_a_schema_that_is_rejected_is_an_instruction_where_no_tool_can_be_forced(fake: FakeProvider) -> None:
    fake.script(PATH, reject("output_config: Extra inputs are not permitted"))
    chat(fake, call_of("claude-opus-5-5", output_format=FORM))
    assert "tools" not in sent(fake).body
    assert "JSON schema" in sent(fake).body["system"]


def test_the_display_of_thinking_is_left_out_for_a_server_that_does_not_know_it(fake: FakeProvider) -> None:
    fake.script(PATH, reject("thinking.adaptive.display: Extra inputs are not permitted"))
    call = call_of("claude-opus-4-8", parameters={"reasoning_effort": "low"})

    async def twice(adapter: AnthropicAdapter) -> None:
        await adapter.chat(call, timeout_s=5)
        await adapter.chat(call, timeout_s=5)

    run(fake, twice)
    shown = [one.body["thinking"].get("display") for one in fake.calls(PATH)]
    assert shown == ["summarized", None, None]


@pytest.mark.parametrize(("status", "may_be_billed"), [(200, True), (400, False)])
def test_a_refused_output_limit_keeps_its_billing(fake: FakeProvider, status: int, *, may_be_billed: bool) -> None:
    fake.script(PATH, reject("max_tokens: 64 is too many", status))
    with raises_failure(FailureKind.OUTPUT_CAP_REFUSED) as caught:
        chat(fake, call_of(cap=64))
    assert caught.value.failure.may_be_billed is may_be_billed


def test_the_tools_of_earlier_calls_are_added_where_a_server_requires_them(fake: FakeProvider) -> None:
    fake.script(PATH, reject("Requests which include `tool_use` or `tool_result` blocks must define tools"))
    done = Message(Role.TOOL, (Text("1"),), call_id="c")
    chat(fake, call_of(messages=(*HI, Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),)), done)))
    assert [tool["name"] for tool in sent(fake).body["tools"]] == ["f"]
    assert sent(fake).body["tool_choice"] == {"type": "none"}


def count(fake: FakeProvider, **fields: Any) -> int | None:
    return run(fake, lambda adapter: adapter.count_tokens(call_of(**fields), timeout_s=5))


def test_tokens_are_counted_with_the_prompt_and_its_tools(fake: FakeProvider) -> None:
    fake.script(COUNT_PATH, Reply(body={"input_tokens": 14}))
    assert count(fake, tools=(Function("f"),), parameters={"temperature": 0.5}) == 14
    assert sent(fake, COUNT_PATH).body.keys() == {"model", "messages", "tools"}
    assert sent(fake, COUNT_PATH).headers["x-api-key"] == "sk-ant-api03-k"


def test_a_count_bounds_the_prompt_also_where_the_answer_tool_takes_the_place_of_a_schema(fake: FakeProvider) -> None:
    """A server that refuses the schema is sent the tool, which Anthropic introduces with a prompt of its own."""
    fake.script(COUNT_PATH, Reply(body={"input_tokens": 14}))
    counted = count(fake, output_format=FORM)
    assert "output_config" in sent(fake, COUNT_PATH).body
    assert counted is not None
    assert counted >= 14 + 500 + len(orjson.dumps(SCHEMA))


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_cannot_count_is_asked_once(fake: FakeProvider, status: int) -> None:
    fake.always(COUNT_PATH, Reply(status, {"detail": "Not Found"}))

    async def twice(adapter: AnthropicAdapter) -> list[int | None]:
        return [await adapter.count_tokens(call_of(), timeout_s=5) for _ in range(2)]

    assert run(fake, twice) == [None, None]
    assert len(fake.calls(COUNT_PATH)) == 1


def test_a_model_that_is_missing_says_nothing_about_others(fake: FakeProvider) -> None:
    fake.script(COUNT_PATH, reject("model: claude-9", 404, "not_found_error"), Reply(body={"input_tokens": 3}))

    async def twice(adapter: AnthropicAdapter) -> list[int | None]:
        return [await adapter.count_tokens(call_of(model), timeout_s=5) for model in ("claude-9", MODEL)]

    assert run(fake, twice) == [None, 3]


def test_other_failures_of_the_counting_are_raised(fake: FakeProvider) -> None:
    fake.script(COUNT_PATH, reject("slow down", 429, "rate_limit_error"))
    with raises_failure(FailureKind.RATE_LIMITED):
        count(fake)


@pytest.mark.parametrize("fields", [{"parameters": {"temperature": 1.5}}, {}])
def test_a_request_that_cannot_be_counted_says_nothing_about_others(fake: FakeProvider, fields: dict[str, Any]) -> None:
    if not fields:
        fake.script(COUNT_PATH, reject("messages.0: this cannot be counted"))
    fake.script(COUNT_PATH, Reply(body={"input_tokens": 3}))

    async def twice(adapter: AnthropicAdapter) -> list[int | None]:
        return [await adapter.count_tokens(call, timeout_s=5) for call in (call_of(**fields), call_of())]

    assert run(fake, twice) == [None, 3]


@pytest.mark.parametrize("body", [{"tokens": "x"}, {"input_tokens": "x"}, {"input_tokens": 0}], ids=str)
def test_a_count_without_a_number_is_malformed(fake: FakeProvider, body: dict[str, object]) -> None:
    fake.script(COUNT_PATH, Reply(body=body))
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        count(fake)


def test_the_probe_asks_for_the_models(fake: FakeProvider) -> None:
    run(fake, lambda adapter: adapter.probe(timeout_s=5))
    assert sent(fake, "/v1/models").headers["anthropic-version"] == "2023-06-01"


def test_there_are_no_embeddings(fake: FakeProvider) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        run(fake, lambda adapter: adapter.embed(EmbeddingCall("m", ["x"]), timeout_s=5))
    assert fake.received == []

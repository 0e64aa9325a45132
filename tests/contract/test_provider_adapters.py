"""The contract of every adapter, over real HTTP: requests, answers, and the failure for each error answer."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.providers import EmbeddingCall, Provider
from sekha_llm_bridge.providers.http import JsonHttp
from tests.contract.wire_formats import (
    ANTHROPIC,
    BEDROCK,
    FORMATS,
    OLLAMA,
    OPENAI,
    PROMPT,
    SECRET,
    WireFormat,
    value_at,
)
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import answer_body, chat_call
from tests.fakes.provider import FakeProvider, Reply, vector_of

T = TypeVar("T")
TOOLS = [{"type": "function", "function": {"name": "f"}}]


Run = Callable[[Callable[[Provider], Awaitable[T]]], T]


@pytest.fixture
def run(wire: WireFormat, fake: FakeProvider) -> Iterator[Run[Any]]:
    """Runs one call of the adapter under test against the fake provider, on one event loop."""
    http = JsonHttp(SystemClock())
    adapter = wire.make_adapter(wire.config(fake.url), http)

    async def call(what: Callable[[Provider], Awaitable[Any]]) -> Any:
        return await what(adapter)

    with asyncio.Runner() as runner:
        yield lambda what: runner.run(call(what))
        runner.run(http.aclose())


def chat(*, timeout_s: float = 5, **fields: Any) -> Callable[[Provider], Awaitable[Any]]:
    request = {"messages": [{"role": "user", "content": PROMPT}], **fields}
    return lambda adapter: adapter.chat(chat_call("m", request, None, 4096), timeout_s=timeout_s)


def embed(wire: WireFormat, *texts: str) -> Callable[[Provider], Awaitable[Any]]:
    return lambda adapter: adapter.embed(EmbeddingCall(wire.embedding_model, texts), timeout_s=5)


def test_a_chat_answer_is_in_openais_format_with_the_providers_usage(run: Run[Any]) -> None:
    answer = run(chat())
    choice = answer_body(answer)["choices"][0]
    assert choice["message"]["content"] == "Hello from the fake."
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


def test_key_and_extra_headers_are_sent(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(chat())
    sent = fake.calls(wire.chat_path)[0].headers
    assert sent[wire.key_header] == wire.key_prefix + SECRET
    assert sent["x-extra"] == "more"


def test_temperature_zero_stays_zero(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(chat(temperature=0))
    body = fake.calls(wire.chat_path)[0].body
    assert value_at(body, wire.temperature) == 0


def test_vectors_are_in_the_order_of_the_texts(run: Run[Any], wire: WireFormat) -> None:
    answer = run(embed(wire, "one", "two", "three"))
    assert answer.vectors == [vector_of(text, 8) for text in ("one", "two", "three")]
    assert answer.usage.prompt_tokens == wire.tokens_of_three_texts


def test_a_probe_is_a_free_request(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(lambda adapter: adapter.probe(timeout_s=5))
    assert [request.path for request in fake.received] == [wire.probe_path]


# Messages of vendors about a prompt that is too long.
TOO_LONG = [
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "Your input exceeds the context window of this model.",
    "prompt is too long: 9000 tokens > 8192 maximum",
    "input length and `max_tokens` exceed context limit: 9000 + 100 > 8192",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "the request exceeds the available context size, try increasing it",
    "Input is too long for requested model.",
]
# Messages about an invalid request, with quotations that would mean another kind of failure.
QUOTING = [
    "Invalid schema for function 'rotate_api_key_invalid api key': 'foo' is not valid under any of the given schemas",
    "Invalid schema for function 'f': In context=('properties', 'size'), array schema missing items",
    "Invalid schema for function 'rate_limit_lookup': None is not of type 'object'",
]

FAILURES = [
    (Reply(500, {"error": {"message": "boom"}}), errors.FailureKind.SERVER_ERROR),
    (Reply(503, raw=b"<html>down</html>", headers={"content-type": "text/html"}), errors.FailureKind.SERVER_ERROR),
    (Reply(408, {}), errors.FailureKind.SERVER_ERROR),
    (Reply(429, {"error": {"message": "slow down"}}), errors.FailureKind.RATE_LIMITED),
    (Reply(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), errors.FailureKind.QUOTA_EXHAUSTED),
    (Reply(402, {"error": {"message": "no credit"}}), errors.FailureKind.QUOTA_EXHAUSTED),
    (Reply(401, {"error": {"message": "bad key"}}), errors.FailureKind.CREDENTIALS_REJECTED),
    (Reply(403, {"error": {"message": "forbidden"}}), errors.FailureKind.ACCESS_DENIED),
    (Reply(404, {"error": "model 'm' not found"}), errors.FailureKind.MODEL_MISSING),
    (Reply(400, {"error": {"message": "bad field", "param": "top_p"}}), errors.FailureKind.REQUEST_REJECTED),
    (Reply(413, {"error": {"message": "too big"}}), errors.FailureKind.REQUEST_REJECTED),
    (Reply(422, {"detail": "?"}), errors.FailureKind.REQUEST_REJECTED),
    (
        Reply(400, {"error": {"code": "context_length_exceeded", "message": "x"}}),
        errors.FailureKind.CONTEXT_LENGTH_EXCEEDED,
    ),
    (Reply(400, {"error": "the input length exceeds the context length"}), errors.FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (Reply(400, {"error": {"code": "content_filter", "message": "no"}}), errors.FailureKind.CONTENT_REFUSED),
    (Reply(200, raw=b"{not json"), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(200, raw=b"[]"), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(200, raw=b"<html>hello</html>", headers={"content-type": "text/html"}), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(200, {"unexpected": True}), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(200, {"error": {"message": "inside", "code": 429}}), errors.FailureKind.RATE_LIMITED),
    (Reply(200, {"error": {"message": "inside", "code": "429"}}), errors.FailureKind.RATE_LIMITED),
    (Reply(200, {"error": {"message": "inside"}}), errors.FailureKind.SERVER_ERROR),
    (
        Reply(429, {"error": {"code": "rate_limit_exceeded", "message": "add credit: see billing"}}),
        errors.FailureKind.RATE_LIMITED,
    ),
    (
        Reply(429, [{"error": {"status": "RESOURCE_EXHAUSTED", "message": "check your billing"}}]),
        errors.FailureKind.RATE_LIMITED,
    ),
    (
        Reply(400, {"error": {"message": "Unrecognized argument: safety_identifier"}}),
        errors.FailureKind.CANDIDATE_UNSUITABLE,
    ),
    (
        Reply(400, [{"error": {"status": "INVALID_ARGUMENT", "message": "API key not valid."}}]),
        errors.FailureKind.CREDENTIALS_REJECTED,
    ),
    (Reply(400, {"error": "Incorrect API key provided"}), errors.FailureKind.CREDENTIALS_REJECTED),
    (
        Reply(413, {"error": {"code": "rate_limit_exceeded", "message": "tokens per minute"}}),
        errors.FailureKind.RATE_LIMITED,
    ),
    (Reply(400, {"error": {"message": "x is not a valid model ID"}}), errors.FailureKind.MODEL_MISSING),
    (
        Reply(400, {"error": {"message": "Input is too long for requested model."}}),
        errors.FailureKind.CONTEXT_LENGTH_EXCEEDED,
    ),
    *((Reply(400, {"error": {"message": words}}), errors.FailureKind.CONTEXT_LENGTH_EXCEEDED) for words in TOO_LONG),
    *((Reply(400, {"error": {"message": words}}), errors.FailureKind.REQUEST_REJECTED) for words in QUOTING),
    (Reply(400, {"error": 'Unknown parameter: "incorrect api key"'}), errors.FailureKind.CANDIDATE_UNSUITABLE),
    (
        Reply(400, {"error": {"message": "API key not valid", "param": "tools[0].function.name"}}),
        errors.FailureKind.REQUEST_REJECTED,
    ),
    (
        Reply(400, {"error": {"message": "Your credit balance is too low to access the API."}}),
        errors.FailureKind.QUOTA_EXHAUSTED,
    ),
    (
        Reply(400, {"error": {"message": "API key expired. Please renew the API key."}}),
        errors.FailureKind.CREDENTIALS_REJECTED,
    ),
    (Reply(405, {}), errors.FailureKind.SERVER_ERROR),
    (Reply(200, raw=b"\xef\xbb\xbf{}"), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(302, {}, headers={"location": "http://127.0.0.1:9/"}), errors.FailureKind.MALFORMED_ANSWER),
    (Reply(reset=True), errors.FailureKind.CONNECTION_LOST),
    (Reply(504, {}), errors.FailureKind.TIMEOUT),
]


OF_ANTHROPIC = [
    (400, "invalid_request_error", "messages: at least one message is required", errors.FailureKind.REQUEST_REJECTED),
    (400, "invalid_request_error", "prompt is too long: 9 tokens > 8", errors.FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (400, "invalid_request_error", "Your credit balance is too low", errors.FailureKind.QUOTA_EXHAUSTED),
    (401, "authentication_error", "invalid x-api-key", errors.FailureKind.CREDENTIALS_REJECTED),
    (402, "billing_error", "x", errors.FailureKind.QUOTA_EXHAUSTED),
    (403, "permission_error", "Your API key does not have permission to use it.", errors.FailureKind.ACCESS_DENIED),
    (404, "not_found_error", "model: claude-0", errors.FailureKind.MODEL_MISSING),
    (413, "request_too_large", "Request exceeds the maximum size", errors.FailureKind.REQUEST_REJECTED),
    (429, "rate_limit_error", "x", errors.FailureKind.RATE_LIMITED),
    (500, "api_error", "Internal server error", errors.FailureKind.SERVER_ERROR),
    (504, "timeout_error", "x", errors.FailureKind.TIMEOUT),
    (529, "overloaded_error", "Overloaded", errors.FailureKind.SERVER_ERROR),
    (200, "overloaded_error", "Overloaded", errors.FailureKind.SERVER_ERROR),
    (200, "rate_limit_error", "x", errors.FailureKind.RATE_LIMITED),
]
OF_BEDROCK = [
    (400, "ValidationException", "The provided model identifier is invalid.", errors.FailureKind.MODEL_MISSING),
    (400, "ValidationException", "Malformed input request", errors.FailureKind.REQUEST_REJECTED),
    (400, "ValidationException", "Input is too long for requested model.", errors.FailureKind.CONTEXT_LENGTH_EXCEEDED),
    (403, "AccessDeniedException", "You don't have access to the model.", errors.FailureKind.ACCESS_DENIED),
    (403, "UnrecognizedClientException", "The token is invalid.", errors.FailureKind.CREDENTIALS_REJECTED),
    (403, "ExpiredTokenException", "The token has expired", errors.FailureKind.CREDENTIALS_REJECTED),
    (404, "ResourceNotFoundException", "x", errors.FailureKind.MODEL_MISSING),
    (429, "ThrottlingException", "Too many requests", errors.FailureKind.RATE_LIMITED),
    (429, "ModelNotReadyException", "x", errors.FailureKind.RATE_LIMITED),
    (400, "ServiceQuotaExceededException", "x", errors.FailureKind.RATE_LIMITED),
    (408, "ModelTimeoutException", "x", errors.FailureKind.TIMEOUT),
    (424, "ModelErrorException", "x", errors.FailureKind.SERVER_ERROR),
    (500, "InternalServerException", "x", errors.FailureKind.SERVER_ERROR),
    (503, "ServiceUnavailableException", "x", errors.FailureKind.SERVER_ERROR),
]
CAP_REFUSAL = Reply(
    400,
    {
        "error": {
            "message": "`max_tokens` must be less than or equal to `8192`, the maximum value, less than the `context_window`"
        }
    },
)
# Anthropic's API requires `max_tokens`, and Bedrock is always sent one: where the caller gives none, it is the bridge's.
KINDS_OF_CAP_REFUSAL = {
    "openai": errors.FailureKind.REQUEST_REJECTED,
    "ollama": errors.FailureKind.REQUEST_REJECTED,
    "anthropic": errors.FailureKind.OUTPUT_CAP_REFUSED,
    "bedrock": errors.FailureKind.OUTPUT_CAP_REFUSED,
}
FAILURES_BY_FORMAT = [
    *((wire, reply, kind) for wire in FORMATS for reply, kind in FAILURES),
    *((wire, CAP_REFUSAL, KINDS_OF_CAP_REFUSAL[wire.name]) for wire in FORMATS),
    *((ANTHROPIC, Reply(status, anthropic_wire.error(name, text)), kind) for status, name, text, kind in OF_ANTHROPIC),
    *((BEDROCK, bedrock.error(name, text, status=status), kind) for status, name, text, kind in OF_BEDROCK),
]


@pytest.mark.parametrize(
    ("wire", "reply", "expected"), FAILURES_BY_FORMAT, indirect=["wire"], ids=lambda value: getattr(value, "name", "")
)
def test_every_error_answer_becomes_its_kind_of_failure(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, reply: Reply, expected: errors.FailureKind
) -> None:
    calls = [(wire.chat_path, chat())]
    if wire.embed_path is not None and reply is not CAP_REFUSAL:  # embeddings have no output limit
        calls.append((wire.embed_path, embed(wire, "x")))
    for path, call in calls:
        fake.script(path, reply)
        with pytest.raises(errors.ProviderError) as caught:
            run(call)
        assert caught.value.kind is expected
        assert SECRET not in str(caught.value)


BILLED = [
    (Reply(500, {}), False),
    (Reply(429, {}), False),
    (Reply(408, {}), True),
    (Reply(504, {}), True),
    (Reply(520, {}), True),
    (Reply(524, {}), True),
    (Reply(200, {"error": {"message": "inside"}}), True),
    (Reply(200, {"error": {"message": "inside", "code": 429}}), True),
    (Reply(200, raw=b"{"), True),
    (Reply(reset=True), True),
]
BILLED_BY_FORMAT = [
    *((wire, reply, may_be) for wire in FORMATS for reply, may_be in BILLED),
    (ANTHROPIC, Reply(504, anthropic_wire.error("timeout_error")), True),
    (ANTHROPIC, Reply(529, anthropic_wire.error("overloaded_error")), False),
    (ANTHROPIC, Reply(200, anthropic_wire.error("overloaded_error")), True),
    (BEDROCK, bedrock.error("ModelTimeoutException", "x", status=408), True),
    (BEDROCK, bedrock.error("ModelErrorException", "x", status=424), True),
    (BEDROCK, bedrock.error("ThrottlingException", "x", status=429), False),
]


@pytest.mark.parametrize(("wire", "reply", "may_be"), BILLED_BY_FORMAT, indirect=["wire"])
def test_may_be_billed_is_set_for_failures_that_the_provider_may_bill(
    run: Run[Any],
    wire: WireFormat,
    fake: FakeProvider,
    reply: Reply,
    may_be: bool,  # noqa: FBT001 — a column of the table
) -> None:
    fake.script(wire.chat_path, reply)
    with pytest.raises(errors.ProviderError) as caught:
        run(chat())
    assert caught.value.failure.may_be_billed is may_be


def test_an_answer_without_choices_is_malformed(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.chat_path, Reply(body={"choices": []}))
    with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
        run(chat())


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": {"a": 1}}}]},
        {"choices": [{"message": {"content": None, "tool_calls": [1]}}]},
        {"choices": [{"message": {"content": None, "tool_calls": "x"}}]},
        {"choices": [{"message": "x"}]},
        {"message": {"tool_calls": [{"function": "f"}]}},
        {"message": {"tool_calls": 5}},
        {"message": "x"},
        {"content": "x", "stop_reason": "end_turn"},
        {"content": [5], "stop_reason": "end_turn"},
        {"content": [{"type": "text", "text": 5}], "stop_reason": "end_turn"},
        {"content": [{"type": "tool_use", "id": 1, "name": "f", "input": {}}], "stop_reason": "tool_use"},
        {"output": {"message": {"content": [{"text": "no stop reason"}]}}},
        {"output": {"message": {"content": 5}}, "stopReason": "end_turn"},
        {"output": {"message": "x"}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [{"text": 5}]}}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [5]}}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [{"reasoningContent": {"reasoningText": 5}}]}}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [{"reasoningContent": {"redactedContent": 5}}]}}, "stopReason": "end_turn"},
        {"output": {"message": {"content": [{"toolUse": {"name": "f"}}]}}, "stopReason": "tool_use"},
        {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": 5},
        {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": {"a": 1}},
    ],
)
def test_an_answer_of_another_shape_is_malformed_not_a_crash(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.script(wire.chat_path, Reply(body=body))
    with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
        run(chat())


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("9" * 400, 3_600.0)]
)
def test_retry_after_is_read_in_both_of_its_forms(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, header: str, seconds: float | None
) -> None:
    fake.script(wire.chat_path, Reply(429, {}, headers={"retry-after": header}))
    with raises_failure(errors.FailureKind.RATE_LIMITED) as caught:
        run(chat())
    assert caught.value.retry_after_s == seconds


QUOTES_OF_THE_REQUEST = [
    PROMPT,
    PROMPT.upper(),
    "near 'yellow submarine'",
    PROMPT.replace(" ", "\\t"),
    "".join(f"\\u{ord(letter):04x}" for letter in PROMPT),
    base64.b64encode(PROMPT.encode()).decode(),
    f"Incorrect API key provided: {SECRET}",
]


@pytest.mark.parametrize("quote", QUOTES_OF_THE_REQUEST)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_message_of_a_provider_is_not_part_of_the_errors_own_sentence(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, quote: str, status: int
) -> None:
    fake.script(wire.chat_path, wire.error_reply(status, quote))
    with pytest.raises(errors.ProviderError) as caught:
        run(chat())
    assert str(caught.value) == f"the provider answered {status}"
    assert caught.value.param is None


_FIELD_ERROR = {
    "message": "messages: tools must be fewer",
    "code": "invalid_value",
    "type": "bad",
    "param": "messages[0]",
}
_ANTHROPIC_ERROR = anthropic_wire.error("invalid_request_error", "messages: tools must be fewer")
_BEDROCK_ERROR = bedrock.error("ValidationException", "toolConfig must be smaller")
NAMED_FIELDS = [
    (OPENAI, Reply(400, {"error": _FIELD_ERROR}), " (invalid_value, bad); its message names tools", "messages[0]"),
    (OLLAMA, Reply(400, {"error": _FIELD_ERROR}), " (invalid_value, bad); its message names tools", "messages[0]"),
    (ANTHROPIC, Reply(400, _ANTHROPIC_ERROR), " (invalid_request_error); its message names tools", None),
    (BEDROCK, _BEDROCK_ERROR, " (ValidationException); its message names toolConfig", None),
]


@pytest.mark.parametrize(("wire", "reply", "words", "param"), NAMED_FIELDS, indirect=["wire"])
def test_codes_and_names_of_request_fields_are_passed_on(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, reply: Reply, words: str, param: str | None
) -> None:
    fake.script(wire.chat_path, reply)
    with raises_failure(errors.FailureKind.REQUEST_REJECTED) as caught:
        run(chat(tools=TOOLS))
    assert str(caught.value) == f"the provider answered 400{words}"
    assert caught.value.param == param


@pytest.mark.parametrize("base_url", ["http://☃.invalid/v1", "http://xn--a/v1"])
def test_a_base_url_that_cannot_be_called_is_a_failed_connection(wire: WireFormat, base_url: str) -> None:
    config = wire.config("http://127.0.0.1:9").model_copy(update={"base_url": base_url})
    adapter = wire.make_adapter(config, JsonHttp(SystemClock()))
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        asyncio.run(adapter.probe(timeout_s=5))


def test_a_refused_connection_is_a_failed_connection(run: Run[Any], fake: FakeProvider) -> None:
    fake.stop()
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        run(chat())


def test_a_provider_that_hangs_is_a_timeout(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.chat_path, Reply(delay_s=1))
    with raises_failure(errors.FailureKind.TIMEOUT):
        run(chat(timeout_s=0.2))


def test_a_whole_answer_that_was_cut_at_any_byte_is_a_failure_that_may_be_billed(
    run: Run[Any], wire: WireFormat, fake: FakeProvider
) -> None:
    body = json.dumps(wire.whole("Hi"), ensure_ascii=False).encode()
    for n_bytes in range(len(body)):
        fake.script(wire.chat_path, Reply(raw=body[:n_bytes]))
        with raises_failure(errors.FailureKind.MALFORMED_ANSWER) as caught:
            run(chat())
        assert caught.value.failure.may_be_billed
    fake.script(wire.chat_path, Reply(raw=body, cut_at_byte=len(body) - 1))
    with raises_failure(errors.FailureKind.CONNECTION_LOST) as caught:
        run(chat())
    assert caught.value.failure.may_be_billed

"""One suite for every adapter, over real HTTP: what a provider answers, and what the bridge makes of it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import ChatCall, EmbeddingCall, Provider, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.failures import raises_failure
from tests.fakes.provider import FakeProvider, Reply, vector_of
from tests.fakes.settings import chat_model, provider

T = TypeVar("T")
SECRET = "sk-very-secret"
PROMPT = "the secret prompt about the yellow submarine"


@dataclass(frozen=True)
class Wire:
    """One wire format: its type, base path and the paths of its calls."""

    provider_type: str
    base: str
    chat: str
    embed: str
    probe: str


OPENAI = Wire("openai", "/v1", "/v1/chat/completions", "/v1/embeddings", "/v1/models")
OLLAMA = Wire("ollama", "", "/api/chat", "/api/embed", "/api/tags")


@pytest.fixture(params=[OPENAI, OLLAMA], ids=lambda wire: wire.provider_type)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


Run = Callable[[Callable[[Provider], Awaitable[T]]], T]


@pytest.fixture
def run(wire: Wire, fake: FakeProvider) -> Iterator[Run[Any]]:
    """Runs one call of the adapter under test against the fake provider, on one event loop."""
    fields = provider(
        "p", chat_model("m"), provider_type=wire.provider_type, base_url=fake.url + wire.base, api_key=SECRET
    )
    config = ProviderConfig.model_validate({**fields, "headers": {"X-Extra": "more"}})
    http = JsonHttp(SystemClock())
    adapter = make_provider(config, http, SystemClock())

    async def call(what: Callable[[Provider], Awaitable[Any]]) -> Any:
        return await what(adapter)

    with asyncio.Runner() as runner:
        yield lambda what: runner.run(call(what))
        runner.run(http.aclose())


def chat(**fields: Any) -> Callable[[Provider], Awaitable[Any]]:
    request = {"messages": [{"role": "user", "content": PROMPT}], **fields}
    return lambda adapter: adapter.chat(ChatCall("m", request, None, 4096), timeout_s=5)


def embed(*texts: str) -> Callable[[Provider], Awaitable[Any]]:
    return lambda adapter: adapter.embed(EmbeddingCall("m", texts), timeout_s=5)


def test_a_chat_answer_comes_back_in_openais_shape_with_the_providers_usage(run: Run[Any]) -> None:
    answer = run(chat())
    choice = answer.body["choices"][0]
    assert choice["message"]["content"] == "Hello from the fake."
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


def test_key_and_extra_headers_are_sent(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    run(chat())
    sent = fake.calls(wire.chat)[0].headers
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert sent["x-extra"] == "more"


def test_temperature_zero_stays_zero(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    run(chat(temperature=0))
    body = fake.calls(wire.chat)[0].body
    assert body.get("options", body)["temperature"] == 0


def test_vectors_come_back_in_the_order_of_the_texts(run: Run[Any]) -> None:
    answer = run(embed("one", "two", "three"))
    assert answer.vectors == [vector_of(text, 8) for text in ("one", "two", "three")]
    assert answer.usage.prompt_tokens == 9


def test_a_probe_is_a_free_call(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    run(lambda adapter: adapter.probe(timeout_s=5))
    assert [request.path for request in fake.received] == [wire.probe]


# As vendors word it.
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
# Faults of the caller's, with words of the caller's own that would mean something else.
QUOTING = [
    "Invalid schema for function 'rotate_api_key_invalid api key': 'foo' is not valid under any of the given schemas",
    "Invalid schema for function 'f': In context=('properties', 'size'), array schema missing items",
    "Invalid schema for function 'rate_limit_lookup': None is not of type 'object'",
    "`max_tokens` must be less than or equal to `8192`, the maximum value, less than the `context_window`",
    'Unknown parameter: "incorrect api key"',
]

FAILURES = [
    (Reply(500, {"error": {"message": "boom"}}), errors.FailureKind.SERVER_ERROR),
    (Reply(503, raw=b"<html>down</html>", headers={"content-type": "text/html"}), errors.FailureKind.SERVER_ERROR),
    (Reply(408, {}), errors.FailureKind.SERVER_ERROR),
    (Reply(429, {"error": {"message": "slow down"}}), errors.FailureKind.RATE_LIMITED),
    (Reply(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), errors.FailureKind.QUOTA_EXHAUSTED),
    (Reply(402, {"error": {"message": "no credit"}}), errors.FailureKind.QUOTA_EXHAUSTED),
    (Reply(401, {"error": {"message": "bad key"}}), errors.FailureKind.CREDENTIALS_REJECTED),
    (Reply(403, {"error": {"message": "forbidden"}}), errors.FailureKind.CREDENTIALS_REJECTED),
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
        errors.FailureKind.REQUEST_REJECTED,
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


@pytest.mark.parametrize(("reply", "expected"), FAILURES, ids=lambda value: getattr(value, "name", None))
def test_every_failure_becomes_its_own_error(
    run: Run[Any], wire: Wire, fake: FakeProvider, reply: Reply, expected: errors.FailureKind
) -> None:
    for path, call in ((wire.chat, chat()), (wire.embed, embed("x"))):
        fake.script(path, reply)
        with pytest.raises(errors.ProviderError) as caught:
            run(call)
        assert caught.value.kind is expected
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "may_be"),
    [
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
    ],
    ids=str,
)
def test_what_a_provider_may_bill_although_it_failed_is_known(
    run: Run[Any],
    wire: Wire,
    fake: FakeProvider,
    reply: Reply,
    may_be: bool,  # noqa: FBT001 — a column of the table
) -> None:
    fake.script(wire.chat, reply)
    with pytest.raises(errors.ProviderError) as caught:
        run(chat())
    assert caught.value.failure.may_be_billed is may_be


def test_empty_choices_are_not_an_answer(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.chat, Reply(body={"choices": []}))
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
    ],
)
def test_an_answer_of_another_shape_is_malformed_not_a_crash(
    run: Run[Any], wire: Wire, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.script(wire.chat, Reply(body=body))
    with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
        run(chat())


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("9" * 400, 86_400.0)]
)
def test_retry_after_is_read_in_both_its_forms(
    run: Run[Any], wire: Wire, fake: FakeProvider, header: str, seconds: float | None
) -> None:
    fake.script(wire.chat, Reply(429, {}, headers={"retry-after": header}))
    with raises_failure(errors.FailureKind.RATE_LIMITED) as caught:
        run(chat())
    assert caught.value.retry_after_s == seconds


ECHOES = [
    PROMPT,
    PROMPT.upper(),
    "near 'yellow submarine'",
    PROMPT.replace(" ", "\\t"),
    "".join(f"\\u{ord(letter):04x}" for letter in PROMPT),
    base64.b64encode(PROMPT.encode()).decode(),
    f"Incorrect API key provided: {SECRET}",
]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_providers_own_words_are_never_passed_on(
    run: Run[Any], wire: Wire, fake: FakeProvider, echo: str, status: int
) -> None:
    fake.script(wire.chat, Reply(status, {"error": {"message": echo, "code": echo, "type": echo, "param": echo}}))
    with pytest.raises(errors.ProviderError) as caught:
        run(chat())
    assert str(caught.value) == f"the provider answered {status}"
    assert caught.value.param is None


def test_codes_and_the_requests_own_fields_are_passed_on(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    said = {"message": "messages: tools must be fewer", "code": "invalid_value", "type": "bad", "param": "messages[0]"}
    fake.script(wire.chat, Reply(400, {"error": said}))
    with raises_failure(errors.FailureKind.REQUEST_REJECTED) as caught:
        run(chat(tools=[]))
    named = "; its message names tools" if wire.provider_type == "openai" else ""
    assert str(caught.value) == f"the provider answered 400 (invalid_value, bad){named}"
    assert caught.value.param == "messages[0]"


@pytest.mark.parametrize("base_url", ["http://☃.invalid/v1", "http://xn--a/v1"])
def test_an_address_that_cannot_be_called_is_a_failed_connection(wire: Wire, base_url: str) -> None:
    fields = provider("p", chat_model("m"), provider_type=wire.provider_type)
    config = ProviderConfig.model_validate(fields).model_copy(update={"base_url": base_url})
    adapter = make_provider(config, JsonHttp(SystemClock()), SystemClock())
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        asyncio.run(adapter.probe(timeout_s=5))


def test_a_refused_connection_is_told_from_a_slow_provider(run: Run[Any], fake: FakeProvider) -> None:
    fake.stop()
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        run(chat())


def test_a_provider_that_hangs_is_a_timeout(run: Run[Any], wire: Wire, fake: FakeProvider) -> None:
    fake.script(wire.chat, Reply(delay_s=1))
    with raises_failure(errors.FailureKind.TIMEOUT):
        run(lambda adapter: adapter.chat(ChatCall("m", {"messages": []}, None, 4096), timeout_s=0.2))

"""The contract of every adapter, over real HTTP: requests, answers, and the failure for each error answer."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import EmbeddingCall, Provider, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.bedrock import FakeBedrock
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import answer_body, chat_call
from tests.fakes.provider import FakeProvider, Reply, vector_of
from tests.fakes.settings import chat_model, provider

T = TypeVar("T")
SECRET = "sk-very-secret"
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PROMPT = "the secret prompt about the yellow submarine"


@dataclass(frozen=True)
class WireFormat:
    """One wire format: a provider type, its base path, and the paths of its requests; `embed` is None where it has no
    embeddings. `key` is the header of the key, with what stands before it.
    """

    provider_type: str
    base: str
    chat: str
    embed: str | None
    probe: str
    key: tuple[str, str] = ("authorization", "Bearer ")
    fake: type[FakeProvider] = FakeProvider
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def model(self) -> str:
        """The model of chats."""
        return "anthropic.m" if self.provider_type == "bedrock" else "m"


OPENAI = WireFormat("openai", "/v1", "/v1/chat/completions", "/v1/embeddings", "/v1/models")
OLLAMA = WireFormat("ollama", "", "/api/chat", "/api/embed", "/api/tags")
ANTHROPIC = WireFormat("anthropic", "", "/v1/messages", None, "/v1/models", ("x-api-key", ""))
BEDROCK = WireFormat(
    *("bedrock", "", "/model/anthropic.m/converse", "/model/cohere.embed-v4%3A0/invoke"),
    *("/foundation-models/anthropic.m", ("authorization", "Bearer "), FakeBedrock, (("region", "eu-west-1"),)),
)
FORMATS = [OPENAI, OLLAMA, ANTHROPIC, BEDROCK]


@pytest.fixture
def fake(wire: WireFormat) -> Iterator[FakeProvider]:
    """The fake of the format under test."""
    with wire.fake() as provider_of_format:
        yield provider_of_format


@pytest.fixture(params=FORMATS, ids=lambda wire: wire.provider_type)
def wire(request: pytest.FixtureRequest) -> WireFormat:
    found: WireFormat = request.param
    return found


Run = Callable[[Callable[[Provider], Awaitable[T]]], T]


@pytest.fixture
def run(wire: WireFormat, fake: FakeProvider) -> Iterator[Run[Any]]:
    """Runs one call of the adapter under test against the fake provider, on one event loop."""
    fields = provider(
        *("p", chat_model(wire.model)),
        provider_type=wire.provider_type,
        base_url=fake.url + wire.base,
        api_key=SECRET,
        **dict(wire.fields),
    )
    config = ProviderConfig.model_validate({**fields, "headers": {"X-Extra": "more"}})
    http = JsonHttp(SystemClock())
    adapter = make_provider(config, http, SystemClock())

    async def call(what: Callable[[Provider], Awaitable[Any]]) -> Any:
        return await what(adapter)

    with asyncio.Runner() as runner:
        yield lambda what: runner.run(call(what))
        runner.run(http.aclose())


def chat(wire: WireFormat, **fields: Any) -> Callable[[Provider], Awaitable[Any]]:
    request = {"messages": [{"role": "user", "content": PROMPT}], **fields}
    return lambda adapter: adapter.chat(chat_call(wire.model, request, None, 4096), timeout_s=5)


def embed(wire: WireFormat, *texts: str) -> Callable[[Provider], Awaitable[Any]]:
    model = "cohere.embed-v4:0" if wire is BEDROCK else "m"
    return lambda adapter: adapter.embed(EmbeddingCall(model, texts), timeout_s=5)


with_embeddings = pytest.mark.parametrize(
    "wire", [wire for wire in FORMATS if wire.embed is not None], ids=lambda wire: wire.provider_type
)


def test_a_chat_answer_is_in_openais_format_with_the_providers_usage(run: Run[Any], wire: WireFormat) -> None:
    answer = run(chat(wire))
    choice = answer_body(answer)["choices"][0]
    assert choice["message"]["content"] == "Hello from the fake."
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


def test_key_and_extra_headers_are_sent(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(chat(wire))
    sent = fake.calls(wire.chat)[0].headers
    header, prefix = wire.key
    assert sent[header] == prefix + SECRET
    assert sent["x-extra"] == "more"


def test_temperature_zero_stays_zero(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(chat(wire, temperature=0))
    body = fake.calls(wire.chat)[0].body
    assert body.get("options", body.get("inferenceConfig", body))["temperature"] == 0


@with_embeddings
def test_vectors_are_in_the_order_of_the_texts(run: Run[Any], wire: WireFormat) -> None:
    answer = run(embed(wire, "one", "two", "three"))
    assert answer.vectors == [vector_of(text, 8) for text in ("one", "two", "three")]
    assert answer.usage.prompt_tokens == (3 if wire is BEDROCK else 9)


def test_a_format_without_embeddings_says_so(fake: FakeProvider, run: Run[Any], wire: WireFormat) -> None:
    if wire.embed is None:
        with raises_failure(errors.FailureKind.CANDIDATE_UNSUITABLE):
            run(embed(wire, "one"))
        assert fake.received == []


def test_a_probe_is_a_free_request(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    run(lambda adapter: adapter.probe(timeout_s=5))
    assert [request.path for request in fake.received] == [wire.probe]


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
    "`max_tokens` must be less than or equal to `8192`, the maximum value, less than the `context_window`",
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


@pytest.mark.parametrize(("reply", "expected"), FAILURES, ids=lambda value: getattr(value, "name", None))
def test_every_error_answer_becomes_its_kind_of_failure(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, reply: Reply, expected: errors.FailureKind
) -> None:
    for path, call in ((wire.chat, chat(wire, max_tokens=50)), (wire.embed, embed(wire, "x"))):
        if path is None:
            continue
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
def test_may_be_billed_is_set_for_failures_that_the_provider_may_bill(
    run: Run[Any],
    wire: WireFormat,
    fake: FakeProvider,
    reply: Reply,
    may_be: bool,  # noqa: FBT001 — a column of the table
) -> None:
    fake.script(wire.chat, reply)
    with pytest.raises(errors.ProviderError) as caught:
        run(chat(wire))
    assert caught.value.failure.may_be_billed is may_be


def test_an_answer_without_choices_is_malformed(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.chat, Reply(body={"choices": []}))
    with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
        run(chat(wire))


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
    run: Run[Any], wire: WireFormat, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.script(wire.chat, Reply(body=body))
    with raises_failure(errors.FailureKind.MALFORMED_ANSWER):
        run(chat(wire))


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("9" * 400, 3_600.0)]
)
def test_retry_after_is_read_in_both_of_its_forms(
    run: Run[Any], wire: WireFormat, fake: FakeProvider, header: str, seconds: float | None
) -> None:
    fake.script(wire.chat, Reply(429, {}, headers={"retry-after": header}))
    with raises_failure(errors.FailureKind.RATE_LIMITED) as caught:
        run(chat(wire))
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
    fake.script(wire.chat, Reply(status, {"error": {"message": quote, "code": quote, "type": quote, "param": quote}}))
    with pytest.raises(errors.ProviderError) as caught:
        run(chat(wire))
    assert str(caught.value) == f"the provider answered {status}"
    assert caught.value.param is None


def test_codes_and_names_of_request_fields_are_passed_on(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    sent_error = {
        "message": "messages: tools must be fewer",
        "code": "invalid_value",
        "type": "bad",
        "param": "messages[0]",
    }
    fake.script(wire.chat, Reply(400, {"error": sent_error}))
    with raises_failure(errors.FailureKind.REQUEST_REJECTED) as caught:
        run(chat(wire, tools=TOOLS))
    named = "" if wire is BEDROCK else "; its message names tools"  # Bedrock's request has the tools in `toolConfig`
    assert str(caught.value) == f"the provider answered 400 (invalid_value, bad){named}"
    assert caught.value.param == "messages[0]"


@pytest.mark.parametrize("base_url", ["http://☃.invalid/v1", "http://xn--a/v1"])
def test_a_base_url_that_cannot_be_called_is_a_failed_connection(wire: WireFormat, base_url: str) -> None:
    fields = provider("p", chat_model("m"), provider_type=wire.provider_type, api_key="k", **dict(wire.fields))
    config = ProviderConfig.model_validate(fields).model_copy(update={"base_url": base_url})
    adapter = make_provider(config, JsonHttp(SystemClock()), SystemClock())
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        asyncio.run(adapter.probe(timeout_s=5))


def test_a_refused_connection_is_a_failed_connection(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    fake.stop()
    with raises_failure(errors.FailureKind.CONNECT_FAILED):
        run(chat(wire))


def test_a_provider_that_hangs_is_a_timeout(run: Run[Any], wire: WireFormat, fake: FakeProvider) -> None:
    fake.script(wire.chat, Reply(delay_s=1))
    with raises_failure(errors.FailureKind.TIMEOUT):
        run(
            lambda adapter: adapter.chat(
                chat_call(wire.model, {"messages": [{"role": "user", "content": "x"}]}, None, 4096), timeout_s=0.2
            )
        )

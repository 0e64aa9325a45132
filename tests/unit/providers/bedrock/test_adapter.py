"""The adapter over real HTTP: signatures, keys, chats, streams, counts and the probe."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import (
    AnswerChunk,
    CacheControl,
    Image,
    Media,
    OutputFormat,
    OutputFormatKind,
    Reasoning,
    ReasoningKind,
    Text,
)
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import make_provider
from sekha_llm_bridge.providers.bedrock.adapter import BedrockAdapter
from sekha_llm_bridge.providers.bedrock.request import OUTPUT_TOOL
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.fakes.bedrock import (
    FakeBedrock,
    block_delta,
    call_start,
    converse_answer,
    converse_events,
    error,
    event,
    exception,
    message_stop,
    metadata,
    streamed,
    text_delta,
)
from tests.fakes.clock import FakeClock
from tests.fakes.failures import raises_failure
from tests.fakes.provider import Received, Reply
from tests.fakes.settings import chat_model, provider
from tests.unit.providers.bedrock.conversations import (
    ADD,
    CALL,
    CLAUDE,
    LLAMA,
    NOVA,
    PROFILE,
    assistant,
    chat_call,
    result,
    user,
)

T = TypeVar("T")
WIRE_ID = CLAUDE.replace(":", "%3A")
CONVERSE, STREAM = f"/model/{WIRE_ID}/converse", f"/model/{WIRE_ID}/converse-stream"
COUNT = f"/model/{WIRE_ID.removeprefix('eu.')}/count-tokens"
MODELS = f"/foundation-models/{WIRE_ID.removeprefix('eu.')}"
REFUSED = error("ExpiredTokenException", "The security token included in the request is expired", status=403)


def run(bedrock: FakeBedrock, work: Callable[[BedrockAdapter], Awaitable[T]], **fields: Any) -> T:
    """Runs the work with an adapter for the fake, in eu-west-1."""
    section = provider("b", chat_model(CLAUDE), provider_type="bedrock", base_url=bedrock.url, region="eu-west-1")
    config = ProviderConfig.model_validate({**section, **fields})

    async def main() -> T:
        clock = FakeClock()
        http = JsonHttp(clock)
        try:
            adapter: Any = make_provider(config, http, clock)
            return await work(adapter)
        finally:
            await http.aclose()

    return asyncio.run(main())


def chat(bedrock: FakeBedrock, call: ChatCall | None = None, **fields: Any) -> str:
    """Returns the texts of a whole answer."""

    async def work(adapter: BedrockAdapter) -> str:
        answer = await adapter.chat(call or chat_call(), timeout_s=5)
        return "".join(block.text for block in answer.choices[0].blocks if isinstance(block, Text))

    return run(bedrock, work, **fields)


def stream(bedrock: FakeBedrock, call: ChatCall | None = None, **fields: Any) -> list[AnswerChunk]:
    async def work(adapter: BedrockAdapter) -> list[AnswerChunk]:
        return [chunk async for chunk in adapter.stream(call or chat_call(), timeout_s=5)]

    return run(bedrock, work, **fields)


def text_of(chunks: list[AnswerChunk]) -> str:
    return "".join(delta.text or "" for chunk in chunks for delta in chunk.choices)


def signature_of(request: Received, url: str, *, token: str | None = None) -> str:
    """Returns the Authorization header that botocore makes for the request as it was received."""
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    body = None if request.body is None else json.dumps(request.body, separators=(",", ":"), ensure_ascii=False)
    sent = AWSRequest(method=request.method, url=url + request.path, data=body)
    for name in names:
        sent.headers[name] = request.headers[name]
    sent.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials("testing", "testing", token), "bedrock", "eu-west-1")
    signature = auth.signature(auth.string_to_sign(sent, auth.canonical_request(sent)), sent)
    scope = f"Credential={auth.scope(sent)}, SignedHeaders={';'.join(names)}"
    return f"AWS4-HMAC-SHA256 {scope}, Signature={signature}"


def test_a_chat_is_sent_to_the_encoded_id_and_signed_as_botocore_signs(
    bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert chat(bedrock) == bedrock.text
    [request] = bedrock.received
    assert request.path == CONVERSE
    assert request.headers["x-amz-security-token"] == "token"
    assert request.headers["authorization"] == signature_of(request, bedrock.url, token="token")


def test_a_stream_and_the_probe_are_signed_too(bedrock: FakeBedrock) -> None:
    assert text_of(stream(bedrock)) == bedrock.text
    run(bedrock, lambda adapter: adapter.probe(timeout_s=5))
    for request in bedrock.received:
        assert request.headers["authorization"] == signature_of(request, bedrock.url)
    assert [request.path for request in bedrock.received] == [STREAM, MODELS]


def test_an_arn_is_one_segment_of_the_path(bedrock: FakeBedrock) -> None:
    assert chat(bedrock, chat_call(model=PROFILE)) == bedrock.text
    [request] = bedrock.received
    assert request.path.count("/") == 3
    assert request.path.endswith("application-inference-profile%2Fabc123/converse")
    assert request.headers["authorization"] == signature_of(request, bedrock.url)


@pytest.mark.parametrize("fields", [{"api_key": "bedrock-key"}, {"headers": {"Authorization": "Bearer bedrock-key"}}])
def test_a_configured_key_is_the_bearer_token(bedrock: FakeBedrock, fields: dict[str, Any]) -> None:
    chat(bedrock, **fields)
    assert bedrock.received[0].headers["authorization"] == "Bearer bedrock-key"
    assert "x-amz-date" not in bedrock.received[0].headers


def test_the_key_of_the_environment_is_used_like_a_configured_one(
    bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-environment")
    chat(bedrock)
    assert bedrock.received[0].headers["authorization"] == "Bearer of-the-environment"


def test_without_credentials_nothing_is_sent(bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with raises_failure(FailureKind.CREDENTIALS_REJECTED, match="no AWS credentials"):
        chat(bedrock)
    assert bedrock.received == []


def test_rejected_credentials_are_fetched_again_and_the_request_is_sent_once_more(
    bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def credentials(name: str) -> Reply:
        expires_at: datetime = FakeClock().now() + timedelta(hours=1)
        body = {"AccessKeyId": name, "SecretAccessKey": "s", "Token": "t", "Expiration": expires_at.isoformat()}
        return Reply(body=body)

    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{bedrock.url}/credentials")
    bedrock.script("/credentials", credentials("old"), credentials("new"), credentials("old"), credentials("new"))
    bedrock.script(CONVERSE, REFUSED)
    bedrock.script(STREAM, REFUSED)
    assert chat(bedrock) == bedrock.text
    assert text_of(stream(bedrock)) == bedrock.text
    names = [request.headers["authorization"].partition("Credential=")[2][:3] for request in bedrock.calls(CONVERSE)]
    assert names == ["old", "new"]
    assert len(bedrock.calls(STREAM)) == 2


def test_credentials_that_stay_the_same_are_not_tried_again(bedrock: FakeBedrock) -> None:
    bedrock.always(CONVERSE, REFUSED)
    with raises_failure(FailureKind.CREDENTIALS_REJECTED):
        chat(bedrock)
    assert len(bedrock.received) == 1


def test_the_guardrail_of_the_configuration_is_sent(bedrock: FakeBedrock) -> None:
    chat(bedrock, guardrail_id="gr1", guardrail_version="2")
    expected = {"guardrailIdentifier": "gr1", "guardrailVersion": "2"}
    assert bedrock.received[0].body["guardrailConfig"] == expected


def test_a_blocked_chat_is_refused_content(bedrock: FakeBedrock) -> None:
    bedrock.script(CONVERSE, Reply(body=converse_answer("Sorry.", stop="guardrail_intervened")))
    bedrock.script(STREAM, streamed(*converse_events("Sorry.", stop="guardrail_intervened")))
    for ask in (chat, stream):
        with raises_failure(FailureKind.CONTENT_REFUSED) as caught:
            ask(bedrock)
        assert caught.value.failure.usage == Usage(11, 7)


@pytest.mark.parametrize("body", [{}, {"output": {}}, {**converse_answer("a"), "output": None}, []])
def test_an_answer_of_another_shape_is_malformed(bedrock: FakeBedrock, body: object) -> None:
    bedrock.script(CONVERSE, Reply(body=body))
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        chat(bedrock)


def test_a_stream_asks_for_events_in_the_binary_framing(bedrock: FakeBedrock) -> None:
    chunks = stream(bedrock)
    assert bedrock.received[0].headers["accept"] == "application/vnd.amazon.eventstream"
    assert chunks[-1].usage == Usage(11, 7)


def test_a_stream_split_at_every_byte_is_the_same(bedrock: FakeBedrock) -> None:
    content = b"".join(converse_events("Hello wörld"))
    bedrock.script(STREAM, streamed(*(content[n : n + 1] for n in range(len(content)))))
    assert text_of(stream(bedrock)) == "Hello wörld"


@pytest.mark.parametrize("ending", ["whole", "closed", "reset"])
def test_a_stream_that_is_cut_before_its_stop_never_looks_complete(bedrock: FakeBedrock, ending: str) -> None:
    events = converse_events("Hello world")
    for n_events in range(len(events) - 1):
        bedrock.script(STREAM, streamed(*events[:n_events], ending=ending))
        with pytest.raises(ProviderError, match=r"cut off|broke"):
            stream(bedrock)


@pytest.mark.parametrize("ending", ["whole", "closed", "reset"])
def test_the_loss_of_the_usage_is_no_failure(bedrock: FakeBedrock, ending: str) -> None:
    events = converse_events("Hello world")
    bedrock.script(STREAM, streamed(*events[:-1], ending=ending))
    chunks = stream(bedrock)
    assert text_of(chunks) == "Hello world"
    assert chunks[-1].usage is None


def test_a_changed_byte_in_a_stream_is_malformed(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, streamed(text_delta("a").replace(b'"a"', b'"b"'), message_stop("end_turn"), metadata()))
    with raises_failure(FailureKind.MALFORMED_ANSWER, match="checksum"):
        stream(bedrock)


def test_an_error_before_a_stream_is_its_failure(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, error("ModelNotReadyException", "wait", status=429))
    with raises_failure(FailureKind.RATE_LIMITED):
        stream(bedrock)


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
AS_SCHEMA = OutputFormat(OutputFormatKind.JSON_SCHEMA, "city", SCHEMA)
NO_SCHEMA = error("ValidationException", "This model doesn't support the outputConfig.textFormat field. Remove it.")


def test_a_model_without_structured_output_is_asked_by_a_tool_from_then_on(bedrock: FakeBedrock) -> None:
    answer = {"toolUse": {"toolUseId": "c", "name": OUTPUT_TOOL, "input": {"city": "Bonn"}}}
    bedrock.script(CONVERSE, NO_SCHEMA, Reply(body=converse_answer(None, answer, stop="tool_use")))
    start, delta = call_start("c", OUTPUT_TOOL), block_delta({"toolUse": {"input": '{"city":"Ulm"}'}})
    bedrock.script(STREAM, streamed(start, delta, message_stop("tool_use"), metadata()))
    call = chat_call(output_format=AS_SCHEMA)

    async def work(adapter: BedrockAdapter) -> tuple[Any, str]:
        whole = await adapter.chat(call, timeout_s=5)
        chunks = [chunk async for chunk in adapter.stream(call, timeout_s=5)]
        return whole.choices[0].blocks, text_of(chunks)

    assert run(bedrock, work) == ((Text('{"city":"Bonn"}'),), '{"city":"Ulm"}')
    assert ["outputConfig" in request.body for request in bedrock.received] == [True, False, False]


@pytest.mark.parametrize(
    ("refusal", "fields", "name"),
    [
        (
            "output_config.format.schema: For 'integer' type, property 'minimum' is not supported",
            {"output_format": AS_SCHEMA},
            "outputConfig",
        ),
        (
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
            {"tools": (ADD._replace(cache=CacheControl()),)},
            "cachePoint",
        ),
        ("The ttl 1h of cachePoint is not supported by this model", {"cache": CacheControl("1h")}, "1h"),
        ("tools.0.strict: the schema is too complex", {"tools": (ADD._replace(is_strict=True),)}, "strict"),
    ],
)
def test_a_refusal_of_one_content_changes_no_later_request(
    bedrock: FakeBedrock, refusal: str, fields: dict[str, Any], name: str
) -> None:
    bedrock.script(CONVERSE, error("ValidationException", refusal))

    async def twice(adapter: BedrockAdapter) -> None:
        for _ in range(2):
            await adapter.chat(chat_call(**fields), timeout_s=5)

    run(bedrock, twice)
    assert [name in json.dumps(request.body) for request in bedrock.received] == [True, False, True]


def test_cache_points_are_left_out_for_a_model_that_refuses_them(bedrock: FakeBedrock) -> None:
    message = "You invoked an unsupported model or your request did not allow prompt caching."
    bedrock.script(CONVERSE, error("AccessDeniedException", message, status=403))
    call = chat_call(user(Text("a", cache=CacheControl("5m"))), tools=(ADD._replace(cache=CacheControl()),))
    assert chat(bedrock, call) == bedrock.text
    first, second = (json.dumps(request.body) for request in bedrock.received)
    assert ("cachePoint" in first, "cachePoint" in second) == (True, False)


def test_earlier_reasoning_that_is_refused_is_left_out_and_then_the_budget(bedrock: FakeBedrock) -> None:
    bedrock.script(
        CONVERSE,
        error("ValidationException", "messages.1.content.0: Invalid `signature` in `thinking` block"),
        error("ValidationException", "messages.1.content.0.type: Expected `thinking`, but found `tool_use`."),
    )
    signed = Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig")
    messages = user("1?"), assistant(signed, CALL), result("c1", "2")
    own = {"type": "enabled", "budget_tokens": 2000}
    assert chat(bedrock, chat_call(*messages, tools=(ADD,), thinking=own)) == bedrock.text
    bodies = [json.dumps(request.body) for request in bedrock.received]
    assert ["reasoningContent" in body for body in bodies] == [True, False, False]
    assert ["budget_tokens" in body for body in bodies] == [True, True, False]


def test_strict_tools_are_sent_without_it_to_a_model_that_refuses_it(bedrock: FakeBedrock) -> None:
    bedrock.script(CONVERSE, error("ValidationException", "tools.0.strict: Extra inputs are not permitted"))
    call = chat_call(tools=(ADD._replace(is_strict=True),))
    assert chat(bedrock, call) == bedrock.text
    specs = [request.body["toolConfig"]["tools"][0]["toolSpec"] for request in bedrock.received]
    assert ["strict" in spec for spec in specs] == [True, False]


def count(bedrock: FakeBedrock, call: ChatCall | None = None) -> int | None:
    return run(bedrock, lambda adapter: adapter.count_tokens(call or chat_call(), timeout_s=5))


def test_tokens_are_counted_by_the_id_of_the_model_itself(bedrock: FakeBedrock) -> None:
    assert count(bedrock, chat_call(tools=(ADD,))) == 42
    [request] = bedrock.received
    assert request.path == COUNT
    assert sorted(request.body["input"]["converse"]) == ["messages", "toolConfig"]


@pytest.mark.parametrize("model", [NOVA, LLAMA, PROFILE])
def test_models_that_bedrock_cannot_count_are_not_asked(bedrock: FakeBedrock, model: str) -> None:
    assert count(bedrock, chat_call(model=model)) is None
    assert bedrock.received == []


def test_a_request_that_cannot_be_counted_says_nothing_about_others(bedrock: FakeBedrock) -> None:
    bedrock.script(COUNT, error("ValidationException", "messages.0: this type of document is not supported"))

    async def twice(adapter: BedrockAdapter) -> list[int | None]:
        return [await adapter.count_tokens(chat_call(), timeout_s=5) for _ in range(2)]

    assert run(bedrock, twice) == [None, 42]


def test_a_model_that_cannot_be_counted_is_asked_once(bedrock: FakeBedrock) -> None:
    bedrock.always(COUNT, error("ValidationException", "The provided model doesn't support counting tokens."))

    async def work(adapter: BedrockAdapter) -> list[int | None]:
        return [await adapter.count_tokens(chat_call(), timeout_s=5) for _ in range(2)]

    assert run(bedrock, work) == [None, None]
    assert len(bedrock.received) == 1


def test_marks_of_the_cache_are_not_counted_and_an_output_schema_cannot_be(bedrock: FakeBedrock) -> None:
    assert count(bedrock, chat_call(user(Text("a", cache=CacheControl())))) == 42
    assert "cachePoint" not in json.dumps(bedrock.received[0].body)
    assert count(bedrock, chat_call(output_format=AS_SCHEMA)) is None
    assert count(bedrock, chat_call(user(Image(Media(url="https://x/y.png"))))) is None
    assert len(bedrock.received) == 1


def test_a_throttled_count_is_a_failure(bedrock: FakeBedrock) -> None:
    bedrock.script(COUNT, error("ThrottlingException", "slow", status=429))
    with raises_failure(FailureKind.RATE_LIMITED):
        count(bedrock)


@pytest.mark.parametrize(
    "reply",
    [
        error("UnknownOperationException", "", status=404),
        error("AccessDeniedException", "x is not authorized to perform: bedrock:GetFoundationModel", status=403),
    ],
)
def test_an_endpoint_that_tells_nothing_of_models_has_answered_the_probe(bedrock: FakeBedrock, reply: Reply) -> None:
    bedrock.script(MODELS, reply)
    run(bedrock, lambda adapter: adapter.probe(timeout_s=5))


def test_a_rejected_key_fails_the_probe(bedrock: FakeBedrock) -> None:
    bedrock.script(MODELS, error("UnrecognizedClientException", "The security token is invalid.", status=403))
    with raises_failure(FailureKind.CREDENTIALS_REJECTED):
        run(bedrock, lambda adapter: adapter.probe(timeout_s=5))


def test_an_unknown_event_before_the_first_text_is_no_content(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, streamed(event("aNewEvent", {}), *converse_events("a")))
    assert text_of(stream(bedrock)) == "a"


def whole(bedrock: FakeBedrock, body: dict[str, Any], call: ChatCall | None = None) -> AnswerChunk:
    """The only chunk of a whole answer where a stream was requested."""
    bedrock.script(STREAM, Reply(body=body))
    [chunk] = stream(bedrock, call)
    return chunk


def test_a_whole_answer_to_a_request_for_a_stream_has_its_reasoning_and_its_calls(bedrock: FakeBedrock) -> None:
    reasoning = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    calls = [{"toolUse": {"toolUseId": name, "name": "add", "input": {"a": 1}}} for name in ("one", "two")]
    chunk = whole(bedrock, converse_answer("Yes.", reasoning, *calls, stop="tool_use"))
    [delta] = chunk.choices
    assert delta.text == "Yes."
    assert [(part.text, part.signature) for part in delta.reasoning] == [("hm", "s")]
    assert [(made.position, made.call_id, made.name) for made in delta.tool_calls] == [
        (0, "one", "add"),
        (1, "two", "add"),
    ]
    assert [json.loads(made.arguments) for made in delta.tool_calls] == [{"a": 1}] * 2
    assert delta.finish_reason == "tool_calls"


def test_a_whole_answer_that_a_guardrail_has_blocked_is_refused_and_billed(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, Reply(body=converse_answer("Sorry.", stop="guardrail_intervened")))
    with raises_failure(FailureKind.CONTENT_REFUSED) as caught:
        stream(bedrock)
    assert caught.value.failure.usage == Usage(11, 7)


def test_an_error_in_a_whole_answer_to_a_request_for_a_stream_is_its_kind_of_failure(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, Reply(body={"error": {"message": "slow down", "code": 429}}))
    with raises_failure(FailureKind.RATE_LIMITED):
        stream(bedrock)


def test_json_after_a_message_is_malformed(bedrock: FakeBedrock) -> None:
    bedrock.script(STREAM, streamed(text_delta("Hi"), json.dumps(converse_answer("Hi")).encode()))
    with raises_failure(FailureKind.MALFORMED_ANSWER):
        stream(bedrock)


def test_an_exception_before_the_end_is_never_an_answer(bedrock: FakeBedrock) -> None:
    bedrock.script(
        STREAM, streamed(text_delta("Hi"), exception("modelStreamErrorException", "x"), message_stop("end_turn"))
    )
    with raises_failure(FailureKind.SERVER_ERROR, match="^the provider put an error into its answer") as caught:
        stream(bedrock)
    assert caught.value.failure.may_be_billed

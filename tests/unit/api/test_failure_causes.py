"""Failures are the request's, the candidate's or the provider's; and what the caller reads of the provider's message."""

import json
from io import StringIO

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat_function import HI, PATH, ask, error

SECRET, OTHER_SECRET = "first-providers-secret", "second-providers-secret"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
NO_TOOLS = Reply(400, {"error": "registry.ollama.ai/library/m does not support tools"})
PAGE = Reply(403, raw=b"<!doctype html><html><body>blocked</body></html>", headers={"content-type": "text/html"})


def bridge_of(fake: FakeProvider, second: FakeProvider | None = None, clock: FakeClock | None = None) -> Bridge:
    providers = [provider("first", chat_model("a"), base_url=f"{fake.url}/v1", api_key=SECRET, priority=1)]
    if second is not None:
        url = f"{second.url}/v1"
        providers.append(provider("second", chat_model("b"), base_url=url, api_key=OTHER_SECRET, priority=2))
    return make_bridge(make_settings(*providers), clock=clock)


def chat_of(bridge: Bridge) -> Function:
    return Function("chat_completions", bridge)


def test_a_rejected_feature_is_remembered_for_five_minutes(
    fake: FakeProvider, second: FakeProvider, clock: FakeClock
) -> None:
    chat = chat_of(bridge_of(fake, second, clock))
    fake.always(PATH, NO_TOOLS)
    for _ in range(2):
        assert ask(chat, tools=TOOLS).json()["model"] == "b"
    assert len(fake.calls(PATH)) == 1
    fake.always(PATH, None)
    assert ask(chat).json()["model"] == "a"  # without tools
    clock.advance(301)
    assert ask(chat, tools=TOOLS).json()["model"] == "a"


def test_a_remembered_feature_without_another_model_is_a_400_that_says_so(fake: FakeProvider) -> None:
    chat = chat_of(bridge_of(fake))
    fake.always(PATH, NO_TOOLS)
    first, again = (error(ask(chat, tools=TOOLS)) for _ in range(2))
    assert (first["code"], again["code"]) == ("unsupported_by_model", "no_capable_model")
    assert "has rejected tools lately" in again["message"]
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize(
    "message",
    [
        "does not support tool choice 'required'",
        "tools.0.function.strict: Extra inputs are not permitted",
        "unsupported image format; only png is supported",
    ],
)
def test_a_rejected_part_of_a_feature_is_not_remembered(fake: FakeProvider, second: FakeProvider, message: str) -> None:
    chat = chat_of(bridge_of(fake, second))
    fake.script(PATH, Reply(400, {"error": {"message": message}}))
    assert ask(chat, tools=TOOLS).json()["model"] == "b"
    assert ask(chat, tools=TOOLS).json()["model"] == "a"


def test_a_rejected_value_is_not_remembered(fake: FakeProvider, second: FakeProvider) -> None:
    chat = chat_of(bridge_of(fake, second))
    message = (
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported."
    )
    fake.script(PATH, Reply(400, {"error": {"message": message, "param": "temperature", "code": "unsupported_value"}}))
    assert ask(chat, temperature=0.2).json()["model"] == "b"
    assert ask(chat, temperature=1).json()["model"] == "a"


def test_a_page_of_a_firewall_leaves_the_breaker_closed_while_the_free_call_is_answered(
    fake: FakeProvider, second: FakeProvider
) -> None:
    chat = chat_of(bridge_of(fake, second))
    fake.always(PATH, PAGE)
    for _ in range(6):
        assert ask(chat).json()["model"] == "b"
    assert len(fake.calls("/v1/models")) == 1  # once a minute
    fake.always(PATH, None)
    assert ask(chat).json()["model"] == "a"


def test_a_provider_that_denies_the_free_call_too_is_counted(fake: FakeProvider, second: FakeProvider) -> None:
    chat = chat_of(bridge_of(fake, second))
    fake.always(PATH, PAGE)
    fake.always("/v1/models", PAGE)
    for _ in range(6):
        assert ask(chat).json()["model"] == "b"
    assert len(fake.calls(PATH)) == 5


@pytest.mark.parametrize("stream", ["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "temperature must be at most 2", "invalid_request"),
        (413, "the file is too big for me", "invalid_request"),
        (422, "seed is wrong", "invalid_request"),
        (400, "tools are not supported by this model", "unsupported_by_model"),
        (400, "prompt is too long: 9000 tokens > 8192 maximum", "context_length_exceeded"),
        (400, "flagged by the content policy", "content_refused"),
    ],
)
def test_the_caller_reads_the_providers_message_where_the_request_or_the_model_is_at_fault(
    fake: FakeProvider, log: StringIO, stream: str, status: int, message: str, code: str
) -> None:
    fake.always(PATH, Reply(status, {"error": {"message": f"{message}, key {OTHER_SECRET} and {SECRET}"}}))
    with FakeProvider() as second:
        chat = chat_of(bridge_of(fake, second))
        second.always(PATH, Reply(status, {"error": {"message": f"{message}, key {OTHER_SECRET} and {SECRET}"}}))
        answer = ask(chat, stream=stream == "streamed")
    assert (answer.status, error(answer)["code"]) == (status, code)
    assert f"The provider's message: {message}, key [masked] and [masked]" in error(answer)["message"]
    assert message not in json.dumps(error(answer)["attempts"])
    assert message not in log.getvalue()
    assert SECRET not in answer.text + log.getvalue()


@pytest.mark.parametrize("status", [401, 402, 500])
def test_the_message_about_a_key_an_account_or_a_fault_is_not_passed_on(fake: FakeProvider, status: int) -> None:
    fake.always(PATH, Reply(status, {"error": {"message": "look at the admin console"}}))
    assert "console" not in ask(chat_of(bridge_of(fake))).text


def test_the_receipt_of_a_later_answer_has_no_message_of_the_first_provider(
    fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, NO_TOOLS)
    answer = ask(chat_of(bridge_of(fake, second)), tools=TOOLS)
    assert answer.status == 200
    assert "ollama" not in answer.text


def test_a_long_message_is_cut_to_two_kilobytes_and_has_no_markup(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(400, {"error": {"message": "<script>alert(1)</script>" + "é" * 100_000}}))
    message = error(ask(chat_of(bridge_of(fake))))["message"]
    assert "<" not in message
    assert len(message.encode()) < 2_300


def test_several_failures_name_the_message_of_each(fake: FakeProvider, second: FakeProvider) -> None:
    fake.always(PATH, NO_TOOLS)
    second.always(PATH, Reply(500, {}))
    answer = ask(chat_of(bridge_of(fake, second)), tools=TOOLS)
    assert (answer.status, error(answer)["code"]) == (502, "all_providers_failed")
    assert "does not support tools" in error(answer)["message"]


def test_a_too_long_prompt_goes_to_a_strictly_larger_window_first(fake: FakeProvider, second: FakeProvider) -> None:
    settings = make_settings(
        provider("first", chat_model("a"), chat_model("same"), base_url=f"{fake.url}/v1", priority=1),
        provider("second", chat_model("large", context_window=32_768), base_url=f"{second.url}/v1", priority=2),
    )
    fake.always(PATH, Reply(413, {"detail": "The prompt (9001 tokens) is too long"}))
    answer = chat_of(make_bridge(settings))("POST", PATH, {"messages": HI}).json()
    assert answer["model"] == "large"
    assert len(fake.calls(PATH)) == 1

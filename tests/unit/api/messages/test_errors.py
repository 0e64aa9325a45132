"""Errors in Anthropic's envelope, with its types, and the headers that its clients obey."""

import anthropic
import httpx2
import pytest

from sekha_llm_bridge.api.messages.conversation import conversation_of
from sekha_llm_bridge.api.messages.stream import MessageStreamEncoder
from sekha_llm_bridge.api.sse import PING, PING_EVENT
from sekha_llm_bridge.conversation import AnswerChunk, ChoiceDelta
from sekha_llm_bridge.errors import StreamInterrupted
from tests.fakes.functions import Function
from tests.fakes.message_events import check_message_events, read_events
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import COUNT_PATH, HI, PATH, ask, error, function, post

OPENAI_PATH = "/v1/chat/completions"


@pytest.fixture
def only(fake: FakeProvider) -> Function:
    """One provider with a small window."""
    return function(provider("openai", chat_model("gpt", context_window=2000), base_url=f"{fake.url}/v1"))


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (500, 502, "api_error"),
        (429, 429, "rate_limit_error"),
    ],
)
def test_a_providers_failure_has_anthropics_type(
    only: Function, fake: FakeProvider, status: int, expected: int, kind: str
) -> None:
    fake.always(OPENAI_PATH, Reply(status, {"error": {"message": "no"}}, {"retry-after": "7"}))
    for is_stream in (False, True):
        answer = post(only, model="gpt", stream=is_stream)
        assert (answer.status, error(answer)["type"]) == (expected, kind)
        assert answer.headers["request-id"] == answer.headers["x-request-id"] == "gateway-request"


def test_an_overload_says_so(only: Function, fake: FakeProvider) -> None:
    fake.always(OPENAI_PATH, Reply(500, {}))
    answers = [post(only, model="gpt") for _ in range(7)]
    assert (answers[-1].status, error(answers[-1])["type"]) == (503, "overloaded_error")
    assert int(answers[-1].headers["retry-after"]) > 0


def test_the_client_is_told_not_to_repeat_what_would_be_billed_again(only: Function, fake: FakeProvider) -> None:
    fake.always(OPENAI_PATH, Reply(200, {"choices": []}))
    assert post(only, model="gpt").headers["x-should-retry"] == "false"


def test_a_cost_limit_is_a_402(messages: Function) -> None:
    answer = post(messages, model="gpt", max_cost=0.000_000_1)
    found = error(answer)
    assert (answer.status, found["type"], found["code"]) == (402, "billing_error", "cost_limit_exceeded")


@pytest.mark.parametrize("is_noticed_by_the_provider", [False, True])
def test_a_prompt_that_is_too_long_is_said_in_the_words_that_anthropics_clients_look_for(
    only: Function, fake: FakeProvider, *, is_noticed_by_the_provider: bool
) -> None:
    words = {"error": {"message": "maximum context length is 2000 tokens", "code": "context_length_exceeded"}}
    fake.always(OPENAI_PATH, Reply(400, words))
    n_words = 1 if is_noticed_by_the_provider else 9000
    answer = post(only, model="gpt", messages=[{"role": "user", "content": "word " * n_words}])
    found = error(answer)
    assert (answer.status, found["type"], found["code"]) == (400, "invalid_request_error", "context_length_exceeded")
    head, _, rest = found["message"].partition(" tokens > 2000 maximum. ")
    assert int(head.removeprefix("prompt is too long: ")) > 2000
    assert "maximum context length is 2000 tokens" in rest


def test_anthropics_client_reads_the_error(only: Function) -> None:
    answer = post(only, model="nobody")
    request = httpx2.Request("POST", "http://bridge/v1/messages")
    response = httpx2.Response(answer.status, headers=answer.headers, text=answer.text, request=request)
    read = anthropic.Anthropic(api_key="k")._make_status_error_from_response(response)
    assert isinstance(read, anthropic.NotFoundError)
    assert (read.type, read.request_id) == ("not_found_error", "gateway-request")


def test_a_path_that_is_none_is_an_error_of_the_same_form(only: Function) -> None:
    assert error(only("GET", PATH))["type"] == "invalid_request_error"
    assert error(only("POST", f"{COUNT_PATH}/x", {}))["type"] == "not_found_error"


def test_pings_are_comments_until_the_message_has_begun_and_anthropics_event_afterwards() -> None:
    encoder = MessageStreamEncoder(conversation_of({"messages": HI}), 5)
    encoder.begin("m")
    assert encoder.ping() == PING
    begun = encoder.chunk(AnswerChunk("a", 0, (ChoiceDelta(text="one"),), is_progress=True))
    assert encoder.ping() == PING_EVENT
    cut = encoder.error(StreamInterrupted("it broke"), "r", {})
    checked = check_message_events(read_events((PING + begun + encoder.ping() + cut).decode()))
    assert (checked.is_whole, checked.text, checked.n_pings) == (False, "one", 1)
    assert checked.error is not None
    assert checked.error["message"].startswith("it broke")


def test_an_answer_without_a_word_has_no_block(only: Function, fake: FakeProvider) -> None:
    fake.script(
        OPENAI_PATH,
        Reply(
            body={
                "choices": [{"message": {"content": ""}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 0},
            }
        ),
    )
    assert ask(only, model="gpt")["content"] == []

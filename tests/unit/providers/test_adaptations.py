"""The other forms of a request, after a server has rejected one, over real HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers import EmbeddingCall, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import chat_call
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, provider

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
HI = {"role": "user", "content": "Hi"}


def rejection(message: str) -> Reply:
    return Reply(400, {"error": {"message": message}})


def requests(fake: FakeProvider, *calls: Mapping[str, Any] | EmbeddingCall) -> list[Any]:
    """The bodies that one adapter sends for these calls, one after another."""

    async def send() -> None:
        fields = provider("p", chat_model("m"), base_url=f"{fake.url}/v1")
        http = JsonHttp(SystemClock())
        adapter = make_provider(ProviderConfig.model_validate(fields), http, SystemClock())
        for call in calls:
            if isinstance(call, EmbeddingCall):
                await adapter.embed(call, timeout_s=5)
            else:
                await adapter.chat(chat_call("m", {"messages": [HI], **call}, None, 4096), timeout_s=5)
        await http.aclose()

    asyncio.run(send())
    return [request.body for request in fake.received]


@pytest.mark.parametrize(
    ("sent", "message", "field", "other"),
    [
        ({"max_tokens": 5}, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max", None),
        ({"messages": [{"role": "developer", "content": "x"}]}, "Unexpected role: developer", "messages", "system"),
        (
            {"messages": [HI, {"role": "assistant", "content": "a", "reasoning_content": "r"}]},
            "messages.1.reasoning_content: Extra inputs are not permitted",
            "messages",
            None,
        ),
        (
            {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}]},
            "Invalid value for 'content': expected a string, got null.",
            "messages",
            "",
        ),
    ],
)
def test_a_rejected_form_is_replaced_and_remembered(
    fake: FakeProvider, sent: Mapping[str, Any], message: str, field: str, other: str | None
) -> None:
    fake.script(CHAT, rejection(message))
    first, again, next_time = requests(fake, sent, sent)
    assert first != again
    assert again == next_time
    if field == "max":
        assert (again.get("max_tokens"), again["max_completion_tokens"]) == (None, 5)
    else:
        last = again["messages"][-1]
        assert "reasoning_content" not in last
        assert other is None or other in last.values()


def test_embeddings_go_without_encoding_format(fake: FakeProvider) -> None:
    fake.script(EMBEDDINGS, rejection("encoding_format must be null or base64"))
    call = EmbeddingCall("m", ["a"])
    assert ["encoding_format" in body for body in requests(fake, call, call)] == [True, False, False]


def test_several_forms_are_tried_one_after_another(fake: FakeProvider) -> None:
    messages = [{"role": "developer", "content": "x"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]
    fake.script(CHAT, rejection("Unknown role"), rejection("reasoning_content is not supported"))
    assert len(requests(fake, {"messages": messages}, {"messages": messages})) == 4
    assert fake.received[-1].body["messages"] == [
        {"role": "system", "content": "x"},
        {"role": "assistant", "content": "a"},
    ]


def test_a_form_that_does_not_help_is_not_remembered(fake: FakeProvider) -> None:
    fake.always(CHAT, rejection("Unexpected role"))
    developer = {"messages": [{"role": "developer", "content": "x"}]}
    for _ in range(2):
        with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
            requests(fake, developer)
    assert [body["messages"][0]["role"] for body in (one.body for one in fake.received)] == [
        "developer",
        "system",
        "developer",
        "system",
    ]


def test_a_value_that_is_too_large_is_not_tried_in_the_other_field(fake: FakeProvider) -> None:
    fake.script(CHAT, rejection("max_tokens is too large: 50000"))
    with raises_failure(FailureKind.REQUEST_REJECTED):
        requests(fake, {"max_tokens": 50_000})
    assert len(fake.received) == 1


@pytest.mark.parametrize("field", ["tools", "functions"])
def test_empty_lists_are_left_out(fake: FakeProvider, field: str) -> None:
    message = {"role": "assistant", "content": "a", "tool_calls": []}
    (body,) = requests(fake, {field: [], "messages": [message]})
    assert field not in body
    assert body["messages"] == [{"role": "assistant", "content": "a"}]

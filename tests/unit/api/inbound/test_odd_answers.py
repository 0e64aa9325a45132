"""Answers in OpenAI's format whose fields have other types than OpenAI's: every inbound API answers all the same."""

from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, sse
from tests.unit.api.inbound.apis import Ask, Client

PATH = "/v1/chat/completions"


def call(**changes: Any) -> dict[str, Any]:
    return {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **changes}


def sends(fake: FakeProvider, delta: dict[str, Any], *, stream: bool, **choice: Any) -> None:
    """Lets the provider's next answer have this message."""
    if stream:
        begun = {"id": "a", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **choice}]}
        fake.script(PATH, Reply(stream=Stream([sse(begun), chunk({}, finish="stop"), b"data: [DONE]\n\n"])))
        return
    body: dict[str, Any] = chat_completion("Hello")
    body["choices"][0] |= choice
    body["choices"][0]["message"] |= delta
    fake.script(PATH, Reply(body=body))


@pytest.mark.parametrize("call_id", [7, None, "", ["x"], True])
def test_an_id_of_a_call_that_is_no_text(client: Client, fake: FakeProvider, call_id: Any, ask: Ask) -> None:
    sends(fake, {"tool_calls": [call(id=call_id)]}, stream=ask.stream)
    answer = client(ask, model="gpt")
    assert (answer.status, answer.is_complete) == (200, True)
    assert answer.calls == ([] if client.api.path == "/api/generate" else [("f", {})])  # which has no tools


def test_a_name_of_a_call_that_is_no_text(client: Client, fake: FakeProvider, ask: Ask) -> None:
    sends(fake, {"tool_calls": [call(function={"name": 5, "arguments": "{}"})]}, stream=ask.stream)
    answer = client(ask, model="gpt")
    assert answer.error is not None
    assert (answer.status, answer.error["code"]) == (502, "all_providers_failed")


@pytest.mark.parametrize("logprobs", [[], [1], "x", {"content": 1}, {"content": [5]}, {"content": [{"token": None}]}])
def test_log_probabilities_of_another_shape(client: Client, fake: FakeProvider, logprobs: Any, ask: Ask) -> None:
    sends(fake, {"content": "Hello"}, stream=ask.stream, logprobs=logprobs)
    answer = client(ask, model="gpt")
    assert (answer.status, answer.text, answer.is_complete) == (200, "Hello", True)


@pytest.mark.parametrize("refusal", [5, ["x"], {}, False])
def test_a_refusal_that_is_no_text(client: Client, fake: FakeProvider, refusal: Any, ask: Ask) -> None:
    sends(fake, {"content": "Hello", "refusal": refusal}, stream=ask.stream)
    answer = client(ask, model="gpt")
    assert (answer.status, answer.text, answer.is_complete) == (200, "Hello", True)

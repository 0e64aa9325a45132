"""Servers that speak Anthropic's format with less, or with other words, than Anthropic."""

from typing import Any

import pytest

from tests.fakes import anthropic_wire as wire
from tests.fakes.functions import Function
from tests.fakes.message_events import read_events
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.unit.api.messages.function import HI, PATH, ask, post, stream

MODEL = "claude-opus-4-6"
ANSWER = wire.message(wire.text("Hi."))
FIRST, *REST = wire.events(ANSWER)
CALL = wire.tool_use("Bash:0", "f")
BETAS = "claude-code-20250219,advanced-tool-use-2025-11-20"


def start(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {**FIRST, "message": {**FIRST["message"], "usage": usage}}


def streamed(*events: dict[str, Any]) -> Reply:
    return Reply(stream=Stream(list(map(wire.sse, events))))


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}])
def test_the_first_event_counts_the_prompt_where_the_server_does_not(
    messages: Function, claude: FakeProvider, usage: dict[str, Any] | None
) -> None:
    claude.script(PATH, streamed(start(usage), *REST))
    first = read_events(post(messages, model=MODEL, stream=True).text)[0]
    assert first["message"]["usage"]["input_tokens"] > 0
    assert first["message"]["usage"]["output_tokens"] == 0


def test_the_first_event_keeps_the_servers_own_count(messages: Function, claude: FakeProvider) -> None:
    own = {"input_tokens": 0, "cache_read_input_tokens": 900, "output_tokens": 1, "service_tier": "standard"}
    claude.script(PATH, streamed(start(own), *REST))
    assert read_events(post(messages, model=MODEL, stream=True).text)[0]["message"]["usage"] == own


def test_a_message_that_begins_twice_begins_once(messages: Function, claude: FakeProvider) -> None:
    claude.script(PATH, streamed(FIRST, FIRST, *REST))
    found = stream(messages, model=MODEL)
    assert (found.is_whole, found.text) == (True, "Hi.")


def test_a_block_that_never_ends_ends_with_the_message(messages: Function, claude: FakeProvider) -> None:
    claude.script(PATH, streamed(FIRST, *[one for one in REST if one["type"] != "content_block_stop"]))
    found = stream(messages, model=MODEL)
    assert (found.is_whole, found.text) == (True, "Hi.")


def test_the_calls_of_a_conversation_have_different_ids_although_the_server_counts_from_0_in_each_answer(
    messages: Function, claude: FakeProvider
) -> None:
    answer = wire.message(CALL, stop_reason="tool_use")
    claude.script(PATH, *[Reply(body=answer), Reply(body=answer), streamed(*wire.events(answer))])
    history: list[dict[str, Any]] = [*HI]
    ids = []
    for ask_once in (ask, ask, lambda *args, **fields: stream(*args, **fields).message):
        call = ask_once(messages, model=MODEL, messages=history)["content"][0]
        ids.append(call["id"])
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "r"}
        history += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("Unexpected value(s) `advanced-tool-use-2025-11-20` for the `anthropic-beta` header.", "claude-code-20250219"),
        ("invalid beta flag", None),
    ],
)
def test_beta_features_that_a_server_does_not_know_are_left_out_of_the_header(
    messages: Function, claude: FakeProvider, message: str, left: str | None
) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    claude.script(PATH, Reply(400, error))
    answer = post(messages, model=MODEL, headers={"anthropic-beta": BETAS})
    assert answer.status == 200
    assert [request.headers.get("anthropic-beta") for request in claude.calls(PATH)] == [BETAS, left]
    assert all("anthropic-beta" not in request.body for request in claude.calls(PATH))

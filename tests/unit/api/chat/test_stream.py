"""Streamed chat completions, through the function's own handler, against a provider over HTTP. Nothing is streamed around
the handler here, so the text is seen whole; how it comes is for the local stack's tests.
"""

import json
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest

from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import (
    FakeProvider,
    Reply,
    Stream,
    chat_completion,
    chat_events,
    chunk,
    ndjson,
    ollama_chat,
    sse,
)
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import HI, PATH, error, function

SECRET = "sk-very-secret"
PROMPT = "the secret prompt about the yellow submarine"
ONE, TWO = chunk({"role": "assistant", "content": "one"}), chunk({"content": " two"})
STOP = chunk({}, finish="stop")
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class ParsedStream:
    """The content of a stream: its chunks, its error, and whether it ended with [DONE]."""

    chunks: list[dict[str, Any]]
    error: dict[str, Any] | None
    is_done: bool
    headers: dict[str, str]

    @property
    def text(self) -> str:
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def last(self) -> dict[str, Any]:
        return self.chunks[-1]


def parse_stream(answer: FunctionResponse) -> ParsedStream:
    """Checks that it is events and nothing else."""
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), answer.text
    assert answer.text.endswith("\n\n")
    data = []
    for event in answer.text[:-2].split("\n\n"):
        assert event.startswith("data: "), event
        data.append(event.removeprefix("data: "))
    is_done = data[-1] == "[DONE]"
    found = [json.loads(text) for text in (data[:-1] if is_done else data)]
    broken = found.pop()["error"] if "error" in found[-1] else None
    assert not (broken and is_done)
    assert not any("error" in one for one in found)
    return ParsedStream(found, broken, is_done, answer.headers)


def ask(chat: Function, *, messages: Any = HI, **fields: Any) -> ParsedStream:
    return parse_stream(chat("POST", PATH, {"messages": messages, "stream": True, **fields}, remaining_ms=900_000))


def streams(fake: FakeProvider, *parts: bytes, ending: Any = "whole") -> None:
    fake.script(PATH, Reply(stream=Stream(parts, ending=ending)))


@pytest.mark.parametrize("model", ["gpt", "llama"])
def test_the_chunks_have_openais_format_and_the_same_content_as_a_whole_answer(chat: Function, model: str) -> None:
    at_once = chat("POST", PATH, {"messages": HI, "model": model}).json()
    stream = ask(chat, model=model)
    assert stream.is_done
    assert stream.text == at_once["choices"][0]["message"]["content"]
    assert {one["object"] for one in stream.chunks} == {"chat.completion.chunk"}
    assert {one["model"] for one in stream.chunks} == {model}
    assert len({(one["id"], one["created"]) for one in stream.chunks}) == 1
    assert stream.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    finishes = [one["choices"][0]["finish_reason"] for one in stream.chunks]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]


def test_only_the_last_chunk_has_the_receipt(chat: Function) -> None:
    stream = ask(chat)
    receipt = stream.last["bridge"]
    assert (receipt["provider_id"], receipt["cost"]) == ("first", 0.000025)
    assert [attempt["code"] for attempt in receipt["attempts"]] == ["ok"]
    assert not any("bridge" in one or "usage" in one for one in stream.chunks[:-1])


def test_a_requested_usage_is_in_the_last_chunk_and_null_in_the_others(chat: Function) -> None:
    stream = ask(chat, stream_options={"include_usage": True})
    assert stream.last["choices"] == []
    assert stream.last["usage"]["total_tokens"] == 18
    assert stream.last["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert stream.last["bridge"]["cost"] == 0.000025
    assert [one["usage"] for one in stream.chunks[:-1]] == [None] * (len(stream.chunks) - 1)


def test_the_usage_is_always_requested_from_the_provider_and_sent_only_on_request(
    chat: Function, fake: FakeProvider
) -> None:
    stream = ask(chat, stream_options={"include_obfuscation": False})
    assert fake.calls(PATH)[0].body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert all("usage" not in one and one["choices"] for one in stream.chunks)


def test_the_headers_name_the_model_before_the_answer_has_arrived(chat: Function) -> None:
    headers = ask(chat).headers
    assert (headers["x-bridge-provider"], headers["x-bridge-model"]) == ("first", "gpt")
    assert headers["x-bridge-attempts"] == "1"
    assert headers["x-request-id"] == "gateway-request"
    assert headers["cache-control"] == "no-cache"
    assert "x-bridge-cost-usd" not in headers


def test_a_stream_that_fails_before_its_first_token_fails_over_without_an_error(
    chat: Function, fake: FakeProvider
) -> None:
    streams(fake, chunk({"role": "assistant", "content": ""}), ending="reset")
    stream = ask(chat)
    assert (stream.text, stream.is_done) == ("Hello from the second.", True)
    assert stream.headers["x-bridge-attempts"] == "2"
    assert [attempt["code"] for attempt in stream.last["bridge"]["attempts"]] == ["connection_lost", "ok"]
    assert {one["model"] for one in stream.chunks} == {"llama"}


def test_when_no_provider_sends_a_token_the_error_has_its_own_status(
    chat: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, Reply(500, {}))
    second.always("/api/chat", Reply(stream=Stream([], ending="closed")))
    answer = chat("POST", PATH, {"messages": HI, "stream": True})
    assert (answer.status, error(answer)["code"]) == (502, "all_providers_failed")
    assert [attempt["code"] for attempt in error(answer)["attempts"]] == ["provider_server_error", "connection_lost"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-should-retry"] == "false"


def test_a_request_without_candidates_is_refused_before_anything_is_streamed(chat: Function) -> None:
    answer = chat("POST", PATH, {"messages": HI, "stream": True, "model": "gpt", "max_cost": 0})
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")


CUTS = {
    "closed": ((ONE, TWO), "closed", "connection_lost"),
    "reset": ((ONE, TWO), "reset", "connection_lost"),
    "ended as if it were whole": ((ONE, TWO), "whole", "malformed_answer"),
    "said to be done": ((ONE, TWO, DONE), "whole", "malformed_answer"),
    "cut within an event": ((ONE, TWO, STOP[:-9]), "closed", "connection_lost"),
    "cut within an event that ended cleanly": ((ONE, TWO, STOP[:-9]), "whole", "malformed_answer"),
    "not JSON": ((ONE, TWO, b"data: {\n\n"), "whole", "malformed_answer"),
    "no object": ((ONE, TWO, b"data: 7\n\n"), "whole", "malformed_answer"),
    "an error": (
        (ONE, TWO, sse({"error": {"message": PROMPT, "code": "server_error"}})),
        "whole",
        "provider_server_error",
    ),
    "a rate limit": ((ONE, TWO, sse({"error": {"message": PROMPT, "code": 429}})), "whole", "rate_limited"),
    "OpenRouter's way": ((ONE, TWO, chunk({}, finish="error")), "whole", "malformed_answer"),
}


@pytest.mark.parametrize(("parts", "ending", "code"), CUTS.values(), ids=CUTS)
def test_an_interrupted_answer_ends_with_an_error_and_never_looks_complete(
    chat: Function,
    fake: FakeProvider,
    log: StringIO,
    capsys: pytest.CaptureFixture[str],
    parts: Any,
    ending: Any,
    code: str,
) -> None:
    streams(fake, *parts, ending=ending)
    stream = ask(chat)
    assert (stream.text, stream.is_done) == ("one two", False)
    assert stream.error is not None
    assert (stream.error["code"], stream.error["type"]) == ("answer_broken", "provider_error")
    assert stream.error["request_id"] == "gateway-request"
    assert [attempt["code"] for attempt in stream.error["attempts"]] == [code]
    assert stream.error["cost"] is None
    assert stream.error["cost_bound"] > 0
    assert not any("bridge" in one for one in stream.chunks)
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if '"request"' in line]
    assert (line["level"], line["status"], line["error"]) == ("WARNING", 200, "answer_broken")
    assert (line["stream"], line["function_request_id"]) == (True, "lambda-request")
    assert line["first_token_ms"] <= line["latency_ms"]
    assert line["attempts"] == [f"first: {code}"]
    counted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "BrokenAnswers" in line]
    assert [(one["provider"], one["code"]) for one in counted] == [("first", code)]
    assert PROMPT not in log.getvalue() + json.dumps(stream.error)


def test_a_failure_of_ollama_in_midstream_is_reported_like_any_other(chat: Function, second: FakeProvider) -> None:
    pieces = [ndjson({"message": {"role": "assistant", "content": "one"}, "done": False}), ndjson({"error": PROMPT})]
    second.script("/api/chat", Reply(stream=Stream(pieces, content_type="application/x-ndjson")))
    stream = ask(chat, model="llama")
    assert (stream.text, stream.is_done) == ("one", False)
    assert stream.error is not None
    assert [attempt["code"] for attempt in stream.error["attempts"]] == ["provider_server_error"]
    assert PROMPT not in json.dumps(stream.error)


def test_a_content_filter_in_midstream_is_reported_as_content_refused(chat: Function, fake: FakeProvider) -> None:
    streams(fake, ONE, sse({"error": {"code": "content_filter", "message": "filtered", "status": 400}}))
    stream = ask(chat)
    assert stream.error is not None
    assert stream.is_done is False


def test_a_stream_without_usage_has_an_estimated_one_that_is_marked(chat: Function, fake: FakeProvider) -> None:
    streams(fake, *chat_events("one two three four five", usage=False))
    stream = ask(chat, stream_options={"include_usage": True})
    assert stream.is_done
    usage = stream.last["usage"]
    assert usage["estimated"] is True
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    assert any("estimates" in note for note in stream.last["bridge"]["notes"])
    assert stream.last["bridge"]["cost"] > 0


def test_an_answer_interrupted_after_its_finish_reason_is_complete_with_an_estimated_usage(
    chat: Function, fake: FakeProvider
) -> None:
    streams(fake, ONE, TWO, STOP, ending="reset")
    stream = ask(chat, stream_options={"include_usage": True})
    assert (stream.text, stream.is_done, stream.last["usage"]["estimated"]) == ("one two", True, True)


def test_parts_of_tool_calls_are_sent_unchanged(chat: Function, fake: FakeProvider) -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"city"', ': "Oslo"}')]
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [first]},
        *({"tool_calls": [one]} for one in rest),
    ]
    streams(fake, *(chunk(delta) for delta in deltas), chunk({}, finish="tool_calls"), DONE)
    stream = ask(chat, tools=[{"type": "function", "function": {"name": "weather"}}])
    assert [one["choices"][0]["delta"] for one in stream.chunks] == [*deltas, {}]
    assert stream.last["choices"][0]["finish_reason"] == "tool_calls"


def test_ollamas_tool_calls_are_translated_to_openais(chat: Function, second: FakeProvider) -> None:
    calls = [{"function": {"name": "weather", "arguments": {"city": city}}} for city in ("Oslo", "Rome")]
    pieces = [
        ndjson({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False}) for call in calls
    ]
    second.script(
        "/api/chat", Reply(stream=Stream([*pieces, ndjson(ollama_chat(""))], content_type="application/x-ndjson"))
    )
    stream = ask(chat, model="llama", tools=[{"type": "function", "function": {"name": "weather"}}])
    parts = [call for one in stream.chunks for call in one["choices"][0]["delta"].get("tool_calls", ())]
    assert [(part["index"], json.loads(part["function"]["arguments"])["city"]) for part in parts] == [
        (0, "Oslo"),
        (1, "Rome"),
    ]
    assert len({part["id"] for part in parts}) == 2
    assert stream.last["choices"][0]["finish_reason"] == "tool_calls"


def test_every_one_of_several_choices_must_have_a_finish_reason(chat: Function, fake: FakeProvider) -> None:
    both = [chunk({"content": f"answer {i}"}, index=i) for i in (0, 1)]
    ends = [chunk({}, finish="stop", index=i) for i in (0, 1)]
    streams(fake, *both, *ends, DONE)
    stream = ask(chat, n=2)
    assert [[choice["index"] for choice in one["choices"]] for one in stream.chunks] == [[0], [1], [0, 1]]
    assert [choice["finish_reason"] for choice in stream.last["choices"]] == ["stop", "stop"]
    assert stream.is_done
    streams(fake, *both, ends[0], DONE)
    assert ask(chat, n=2).is_done is False


def test_fields_of_a_chunk_without_choices_are_sent_with_the_next_chunk(chat: Function, fake: FakeProvider) -> None:
    streams(fake, sse({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}), ONE, TWO, STOP, DONE)
    stream = ask(chat)
    assert stream.chunks[0]["prompt_filter_results"] == [{"prompt_index": 0}]
    assert all(one["choices"] for one in stream.chunks)


EARLY = [
    chunk({"content": "one"}, finish="stop"),
    chunk({}),
    *(chunk({"content": word}, finish="stop") for word in (" two", " three")),
]


def test_a_stream_with_a_finish_reason_in_every_chunk_is_read_to_its_end(chat: Function, fake: FakeProvider) -> None:
    streams(fake, *EARLY, DONE)
    stream = ask(chat)
    assert (stream.text, stream.is_done) == ("one two three", True)
    assert [one["choices"][0]["finish_reason"] for one in stream.chunks] == [None, None, None, None, "stop"]


@pytest.mark.parametrize("ending", ["closed", "reset"])
def test_such_a_stream_does_not_look_complete_when_it_is_interrupted(
    chat: Function, fake: FakeProvider, ending: Any
) -> None:
    streams(fake, *EARLY[:3], ending=ending)
    stream = ask(chat)
    assert stream.is_done is False
    assert all(one["choices"][0]["finish_reason"] is None for one in stream.chunks)


LAST_WORDS = {
    "the results of a content filter": chunk({}, content_filter_offsets={}),
    "a line break": chunk({"content": "\n"}),
    "its metadata": chunk({"provider_specific_fields": {"x": 1}}),
    "an empty choice with its usage": chunk({}, usage={"prompt_tokens": 11, "completion_tokens": 7}),
}


@pytest.mark.parametrize("word", LAST_WORDS.values(), ids=LAST_WORDS)
def test_a_line_break_after_the_finish_reason_does_not_reopen_the_answer(
    chat: Function, fake: FakeProvider, word: bytes
) -> None:
    streams(fake, ONE, STOP, word, DONE)
    stream = ask(chat)
    assert stream.is_done
    assert [one["choices"][0]["finish_reason"] for one in stream.chunks] == [None, None, "stop"]
    assert "bridge" in stream.last


def test_an_answer_that_continued_without_a_second_finish_reason_is_complete_after_done(
    chat: Function, fake: FakeProvider
) -> None:
    streams(fake, ONE, STOP, TWO, DONE)
    stream = ask(chat)
    assert (stream.text, stream.is_done) == ("one two", True)
    assert stream.last["choices"][0]["finish_reason"] == "stop"
    streams(fake, ONE, STOP, TWO)
    assert ask(chat).is_done is False


def test_text_that_arrives_with_its_finish_reason_is_sent_at_once(chat: Function, fake: FakeProvider) -> None:
    streams(fake, chunk({"content": "one"}, finish="stop"), DONE)
    stream = ask(chat)
    assert [one["choices"][0]["delta"] for one in stream.chunks] == [{"role": "assistant", "content": "one"}, {}]


def test_logprobs_are_sent_once_with_their_text(chat: Function, fake: FakeProvider) -> None:
    probabilities = {"content": [{"token": "one"}]}
    given = {"index": 0, "delta": {"content": "one"}, "finish_reason": "stop", "logprobs": probabilities}
    streams(fake, sse({"choices": [given]}), DONE)
    stream = ask(chat, logprobs=True)
    assert [one["choices"][0]["logprobs"] for one in stream.chunks] == [probabilities, None]


@pytest.mark.parametrize("usage", [True, False])
def test_a_vendor_without_several_choices_gives_one(chat: Function, fake: FakeProvider, *, usage: bool) -> None:
    streams(fake, ONE, STOP, DONE)
    stream = ask(chat, n=2, stream_options={"include_usage": usage})
    assert (stream.text, stream.is_done) == ("one", True)
    ended = [one for one in stream.chunks if one["choices"] and one["choices"][0]["finish_reason"]]
    assert len(ended) == 1
    assert {"id", "object", "created", "model"} <= ended[0].keys()
    assert bool(stream.last["choices"]) is not usage


def test_each_of_many_choices_has_its_role_once(chat: Function, fake: FakeProvider) -> None:
    many = range(12)
    begun = [chunk({"role": "assistant", "content": ""}, index=i) for i in many]
    said = [chunk({"content": "x"}, index=i) for i in many]
    streams(fake, *begun, *said, *(chunk({}, finish="stop", index=i) for i in many), DONE)
    roles = [choice["delta"].get("role") for one in ask(chat, n=12).chunks for choice in one["choices"]]
    assert roles.count("assistant") == 12


def test_rejected_stream_options_of_one_caller_do_not_disable_usage_for_others(
    chat: Function, fake: FakeProvider
) -> None:
    fake.script(PATH, Reply(400, {"error": {"message": "stream_options: unknown field foo"}}))
    odd = {"messages": HI, "stream": True, "stream_options": {"include_usage": True, "foo": 1}}
    assert chat("POST", PATH, odd).status == 200  # by another model
    assert "estimated" not in ask(chat, stream_options={"include_usage": True}).last["usage"]


def test_split_surrogates_do_not_interrupt_an_answer(chat: Function, fake: FakeProvider) -> None:
    halves = [
        b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % half for half in (b"\\ud83d", b"\\ude00")
    ]
    streams(fake, ONE, *halves, STOP, DONE)
    stream = ask(chat)
    assert (stream.text, stream.is_done) == ("one\ufffd\ufffd", True)


def test_an_event_that_is_an_error_object_is_an_error(chat: Function, fake: FakeProvider) -> None:
    """As older servers of open models send it."""
    streams(
        fake, sse({"object": "error", "message": "This model's maximum context length is 8192 tokens", "code": 400})
    )
    answer = chat("POST", PATH, {"messages": HI, "model": "gpt", "stream": True})
    assert (answer.status, error(answer)["code"]) == (400, "context_length_exceeded")


def test_under_a_cost_limit_a_stream_has_an_output_limit(fake: FakeProvider) -> None:
    chat = function(provider("first", chat_model("gpt"), base_url=f"{fake.url}/v1"))
    ask(chat, max_cost=0.001)
    sent = fake.calls(PATH)[0].body
    assert 0 < sent["max_tokens"] < 500


def test_the_bridges_own_fields_are_not_sent_to_the_provider(chat: Function, fake: FakeProvider) -> None:
    ask(chat, max_cost=1.0, preferred_model="gpt", task="chat_small", allow_fallback=True, require_vision=False)
    sent = fake.calls(PATH)[0].body
    assert sent["stream"] is True
    assert not sent.keys() & {"max_cost", "preferred_model", "task", "allow_fallback", "require_vision"}


def test_neither_prompt_nor_key_is_logged_or_sent_however_a_stream_ends(fake: FakeProvider, log: StringIO) -> None:
    tolerant = {"circuit_breaker": {"failure_threshold": 100}}
    first = provider("first", chat_model("gpt"), base_url=f"{fake.url}/v1", api_key=SECRET)
    chat = function(first, routing=tolerant)
    told_all = ""
    messages = [{"role": "user", "content": PROMPT}]
    for parts, ending, _ in CUTS.values():
        streams(fake, *parts, ending=ending)
        told_all += json.dumps(ask(chat, messages=messages).error)
    assert "answer_broken" in log.getvalue()
    for secret in (SECRET, PROMPT):
        assert secret not in log.getvalue() + told_all


def test_the_tokens_of_a_long_answer_are_estimated_as_it_arrives(chat: Function, fake: FakeProvider) -> None:
    word = " word" * 2000
    streams(fake, *[chunk({"content": word})] * 20, STOP, DONE)
    stream = ask(chat, stream_options={"include_usage": True})
    assert stream.last["usage"]["completion_tokens"] == 20 * 2000


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello from here."},
        {"content": "Sunny.", "reasoning_content": "The question is about the weather."},
        {
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {
            "content": None,
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"place": "' + "x " * 300 + '"}'},
                }
            ],
        },
    ],
    ids=["text", "reasoning", "short call", "long call"],
)
def test_an_answer_that_its_provider_does_not_count_has_the_same_estimate_whole_and_streamed(
    fake: FakeProvider, message: dict[str, Any]
) -> None:
    chat = function(provider("p", chat_model("m"), base_url=f"{fake.url}/v1"))
    whole = {**chat_completion(None), "usage": None}
    whole["choices"] = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or ())]
    delta = {"role": "assistant", **message, **({"tool_calls": calls} if calls else {})}
    fake.script(PATH, Reply(body=whole), Reply(stream=Stream([chunk(delta), STOP, DONE])))
    usage = chat("POST", PATH, {"messages": HI}).json()["usage"]
    streamed = ask(chat, stream_options={"include_usage": True}).last["usage"]
    assert usage["estimated"] is streamed["estimated"] is True
    assert usage == streamed
    assert usage["completion_tokens"] > 0

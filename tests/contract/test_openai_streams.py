"""Streams in OpenAI's wire format: what the other formats do not have."""

import threading
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.conversation import AnswerState
from sekha_llm_bridge.usage import Usage
from tests.contract.streams import AdapterRunner, ports, sent
from tests.contract.wire_formats import (
    DONE,
    FINISH,
    OPENAI,
    USAGE,
    Ending,
    Parts,
)
from tests.fakes.provider import (
    FakeProvider,
    Reply,
    chat_completion,
    chunk,
    sse,
)

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.usefixtures("quick_collections"),
]


@pytest.mark.parametrize("rest", [[], [DONE], [USAGE], [USAGE, DONE], [b": bye\n\n", DONE]], ids=str)
def test_an_answer_with_a_finish_reason_is_complete_with_and_without_done(
    openai: AdapterRunner, fake: FakeProvider, rest: list[bytes]
) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, *rest]))
    result = openai.read()
    assert result.text == "Hello"
    assert result.usage == (OPENAI.usage if USAGE in rest else None)
    assert result.is_complete


@pytest.mark.parametrize("ending", ["whole", "closed", "reset", "silent"])
@pytest.mark.parametrize("before", [[], OPENAI.tokens("Hello"), [*OPENAI.tokens("Hello"), USAGE]], ids=len)
def test_done_without_a_finish_reason_is_a_failure(
    openai: AdapterRunner, fake: FakeProvider, before: Parts, ending: Ending
) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*before, DONE], ending))
    result = openai.read(timeout_s=0.3 if ending == "silent" else 5)
    assert result.error is not None
    if ending != "reset":  # a reset may discard what was sent before
        assert result.kind is errors.FailureKind.MALFORMED_ANSWER


@pytest.mark.parametrize("finishes", [1, 2])
def test_both_of_two_choices_need_a_finish_reason(openai: AdapterRunner, fake: FakeProvider, finishes: int) -> None:
    sent_events = [chunk({"content": "a"}, index=1), chunk({"content": "b"}, index=0)]
    ends = [chunk({}, finish="stop", index=index) for index in range(finishes)]
    fake.script(OPENAI.stream_path, OPENAI.streams([*sent_events, *ends, DONE]))
    result = openai.read(n=2)
    assert result.text == "ab"
    assert (result.error is None) == (finishes == 2)


AFTER_THE_END: dict[str, tuple[Parts, Ending]] = {
    "closed": ([], "closed"),
    "reset": ([], "reset"),
    "silent": ([], "silent"),
    "an error": ([sse({"error": {"message": "x", "code": 500}})], "whole"),
    "no JSON": ([b"data: {no\n\n"], "whole"),
    "a usage cut in its middle": ([USAGE[:-9]], "closed"),
    "another shape": ([sse({"choices": [5]})], "whole"),
}


@pytest.mark.parametrize(("after", "ending"), AFTER_THE_END.values(), ids=AFTER_THE_END)
def test_a_failure_after_the_end_of_the_answer_loses_only_the_usage(
    openai: AdapterRunner, fake: FakeProvider, after: Parts, ending: Ending
) -> None:
    read = threading.Event()
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("Hello"), FINISH, read, *after], ending))
    result = openai.read(
        timeout_s=0.3 if ending == "silent" else 5, on_count=lambda count: read.set() if count == 2 else None
    )
    assert result.text == "Hello"
    assert result.usage is None
    assert result.is_complete


def test_an_error_event_with_usage_is_billed_by_it(openai: AdapterRunner, fake: FakeProvider) -> None:
    usage = chat_completion("")["usage"]
    event = {"error": {"message": "x", "code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("x"), sse({**event, "usage": usage})]))
    failure = openai.read().failure
    assert failure.kind is errors.FailureKind.SERVER_ERROR
    assert failure.usage == OPENAI.usage


def test_a_choice_that_ends_with_an_error_is_malformed(openai: AdapterRunner, fake: FakeProvider) -> None:
    fake.script(OPENAI.stream_path, OPENAI.streams([*OPENAI.tokens("x"), chunk({}, finish="error"), DONE]))
    result = openai.read()
    assert result.kind is errors.FailureKind.MALFORMED_ANSWER
    assert all(one.state is AnswerState.OPEN for one in result.chunks)


def test_usage_in_every_chunk_is_read_in_every_chunk(openai: AdapterRunner, fake: FakeProvider) -> None:
    counts = [{"prompt_tokens": 3, "completion_tokens": count} for count in (1, 2)]
    parts: Parts = [chunk({"content": "x"}, usage=counts[0]), chunk({}, finish="stop", usage=counts[1]), DONE]
    fake.script(OPENAI.stream_path, OPENAI.streams(parts))
    result = openai.read()
    assert [(one.usage, one.provider_usage) for one in result.chunks] == [
        (Usage(3, 1), counts[0]),
        (Usage(3, 2), counts[1]),
    ]


def test_carriage_returns_comments_and_other_fields_are_ignored(openai: AdapterRunner, fake: FakeProvider) -> None:
    events = b"".join([b": OPENROUTER PROCESSING\n\n", b"event: x\nid: 1\n", chunk({"content": "Hello"}), FINISH, DONE])
    fake.script(
        OPENAI.stream_path,
        OPENAI.streams([b"\xef\xbb\xbf" + events.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")]),
    )
    result = openai.read()
    assert result.text == "Hello"
    assert result.is_complete


@pytest.mark.parametrize(
    "options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}], ids=str
)
def test_usage_is_always_requested(openai: AdapterRunner, fake: FakeProvider, options: dict[str, Any]) -> None:
    openai.read(**options)
    assert sent(fake, OPENAI).body["stream_options"] == {"include_usage": True}


def test_the_callers_other_stream_options_are_kept(openai: AdapterRunner, fake: FakeProvider) -> None:
    openai.read(stream_options={"include_obfuscation": False})
    assert sent(fake, OPENAI).body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


REJECTIONS = [
    Reply(400, {"error": {"message": "Unknown field: stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options"}}),
    Reply(400, {"error": {"message": "x", "param": "stream_options.include_usage"}}),
    Reply(422, {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}}),
]


@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda reply: str(reply.body))
def test_a_server_that_rejects_stream_options_gets_them_only_once(
    openai: AdapterRunner, fake: FakeProvider, rejection: Reply
) -> None:
    fake.script(OPENAI.stream_path, rejection)
    assert openai.read().is_complete
    assert openai.read(stream_options={"include_usage": True}).is_complete
    assert ["stream_options" in request.body for request in fake.received] == [True, False, False]
    assert len(set(ports(fake))) == 1


def test_a_request_that_is_rejected_for_another_field_is_not_sent_again(
    openai: AdapterRunner, fake: FakeProvider
) -> None:
    fake.script(OPENAI.stream_path, Reply(400, {"error": {"message": "bad top_p", "param": "top_p"}}))
    assert openai.read(top_p=2).kind is errors.FailureKind.REQUEST_REJECTED
    assert openai.read().is_complete
    assert ["stream_options" in request.body for request in fake.received] == [True, True]


def test_a_server_that_rejects_the_request_with_and_without_stream_options_gets_it_twice(
    openai: AdapterRunner, fake: FakeProvider
) -> None:
    fake.always(OPENAI.stream_path, REJECTIONS[0])
    assert openai.read().kind is errors.FailureKind.CANDIDATE_UNSUITABLE
    assert len(fake.received) == 2


@pytest.mark.parametrize("words", ["max_tokens is too large", "x"])
def test_a_rejected_output_cap_of_the_bridge_is_not_a_rejected_request(
    openai: AdapterRunner, fake: FakeProvider, words: str
) -> None:
    rejection = Reply(400, {"error": {"message": words, "param": "max_tokens"}})
    fake.script(OPENAI.stream_path, rejection, rejection)
    assert openai.read(cap=10).kind is errors.FailureKind.OUTPUT_CAP_REFUSED
    assert openai.read(max_tokens=10).kind is errors.FailureKind.REQUEST_REJECTED
    assert len(fake.received) == 2

"""Streamed answers: complete only with `[DONE]`, and closed however they are left."""

import threading
from collections.abc import Iterable

import pytest

from sekha_llm_bridge import (
    AllProvidersFailed,
    BridgeError,
    DeadlineExceeded,
    RateLimited,
    StreamInterrupted,
    StreamNotFinished,
)
from sekha_llm_bridge.client.streamed_chat import EventLines, StreamedChat
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events, chunk, sse
from tests.fakes.raw_server import RawServer, http
from tests.unit.client.conftest import Connect

PATH = "/v1/chat/completions"
START, STOP, DONE = chunk({"role": "assistant", "content": ""}), chunk({}, finish="stop"), b"data: [DONE]\n\n"
HALF = [START, chunk({"content": "Hel"}), chunk({"content": "lo"})]


def streamed(fake: FakeProvider, *parts: bytes | threading.Event, **fields: object) -> Stream:
    stream = Stream(parts, **fields)  # type: ignore[arg-type]  # the fields of Stream
    fake.always(PATH, Reply(stream=stream))
    return stream


def texts_until_error(texts: Iterable[str], kind: type[BridgeError]) -> tuple[list[str], BridgeError]:
    read: list[str] = []
    with pytest.raises(kind) as caught:
        read.extend(texts)  # keeps what came before the error
    return read, caught.value


def test_the_texts_arrive_as_they_are_sent(fake: FakeProvider, connect: Connect) -> None:
    was_read = threading.Event()
    streamed(fake, *HALF, was_read, chunk({"content": "!"}), STOP, DONE)
    stream = connect(fake.url).stream("Hi")
    assert [next(stream), next(stream)] == ["Hel", "lo"]
    was_read.set()
    assert list(stream) == ["!"]


def test_after_the_end_the_reply_is_that_of_an_answer_that_is_not_streamed(
    fake: FakeProvider, connect: Connect
) -> None:
    bridge = {"provider_id": "p", "cost": 0.000123, "attempts": []}
    last = sse({"model": "m", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}, "bridge": bridge})
    streamed(fake, *HALF, STOP, last, DONE)
    stream = connect(fake.url).stream("Hi")
    assert "".join(stream) == "Hello"
    reply = stream.reply
    assert (str(reply), reply.model, reply.provider_id, reply.finish_reason) == ("Hello", "m", "p", "stop")
    assert (str(reply.cost), reply.usage.total_tokens) == ("0.000123", 7)
    assert reply.message == {"role": "assistant", "content": "Hello"}
    assert fake.received[0].body["stream_options"] == {"include_usage": True}


def test_tool_calls_and_reasoning_are_put_together(fake: FakeProvider, connect: Connect) -> None:
    def call(index: int, **more: object) -> bytes:
        return chunk({"tool_calls": [{"index": index, **more}]})

    def thought(text: str, **more: str) -> bytes:
        return chunk({"reasoning_content": text, "reasoning_details": [{"index": 0, "text": text, **more}]})

    streamed(
        fake,
        START,
        thought("Hm"),
        thought("m.", signature="s"),
        call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call(0, function={"arguments": '{"x":'}),
        call(1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
        call(0, function={"arguments": "1}"}),
        chunk({}, finish="tool_calls"),
        DONE,
    )
    stream = connect(fake.url).stream("Hi")
    assert list(stream) == []
    first, second = stream.reply.tool_calls
    assert (first.id, first.name, first.parsed_arguments()) == ("a", "f", {"x": 1})
    assert (second.id, second.name, second.arguments) == ("b", "g", "{}")
    message = stream.reply.message
    assert "index" not in message["tool_calls"][0]
    assert message["reasoning_content"] == "Hmm."
    assert message["reasoning_details"] == [{"index": 0, "text": "Hmm.", "signature": "s"}]


@pytest.mark.parametrize("ending", ["whole", "closed", "reset"])
@pytest.mark.parametrize("finish", [(), (STOP,)], ids=["in the middle", "after the finish reason"])
def test_a_stream_without_done_is_an_error_after_its_texts(
    fake: FakeProvider, connect: Connect, ending: str, finish: tuple[bytes, ...]
) -> None:
    streamed(fake, *HALF, *finish, ending=ending)
    stream = connect(fake.url).stream("Hi")
    read, error = texts_until_error(stream, StreamInterrupted)
    assert "".join(read) in {"Hello", ""}  # a reset connection may lose what was sent before
    assert "not complete" in str(error)
    with pytest.raises(StreamInterrupted):
        _ = stream.reply
    assert len(fake.received) == 1


def test_an_error_event_is_raised_with_its_class_after_the_texts(fake: FakeProvider, connect: Connect) -> None:
    attempts = [{"provider_id": "p", "code": "timeout"}]
    event = sse({"error": {"message": "too late", "code": "deadline_exceeded", "attempts": attempts}})
    fake.always(PATH, Reply(headers={"x-request-id": "r"}, stream=Stream([b"".join([*HALF, event])])))
    read, error = texts_until_error(connect(fake.url).stream("Hi"), DeadlineExceeded)
    assert (read, str(error), error.attempts, error.request_id) == (["Hel", "lo"], "too late", tuple(attempts), "r")


def test_an_error_before_the_first_text_is_raised_even_where_a_done_follows(
    fake: FakeProvider, connect: Connect
) -> None:
    streamed(fake, b": ping\n\n", sse({"error": {"code": "all_providers_failed", "message": "m"}}), DONE)
    assert texts_until_error(connect(fake.url).stream("Hi"), AllProvidersFailed)[0] == []


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: 5\n\n", sse({"choices": 5}), sse({}), b"data: \xff\n\n"])
def test_an_event_that_cannot_be_read_is_an_error(fake: FakeProvider, connect: Connect, event: bytes) -> None:
    streamed(fake, *HALF, event, STOP, DONE)
    assert texts_until_error(connect(fake.url).stream("Hi"), StreamInterrupted)[0] == ["Hel", "lo"]


def test_silence_in_the_middle_is_an_error_and_the_request_is_not_repeated(
    fake: FakeProvider, connect: Connect
) -> None:
    streamed(fake, *HALF, ending="silent")
    _, error = texts_until_error(connect(fake.url, timeout=0.3).stream("Hi"), StreamInterrupted)
    assert "within the timeout" in str(error)
    assert len(fake.received) == 1


def test_an_error_status_before_the_stream_is_an_ordinary_error(fake: FakeProvider, connect: Connect) -> None:
    fake.always(PATH, Reply(429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}))
    client = connect(fake.url, max_retries=1)
    assert texts_until_error(client.stream("Hi"), RateLimited)[0] == []
    assert len(fake.received) == 2


@pytest.mark.parametrize("how", ["break", "exception", "close", "context", "exception in the context"])
def test_a_stream_that_is_left_is_closed_and_the_server_notices(fake: FakeProvider, connect: Connect, how: str) -> None:
    left = streamed(fake, *HALF, ending="silent")
    stream = connect(fake.url).stream("Hi")
    match how:
        case "break":
            for _ in stream:
                break
        case "exception":
            with pytest.raises(KeyError):
                _raise_at_the_first(stream)
        case "close":
            next(stream)
            stream.close()
        case "context":
            with stream:
                next(stream)
        case _:
            with pytest.raises(KeyError), stream:
                raise KeyError
    assert left.client_disconnected.wait(timeout=5)
    with pytest.raises(StreamNotFinished):
        list(stream)


def _raise_at_the_first(texts: Iterable[str]) -> None:
    for _ in texts:
        raise KeyError


def test_a_stream_that_is_never_read_sends_no_request(fake: FakeProvider, connect: Connect) -> None:
    connect(fake.url).stream("Hi")
    assert fake.received == []


def test_a_connection_is_used_again_after_a_complete_stream(fake: FakeProvider, connect: Connect) -> None:
    client = connect(fake.url)
    for _ in range(2):
        assert "".join(client.stream("Hi", model="m")) == "Hello from the fake."
    assert len({call.peer_port for call in fake.received}) == 1


def test_bytes_after_the_end_are_no_part_of_the_answer(fake: FakeProvider, connect: Connect) -> None:
    streamed(fake, *HALF, STOP, DONE + chunk({"content": " and more"}), b"data: {\n\n")
    assert "".join(connect(fake.url).stream("Hi")) == "Hello"


def test_a_connection_that_breaks_after_the_end_is_no_error(connect: Connect) -> None:
    body = b"".join([*HALF, STOP, DONE])
    with RawServer(http(body, content_type="text/event-stream", length=len(body) + 10)) as server:
        assert "".join(connect(server.url).stream("Hi")) == "Hello"


TEXT = "Zwei\u2028Zeilen\x85\x0b\x1c – 😀"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_bytes_may_be_split_anywhere(size: int, line_end: bytes) -> None:
    body = b"".join(chat_events(TEXT)).replace(b"\n", line_end)
    answer = StreamedChat({})
    for start in range(0, len(body), size):
        answer.receive(body[start : start + size])
    answer.end()
    assert answer.reply().text == answer.text == TEXT


def test_comments_and_other_fields_are_no_data_and_lines_of_one_event_are_joined() -> None:
    events = EventLines()
    assert list(events.feed(b": ping\n\nevent: x\nid: 1\ndata: a\ndata:b\n\n\n\ndata: c")) == ["a\nb"]
    assert list(events.feed(b"\n\n")) == ["c"]

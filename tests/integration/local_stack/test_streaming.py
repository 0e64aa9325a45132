"""Answers that a function streams, from its runtime to the client."""

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from local_stack.testing import RunningStack, running_stack

pytestmark = pytest.mark.stack

MB = 1024 * 1024
OK = {"statusCode": 200, "headers": {"Content-Type": "text/plain"}}
Step = Sequence[object]
BEGUN: tuple[Step, ...] = (["begin", None], ["prelude", OK])


@pytest.fixture(autouse=True)
def _the_next_stream_is_whole(stack: RunningStack, client: httpx.Client) -> Iterator[None]:
    """Holds after each test of this module, for both functions that stream."""
    yield
    for path in ("/stream", "/stream-brief"):
        assert client.post(path, json=[*BEGUN, ["send", "whole"]]).text == "whole"


def until(mark: Path) -> Path:
    """Waits for a function to leave `mark`."""
    pause = threading.Event()
    for _ in range(4000):
        if mark.exists():
            return mark
        pause.wait(0.005)
    pytest.fail(f"there is no {mark.name} after 20 s")


def received_until_broken(answer: httpx.Response, *, after_first: Path | None = None) -> bytes:
    """What arrives of a body that does not end as it should; `after_first` is made when the first chunk is here."""
    received = b""
    try:
        for chunk in answer.iter_raw():
            received += chunk
            if after_first:
                after_first.touch()
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return received
    pytest.fail("the body has a proper end")


def connect(stack: RunningStack, *steps: Step, version: str = "1.1", method: str = "POST") -> socket.socket:
    """A connection on which such a request has been sent."""
    address = urlsplit(stack.base_url)
    connection = socket.socket()
    connection.settimeout(30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.connect((address.hostname, address.port))
    body = json.dumps(steps).encode()
    head = f"{method} /stream HTTP/{version}\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def everything(connection: socket.socket) -> bytes:
    """All that comes until the connection's end."""
    received = bytearray()
    while chunk := connection.recv(65536):
        received += chunk
    return bytes(received)


def until_body(connection: socket.socket, first: bytes) -> None:
    """Reads until `first` has come."""
    received = b""
    while first not in received:
        received += connection.recv(4096)


def resident_bytes(process: int) -> int:
    """The memory that a process holds, without its children's."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- as it comes


def test_each_chunk_arrives_while_the_function_is_running(client: httpx.Client, tmp_path: Path) -> None:
    steps: list[Step] = []
    for name in "abc":
        steps += [["send", name], ["wait", str(tmp_path / name)]]
    with client.stream("POST", "/stream", json=[*BEGUN, *steps]) as answer:
        for name, chunk in zip("abc", answer.iter_raw(), strict=False):
            assert chunk == name.encode()
            (tmp_path / name).touch()


def test_the_head_arrives_before_the_first_chunk(client: httpx.Client, tmp_path: Path) -> None:
    steps = [*BEGUN, ["wait", str(tmp_path / "head")], ["send", "late"]]
    with client.stream("POST", "/stream", json=steps) as answer:
        assert (answer.status_code, answer.headers["transfer-encoding"]) == (200, "chunked")
        (tmp_path / "head").touch()
        assert answer.read() == b"late"


def test_ten_thousand_chunks_arrive_in_order_and_without_buffering(stack: RunningStack) -> None:
    with connect(stack, *BEGUN, ["count", 10_000]) as connection:
        body = everything(connection).partition(b"\r\n\r\n")[2]
    chunks = body.split(b"\r\n")[1::2]
    assert b"".join(chunks) == b"".join(b"%d," % index for index in range(10_000))
    assert max(chunk.count(b",") for chunk in chunks) == 1


def test_a_slow_client_slows_the_function_down_and_no_data_is_buffered(stack: RunningStack, tmp_path: Path) -> None:
    before = resident_bytes(stack.process.pid)
    order = {"bytes": 64 * MB, "blocked": str(tmp_path / "blocked")}
    with connect(stack, *BEGUN, ["fill", order], ["mark", str(tmp_path / "all sent")]) as connection:
        until_body(connection, b"xxx")
        until(tmp_path / "blocked")
        assert not (tmp_path / "all sent").exists()
        assert resident_bytes(stack.process.pid) - before < 16 * MB
        rest = everything(connection)
    assert len(rest) > 63 * MB
    assert rest.endswith(b"\r\n0\r\n\r\n")
    assert resident_bytes(stack.process.pid) - before < 16 * MB


def test_a_character_and_the_prelude_may_be_split_over_chunks(client: httpx.Client) -> None:
    prelude = json.dumps({"statusCode": 201, "headers": {"X-A": "1"}}) + "\0" * 8
    text = "é€🎉"
    steps = [["begin", None], ["bytewise", prelude], ["bytewise", text.encode().decode("latin-1")]]
    answer = client.post("/stream", json=steps)
    assert (answer.status_code, answer.headers["x-a"], answer.content.decode()) == (201, "1", text)


def test_the_payload_may_come_in_the_preludes_chunk(client: httpx.Client) -> None:
    assert client.post("/stream", json=[["begin", None], ["send", "{}" + "\0" * 8 + "here"]]).text == "here"


def test_cookies_and_repeated_headers_arrive_as_separate_headers(client: httpx.Client) -> None:
    metadata = {"multiValueHeaders": {"X-Two": ["1", "2"]}, "cookies": ["a=1; Path=/", "b=2"]}
    answer = client.post("/stream", json=[["begin", None], ["prelude", metadata]])
    assert answer.headers.get_list("x-two") == ["1", "2"]
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert answer.headers["x-amzn-requestid"]


def test_an_instance_that_streams_gets_no_other_request(client: httpx.Client, tmp_path: Path) -> None:
    steps = [*BEGUN, ["pid", None], ["wait", str(tmp_path / "go")]]
    with (
        client.stream("POST", "/stream", json=steps) as one,
        client.stream("POST", "/stream", json=steps) as other,
    ):
        instances = {next(one.iter_raw()), next(other.iter_raw())}
        assert len(instances) == 2
        (tmp_path / "go").touch()


def test_the_layers_script_replaces_the_runtime_and_its_output_is_in_the_log(stack: RunningStack) -> None:
    assert "started for app.handler in /" in stack.log("streaming")
    assert "the answer was taken with 202" in stack.log("streaming")


# --- what breaks


@pytest.mark.parametrize("failure", [["fail", "a bug"], ["hang_up", None], ["exit", 3]])
def test_a_failure_during_a_stream_closes_the_connection_without_an_end_of_the_body(
    client: httpx.Client, tmp_path: Path, failure: Step
) -> None:
    go = tmp_path / "go"
    with client.stream("POST", "/stream", json=[*BEGUN, ["send", "before"], ["wait", str(go)], failure]) as answer:
        assert answer.status_code == 200
        assert received_until_broken(answer, after_first=go) == b"before"


@pytest.mark.parametrize("failure", [["fail", "a bug"], ["hang_up", None], ["exit", 3]])
def test_a_failure_before_the_end_of_the_prelude_is_a_bad_gateway(client: httpx.Client, failure: Step) -> None:
    answer = client.post("/stream", json=[["begin", None], ["send", '{"statusCode": 200}'], failure])
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})


def test_a_failure_before_the_answer_is_a_bad_gateway(stack: RunningStack, client: httpx.Client) -> None:
    assert client.post("/stream", json=[["error", "an early bug"]]).status_code == 502
    assert "Bug: an early bug" in stack.printed()


def test_the_reason_of_a_failure_during_a_stream_is_printed(stack: RunningStack, client: httpx.Client) -> None:
    with client.stream("POST", "/stream", json=[*BEGUN, ["fail", "a late bug"]]) as answer:
        received_until_broken(answer)
    assert "Bug: a late bug" in stack.printed()


@pytest.mark.parametrize("begun", [True, False])
def test_a_function_that_exceeds_its_timeout_is_killed_before_and_during_its_stream(
    stack: RunningStack, client: httpx.Client, *, begun: bool
) -> None:
    steps = [*BEGUN, ["send", "before"]] if begun else []
    with client.stream("POST", "/stream-brief", json=[*steps, ["wait", "/never"]]) as answer:
        assert answer.status_code == (200 if begun else 502)
        if begun:
            assert received_until_broken(answer) == b"before"
    assert "Task timed out after 1.00 seconds" in stack.log("brief-streaming")


def test_the_integration_timeout_aborts_a_stream(client: httpx.Client, tmp_path: Path) -> None:
    steps = [*BEGUN, ["send", "before"], ["silence", str(tmp_path / "noticed")]]
    with client.stream("POST", "/stream-hurried", json=steps) as answer:
        assert received_until_broken(answer) == b"before"
    until(tmp_path / "noticed")


def test_the_integration_timeout_before_the_prelude_is_a_gateway_timeout(client: httpx.Client, tmp_path: Path) -> None:
    steps = [["wait", str(tmp_path / "go")], *BEGUN, ["silence", str(tmp_path / "noticed")]]
    answer = client.post("/stream-hurried", json=steps)
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})
    (tmp_path / "go").touch()
    until(tmp_path / "noticed")


@pytest.mark.parametrize(
    "text", ["", "no delimiter", "no JSON" + "\0" * 8, '{"body": ""}' + "\0" * 8, "{" + " " * 16384 + "}" + "\0" * 8]
)
def test_a_stream_with_an_invalid_beginning_is_a_500(client: httpx.Client, text: str) -> None:
    assert client.post("/stream", json=[["begin", None], ["send", text]]).status_code == 500


def test_a_buffered_answer_for_a_route_that_streams_is_a_500(client: httpx.Client) -> None:
    assert client.post("/act-streamed", json={"do": "pid"}).status_code == 500


def test_a_stream_for_a_route_that_does_not_stream_loses_its_payload(stack: RunningStack, client: httpx.Client) -> None:
    metadata = {"statusCode": 201, "headers": {"X-A": "1", "Content-Length": "4"}}
    answer = client.post("/stream-buffered", json=[["begin", None], ["prelude", metadata], ["send", "lost"]])
    assert (answer.status_code, answer.headers["x-a"], answer.content) == (201, "1", b"")
    assert "Streaming streams, but this route does not" in stack.printed()


def test_a_stream_too_long_for_a_route_that_does_not_stream_is_a_bad_gateway(
    client: httpx.Client, tmp_path: Path
) -> None:
    steps = [*BEGUN, ["endless", str(tmp_path / "noticed")]]
    assert client.post("/stream-buffered", json=steps).status_code == 502
    until(tmp_path / "noticed")


# --- the client goes away


@pytest.mark.parametrize("doing", ["silence", "endless"])
def test_the_function_notices_a_client_disconnect_and_its_instance_is_kept(
    stack: RunningStack, client: httpx.Client, tmp_path: Path, doing: str
) -> None:
    before = client.post("/stream", json=[*BEGUN, ["pid", None]]).content
    with connect(stack, *BEGUN, ["send", "first"], [doing, str(tmp_path / "noticed")]) as connection:
        until_body(connection, b"first")
    until(tmp_path / "noticed")
    assert client.post("/stream", json=[*BEGUN, ["pid", None]]).content == before


def test_the_function_notices_a_reset_connection(stack: RunningStack, tmp_path: Path) -> None:
    with connect(stack, *BEGUN, ["send", "first"], ["silence", str(tmp_path / "noticed")]) as connection:
        until_body(connection, b"first")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(tmp_path / "noticed")


def test_a_disconnect_before_the_stream_starts_is_noticed_when_it_starts(stack: RunningStack, tmp_path: Path) -> None:
    marks = [str(tmp_path / name) for name in ("invoked", "go", "noticed")]
    steps: list[Step] = [["mark", marks[0]], ["wait", marks[1]], ["begin", None], ["silence", marks[2]]]
    with connect(stack, *steps):
        until(tmp_path / "invoked")
    (tmp_path / "go").touch()
    until(tmp_path / "noticed")


# --- HTTP


def test_head_has_the_headers_of_a_stream_and_no_body(stack: RunningStack, tmp_path: Path) -> None:
    steps = [*BEGUN, ["silence", str(tmp_path / "noticed")]]
    with connect(stack, *steps, method="HEAD") as connection:
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    assert answer.endswith(b"\r\n\r\n")
    until(tmp_path / "noticed")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_ends_the_stream_and_keeps_the_connection_usable(
    client: httpx.Client, tmp_path: Path, status: int
) -> None:
    steps = [["begin", None], ["prelude", {"statusCode": status}], ["silence", str(tmp_path / "noticed")]]
    answer = client.post("/stream", json=steps)
    assert (answer.status_code, answer.content) == (status, b"")
    until(tmp_path / "noticed")


def test_a_content_length_of_a_streaming_function_is_kept(client: httpx.Client) -> None:
    metadata = {"headers": {"Content-Length": "4", "Transfer-Encoding": "gzip"}}
    answer = client.post("/stream", json=[["begin", None], ["prelude", metadata], ["send", "four"]])
    assert (answer.headers["content-length"], answer.text) == ("4", "four")
    assert "transfer-encoding" not in answer.headers


def test_a_stream_shorter_than_its_content_length_is_incomplete(client: httpx.Client) -> None:
    steps = [["begin", None], ["prelude", {"headers": {"Content-Length": "9"}}], ["send", "four"]]
    with client.stream("POST", "/stream", json=steps) as answer:
        assert received_until_broken(answer) == b"four"


def test_an_http_1_0_client_gets_the_payload_without_chunked_encoding(stack: RunningStack) -> None:
    with connect(stack, *BEGUN, ["send", "one "], ["send", "two"], version="1.0") as connection:
        assert everything(connection).endswith(b"\r\n\r\none two")


def test_an_http_1_0_client_does_not_take_an_incomplete_answer_for_a_complete_one(
    stack: RunningStack, tmp_path: Path
) -> None:
    steps = [*BEGUN, ["send", "first"], ["wait", str(tmp_path / "go")], ["fail", "a bug"]]
    with connect(stack, *steps, version="1.0") as connection:
        until_body(connection, b"first")
        (tmp_path / "go").touch()
        with pytest.raises(ConnectionResetError):
            everything(connection)


def test_a_signal_during_a_stream_ends_the_stack_and_aborts_the_stream(acting_template: Path, tmp_path: Path) -> None:
    with running_stack(template=acting_template, env={"MARKS": str(tmp_path)}) as own:
        steps = [*BEGUN, ["send", "before"], ["wait", "/never"]]
        with httpx.stream("POST", f"{own.base_url}/stream", json=steps, timeout=30, trust_env=False) as answer:
            chunks = answer.iter_raw()
            assert next(chunks) == b"before"
            own.process.terminate()
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                next(chunks)
        assert own.process.wait(10) == 0

"""What becomes of a function's answer."""

import json

import pytest

from local_stack.http_server import Response
from local_stack.proxy_answer import MalformedAnswerError, to_response


def response(answer: object, *, accept: str = "*/*", binary: tuple[str, ...] = ()) -> Response:
    """The response for the JSON of `answer`."""
    return to_response(json.dumps(answer).encode(), accept=accept, binary_media_types=binary)


def test_status_headers_and_body_are_copied() -> None:
    made = response({"statusCode": 201, "headers": {"X-A": "1", "X-On": True}, "body": "ü"})
    assert (made.status, made.body) == (201, "ü".encode())
    assert list(made.headers) == [("X-A", "1"), ("X-On", "true"), ("Content-Type", "application/json")]


def test_multi_value_headers_replace_those_of_the_same_name() -> None:
    answer = {"statusCode": 200, "headers": {"set-cookie": "a"}, "multiValueHeaders": {"Set-Cookie": ["b", "c"]}}
    made = response(answer)
    assert [pair for pair in made.headers if pair[0] == "Set-Cookie"] == [("Set-Cookie", "b"), ("Set-Cookie", "c")]
    assert ("set-cookie", "a") not in made.headers


def test_a_content_length_of_the_function_is_dropped() -> None:
    made = response({"statusCode": 200, "headers": {"Content-Length": "999"}, "body": "x"})
    assert all(name != "Content-Length" for name, _ in made.headers)


def test_base64_is_decoded_for_a_client_that_accepts_a_binary_type() -> None:
    answer = {"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}
    assert response(answer, accept="image/png, */*", binary=("image/png",)).body == b"\xff\x00"


def test_base64_stays_when_the_api_has_no_binary_types() -> None:
    assert response({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}).body == b"/wA="


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        [],
        {},
        {"statusCode": "two hundred"},
        {"statusCode": 42},
        {"statusCode": 200, "surprise": 1},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "headers": []},
        {"statusCode": 200, "headers": {"a": None}},
        {"statusCode": 200, "headers": {"a": "x\r\nb: y"}},
        {"statusCode": 200, "headers": {"a b": "x"}},
        {"statusCode": 100},
        {"statusCode": 200, "multiValueHeaders": {"a": "b"}},
    ],
)
def test_a_malformed_answer_is_refused(answer: object) -> None:
    with pytest.raises(MalformedAnswerError):
        response(answer)


def test_an_answer_that_is_no_json_is_refused() -> None:
    with pytest.raises(MalformedAnswerError):
        to_response(b"<html>", accept="", binary_media_types=())

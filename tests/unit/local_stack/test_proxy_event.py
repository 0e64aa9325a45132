"""The event that a function gets for a request."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from local_stack.proxy_event import HttpRequest, Ids, encoded, to_event
from local_stack.routes import Match
from local_stack.template import Route

IDS = Ids(request="r-1", extended="x-1", trace="Root=1-a-b")
NOW = datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)
MATCH = Match(Route("/things/{id}", "ANY", "F"), {"id": "a%2Fb"})


def event(
    *,
    method: str = "POST",
    path: str = "/things/a%2Fb",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("Host", "api.local:8000"),),
    body: bytes = b"",
    binary: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The event for a request to /things/a%2Fb."""
    request = HttpRequest(method, path, query, headers, body, "10.0.0.9")
    made = json.loads(encoded(to_event(request, MATCH, IDS, stage="prod", binary_media_types=binary, now=NOW)))
    assert isinstance(made, dict)
    return made


def test_path_and_path_variables_are_as_sent() -> None:
    made = event()
    assert (made["resource"], made["path"], made["pathParameters"]) == (
        "/things/{id}",
        "/things/a%2Fb",
        {"id": "a%2Fb"},
    )


def test_slashes_at_the_beginning_are_one_in_the_path_but_not_in_that_of_the_context() -> None:
    made = event(path="//things/a%2Fb/")
    assert (made["path"], made["requestContext"]["path"]) == ("/things/a%2Fb/", "//things/a%2Fb/")


def test_a_query_is_decoded_and_the_last_value_is_the_single_one() -> None:
    made = event(query="a=1&a=two%20words&b=&c=%C3%A4")
    assert made["queryStringParameters"] == {"a": "two words", "b": "", "c": "ä"}
    assert made["multiValueQueryStringParameters"] == {"a": ["1", "two words"], "b": [""], "c": ["ä"]}


def test_absent_values_are_null() -> None:
    made = event()
    names = ("queryStringParameters", "multiValueQueryStringParameters", "stageVariables", "body")
    assert [made[name] for name in names] == [None] * 4
    assert made["isBase64Encoded"] is False


def test_headers_keep_the_clients_letter_case_and_all_values() -> None:
    made = event(headers=(("Host", "h"), ("X-Mine", "1"), ("x-mine", "2"), ("Connection", "close")))
    assert made["headers"]["X-Mine"] == "2"
    assert made["multiValueHeaders"]["X-Mine"] == ["1", "2"]
    assert "Connection" not in made["headers"]


def test_the_gateway_adds_the_clients_address_and_the_trace_id() -> None:
    made = event(headers=(("Host", "api.local:8000"), ("X-Forwarded-For", "1.2.3.4"), ("x-amzn-trace-id", "theirs")))
    assert made["headers"]["X-Forwarded-For"] == "1.2.3.4, 10.0.0.9"
    assert made["headers"]["X-Forwarded-Port"] == "8000"
    assert made["headers"]["X-Amzn-Trace-Id"] == "Root=1-a-b"
    assert "x-amzn-trace-id" not in made["headers"]


def test_the_context_describes_the_request() -> None:
    context = event(headers=(("Host", "h"), ("User-Agent", "ua")))["requestContext"]
    assert context["requestId"] == "r-1"
    assert context["stage"] == "prod"
    assert context["requestTime"] == "23/Nov/2026:04:05:06 +0000"
    assert context["requestTimeEpoch"] == 1795406706789
    assert context["identity"]["sourceIp"] == "10.0.0.9"
    assert context["identity"]["userAgent"] == "ua"


def test_a_text_body_is_text() -> None:
    assert event(body='{"ü": 1}'.encode())["body"] == '{"ü": 1}'


def test_a_binary_body_is_base64_when_its_type_is_the_apis() -> None:
    made = event(body=b"\xff\x00", headers=(("content-type", "image/png; x=1"),), binary=("image/*",))
    assert made["isBase64Encoded"] is True
    assert base64.b64decode(made["body"]) == b"\xff\x00"


def test_invalid_utf_8_in_a_body_of_another_type_is_replaced() -> None:
    made = event(body=b"a\xff", headers=(("content-type", "image/png"),))
    assert (made["body"], made["isBase64Encoded"]) == ("a�", False)


def test_the_event_is_compact_as_lambda_counts_it() -> None:
    request = HttpRequest("POST", "/things/x", "", (), "ä".encode(), "::1")
    raw = encoded(to_event(request, MATCH, IDS, stage="prod", binary_media_types=(), now=NOW))
    assert b'"body":"\xc3\xa4"' in raw

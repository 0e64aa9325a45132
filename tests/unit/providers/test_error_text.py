"""The shapes in which servers write an error."""

import json

import pytest

from sekha_llm_bridge.providers.error_text import MAX_TEXT_CHARACTERS, ErrorText, read_error_body

SHAPES = [
    {"error": {"message": "bad thing"}},
    {"error": "bad thing"},
    {"errors": [{"message": "bad thing"}]},
    {"errors": ["bad thing"]},
    {"detail": "bad thing"},
    {"detail": [{"msg": "bad thing"}]},
    {"detail": {"error": {"message": "bad thing"}}},
    {"message": "bad thing"},
    {"msg": "bad thing"},
    {"Message": "bad thing"},
    {"message": {"detail": [{"msg": "bad thing"}]}},
    [{"error": {"message": "bad thing"}}],
    ["bad thing"],
    "bad thing",
    {"error": {"message": json.dumps({"error": {"message": "bad thing"}})}},
    {"error": {"metadata": {"raw": json.dumps({"error": {"message": "bad thing"}})}}},
    {"error": {"message": "{'error': {'message': 'bad thing'}}"}},
]


@pytest.mark.parametrize("shape", SHAPES, ids=json.dumps)
def test_the_message_is_found_in_every_shape(shape: object) -> None:
    assert read_error_body(json.dumps(shape).encode()).message == "bad thing"


@pytest.mark.parametrize(
    "body",
    [
        b"bad thing",
        b"\xef\xbb\xbf bad\r\n thing ",
        b"<Error><Code>X</Code><Message>bad thing</Message></Error>",
        b"<b>bad</b> thing",
        b'{"error": {"message": "bad thing", "more": "' + b"x" * 100_000,
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
def test_the_message_is_found_in_a_body_that_is_no_json(body: bytes) -> None:
    assert read_error_body(body).message == "bad thing"


def test_an_html_page_has_no_message() -> None:
    page = b"<!DOCTYPE html><html><head><title>Blocked</title></head><body>no</body></html>"
    assert read_error_body(page) == ErrorText()


def test_fastapis_location_names_the_field() -> None:
    detail = [{"loc": ["body", "tools", 0, "type"], "msg": "Field required", "type": "missing"}]
    error = read_error_body(json.dumps({"detail": detail}).encode())
    assert (error.message, error.param, error.codes) == ("tools.0.type: Field required", "tools.0.type", ("missing",))


@pytest.mark.parametrize(
    "body",
    [b"[" * 160_000, b'{"a":' * 50_000, b"(" * 1_000_000, b"'" * 1_000_000, b"{'" * 2_000, b"", b"null", b"\xff\xfe"],
    ids=lambda body: f"{len(body)} bytes",
)
def test_reading_never_raises_and_the_text_is_short(body: bytes) -> None:
    assert len(read_error_body(body).message) <= MAX_TEXT_CHARACTERS

"""The valid fields of a chat request, and the errors for invalid ones."""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import HI, PATH, error, function

BAD = [
    ({"messages": []}, "messages"),
    ({}, "messages"),
    ({"messages": HI, "temperature": 2.1}, "temperature"),
    ({"messages": HI, "temperature": -0.1}, "temperature"),
    ({"messages": HI, "n": 0}, "n"),
    ({"messages": HI, "top_p": 1.5}, "top_p"),
    ({"messages": HI, "max_tokens": 0}, "max_tokens"),
    ({"messages": HI, "max_cost": -1}, "max_cost"),
    ({"messages": HI, "task": "sing"}, "task"),
    ({"messages": HI, "response_format": {"type": "json_schema"}}, "response_format"),
    ({"messages": [{"role": "pirate", "content": "arr"}]}, "messages[0].role"),
    ({"messages": [*HI, {"role": "user"}]}, "messages[1]"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        "messages[0].content[0].image_url",
    ),
    ({"messages": HI, "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"messages": HI, "max_tokens": "100"}, "max_tokens"),
    ({"messages": HI, "temperature": True}, "temperature"),
    ({"messages": HI, "stream": "yes"}, "stream"),
    ({"messages": HI, "stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ({"messages": HI, "max_cost": "1e999999"}, "max_cost"),
    ({"messages": HI, "task": "embedding"}, "task"),
    ({"messages": HI, "model": "embedding"}, "model"),
    ({"messages": [*HI, {"role": "tool", "content": "x", "tool_call_id": []}]}, "messages[1].tool_call_id"),
    ({"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": {}}]}]}, "messages[1].tool_calls[0].id"),
]


@pytest.mark.parametrize(("body", "param"), BAD, ids=[row[1] + str(i) for i, row in enumerate(BAD)])
def test_a_wrong_field_is_a_400_with_its_path(
    chat: Function, fake: FakeProvider, body: dict[str, Any], param: str
) -> None:
    answer = chat("POST", PATH, body)
    assert answer.status == 400
    assert error(answer)["param"] == param
    assert fake.received == []


PRIVATE = [
    "http://localhost/x.png",
    "http://127.0.0.1/x.png",
    "http://127.1/x.png",
    "http://2130706433/x.png",
    "http://0x7f000001/x.png",
    "http://[::1]/x.png",
    "http://[::ffff:10.0.0.1]/x.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.1.2.3/x.png",
    "http://intranet/x.png",
    "http://db.internal./x.png",
    "http://127%2e0.0.1/x.png",
    "http://１２７.０.０.１/x.png",
    "http://①②⑦.⓪.⓪.①/x.png",
    "http://127.0.0.1\\@example.com/x.png",
    "http://user:pass@example.com/x.png",
    "http://[64:ff9b::a9fe:a9fe]/x.png",
    "http://[::7f00:1]/x.png",
    "http://[2002:7f00:1::]/x.png",
    "http://localhost.localdomain/x.png",
    "http://kubernetes.default.svc/x.png",
    "http://exa mple.com/x.png",
    "data:image/png;base64,----",
    "ftp://example.com/x.png",
    "file:///etc/passwd",
    "data:text/html;base64,AAAA",
    "data:image/png;base64,***",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_an_image_url_that_is_not_public_is_refused_for_every_provider(chat: Function, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    answer = chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.status == 400
    assert error(answer)["param"] == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_data": "http://10.1.2.3/a.pdf"}},
        {"type": "file", "file": {"file_data": " http://10.1.2.3/a.pdf"}},
        {"type": "file", "file": {"file_id": "HTTP://169.254.169.254/a.pdf"}},
        {"type": "video_url", "video_url": {"url": "http://169.254.169.254/a.mp4"}},
        {"type": "audio_url", "audio_url": {"url": "http://localhost/a.wav"}},
        {"type": "video", "video": "http://10.1.2.3/a.mp4"},
        {"type": "document", "source": {"type": "url", "url": "http://10.1.2.3/a.pdf"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["user", "tool"])
def test_other_content_by_a_url_that_is_not_public_is_refused(chat: Function, part: dict[str, Any], role: str) -> None:
    """Some servers download it: vLLM a video, LiteLLM a document."""
    message = {"role": role, "content": [part], "tool_call_id": "c"}
    answer = chat("POST", PATH, {"messages": [message]})
    assert answer.status == 400
    assert error(answer)["param"] == "messages[0].content[0]"


def test_an_address_in_the_result_of_a_search_is_not_refused(chat: Function) -> None:
    page = {"type": "web_fetch_result", "url": "http://intranet/x"}
    part = {"type": "web_fetch_tool_result", "tool_use_id": "c", "content": page}
    assert chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]}).status == 200


@pytest.mark.parametrize("url", ["https://example.com/x.png", "https://bücher.example.com/x", "http://93.184.216.34/x"])
def test_a_public_image_url_is_sent_unchanged(fake: FakeProvider, url: str) -> None:
    chat = function(provider("p", chat_model("sees", supports_vision=True), base_url=f"{fake.url}/v1"))
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    assert chat("POST", PATH, {"messages": messages}).status == 200
    assert fake.received[0].body["messages"] == messages


def test_an_image_needs_a_vision_model_by_itself(fake: FakeProvider) -> None:
    chat = function(
        provider("p", chat_model("blind"), chat_model("sees", supports_vision=True), base_url=f"{fake.url}/v1")
    )
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    answer = chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.json()["model"] == "sees"


def test_an_image_without_a_vision_model_is_an_error_that_says_so(chat: Function) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    answer = chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.status == 400
    assert error(answer)["code"] == "no_capable_model"
    assert "cannot see images" in error(answer)["message"]


DEEP = '{"messages": [{"role": "user", "content": "x"}], "x": ' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize(
    "raw", ["{oops", "", "[]", "null", '"text"', DEEP, '{"messages": [{"role": "user", "content": "\\ud800"}]}']
)
def test_a_body_that_is_not_a_json_object_is_a_400(chat: Function, raw: str) -> None:
    assert chat("POST", PATH, raw=raw).status == 400


def test_an_error_has_its_message_also_where_clients_of_v1_look_for_it(chat: Function) -> None:
    body = chat("POST", PATH, {"messages": HI, "temperature": 3}).json()
    assert body["detail"] == body["error"]["message"]


def test_a_wrong_method_is_a_405_that_names_the_allowed_one(chat: Function) -> None:
    answer = chat("GET", PATH)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert error(answer)["code"] == "method_not_allowed"


def test_an_unknown_path_is_a_404(chat: Function) -> None:
    assert error(chat("POST", "/v2/nothing", {}))["code"] == "not_found"

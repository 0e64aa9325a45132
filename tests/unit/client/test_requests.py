"""What the client sends, and the replies that it makes of answers."""

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from sekha_llm_bridge import ChatReply, InvalidOption, InvalidRequest, LlmBridge, StreamNotFinished, image_message
from sekha_llm_bridge.client.call import Call
from sekha_llm_bridge.client.chat import chat, chat_reply
from sekha_llm_bridge.client.memory import score
from tests.clients.both_clients import BlockingClient
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.unit.client.conftest import Connect

PNG = png()
CHAT = "/v1/chat/completions"


def body_of(call: Call[Any]) -> Any:
    return json.loads(call.content or b"")


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/api/v1"])
def test_the_address_may_end_in_a_slash_or_in_v1(fake: FakeProvider, connect: Connect, ending: str) -> None:
    fake.always(f"/stage{CHAT}", Reply(body=chat_completion("From the stage.")))
    assert str(connect(f"{fake.url}{ending}").call("chat", "Hi", model="m")) == "Hello from the fake."
    assert str(connect(f"{fake.url}/stage{ending}").call("chat", "Hi", model="m")) == "From the stage."


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidOption, match=r"it looks like http://127\.0\.0\.1:8000"):
        LlmBridge(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidOption) as caught:
        LlmBridge("http://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_the_key_is_sent_and_is_in_no_description_of_the_client(fake: FakeProvider, connect: Connect) -> None:
    client = connect(fake.url, api_key=" sk-hunter2\n")
    client.call("chat", "Hi", model="m")
    assert fake.received[0].headers["authorization"] == "Bearer sk-hunter2"
    assert "hunter2" not in repr(client.bridge)
    with pytest.raises(InvalidOption) as caught:
        LlmBridge(api_key="sk-hunter2\n\nx: y")
    assert "hunter2" not in str(caught.value)


def test_a_text_is_a_users_message_after_the_system_message() -> None:
    assert body_of(chat("Hi", system="Be brief.")) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    }


def test_a_reply_in_a_list_of_messages_is_its_message() -> None:
    document = chat_completion("Hello.", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}])
    reply = chat_reply(document, None)
    first, second = body_of(chat([reply, {"role": "user", "content": "And?"}]))["messages"]
    assert (first, second["content"]) == (document["choices"][0]["message"], "And?")  # type: ignore[index]  # JSON


@pytest.mark.parametrize(("amount", "sent"), [(0.01, 0.01), ("0.01", "0.01"), (Decimal("0.010"), "0.010")])
def test_a_cost_limit_is_sent_as_it_was_given(amount: object, sent: object) -> None:
    assert body_of(chat("Hi", max_cost=amount))["max_cost"] == sent  # type: ignore[arg-type]  # rows of cases


def test_options_that_are_not_given_are_not_sent_and_openai_fields_are() -> None:
    call = chat("Hi", model=None, temperature=0, stop=None, response_format={"type": "json_object"})
    assert body_of(call).keys() == {"messages", "temperature", "response_format"}
    options = {"preferred_model": "m", "require_vision": True, "task": "chat_smart", "allow_fallback": False}
    assert body_of(chat("Hi", **options)) | options == body_of(chat("Hi", **options))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [({"stream": True}, "stream"), ({"messages": []}, "first argument"), ({"timeout": 3}, "with_options")],
)
def test_an_argument_that_belongs_elsewhere_is_refused_with_the_place(fields: dict[str, Any], remedy: str) -> None:
    with pytest.raises(InvalidRequest, match=remedy) as caught:
        chat("Hi", **fields)
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", {1, 2}])
def test_a_value_that_json_does_not_have_is_refused_with_the_name_of_the_field(value: object) -> None:
    with pytest.raises(InvalidRequest, match="cannot be sent as JSON") as caught:
        chat("Hi", metadata={"a": [value]})
    assert caught.value.param == "metadata"


def test_an_image_file_is_sent_as_a_data_url_of_the_type_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(PNG)
    text, first, second = image_message("What is it?", "https://example.com/a.png", image_path=file)["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert first["image_url"] == {"url": "https://example.com/a.png"}
    assert second["image_url"] == {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}


def test_a_file_that_is_no_image_is_refused_with_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_text("<html>Not found</html>")
    with pytest.raises(InvalidRequest, match="is no image: it is an HTML page"):
        image_message("What is it?", image_path=file)


@pytest.mark.parametrize("name", ["none.png", "", "\0"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        image_message("What is it?", image_path=tmp_path / name)


def test_a_chat_with_an_image_needs_an_image() -> None:
    with pytest.raises(InvalidRequest, match="give image_url or image_path"):
        image_message("What is it?")


def test_a_score_is_of_exactly_one_thing() -> None:
    with pytest.raises(InvalidRequest, match="exactly one of"):
        score("text", message="message")
    assert body_of(score(conversation=["Hi"])) == {"conversation": ["Hi"]}


def test_what_the_memory_asks_is_sent_and_read_in_the_formats_of_its_paths(
    fake: FakeProvider, connect: Connect
) -> None:
    """The formats are those of the contract, "Legacy answers"."""
    summary = {"summary": "All is well.", "level": "weekly", "model": "m", "message_count": 2, "tokens_used": 9}
    found = {"people": ["Ada"], "organizations": [], "technical_terms": ["B-tree"], "concepts": ["order"]}
    fake.always("/api/v1/summarize", Reply(body=summary))
    fake.always("/api/v1/extract", Reply(body={"entities": found, "model": "m"}))
    fake.always("/api/v1/score", Reply(body={"score": 7, "reasoning": "a decision", "model": "m"}))
    client = connect(fake.url)
    summarized = client.call("summarize", ["a", "b"], level="weekly", max_words=5)
    assert (str(summarized), summarized.level, summarized.message_count, summarized.tokens_used) == (
        *("All is well.", "weekly", 2),
        9,
    )
    entities = client.call("extract", "Ada likes B-trees.", model="m")
    assert (entities.people, entities.organizations, entities.technical_terms) == (("Ada",), (), ("B-tree",))
    scored = client.call("score", "We decided.")
    assert (scored.score, scored.reasoning, scored.model) == (7, "a decision", "m")
    assert [request.body for request in fake.received] == [
        {"messages": ["a", "b"], "level": "weekly", "max_words": 5},
        {"text": "Ada likes B-trees.", "model": "m"},
        {"text": "We decided."},
    ]


def test_the_reply_of_another_server_has_no_receipt(fake: FakeProvider, connect: Connect) -> None:
    reply: ChatReply = connect(fake.url).call("chat", "Hi", model="m")
    assert (reply.text, reply.model, reply.finish_reason) == ("Hello from the fake.", "m", "stop")
    assert (reply.provider_id, reply.cost, reply.bridge) == (None, None, {})
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (11, 7, 18)


def test_tool_calls_are_typed_and_the_text_is_empty(fake: FakeProvider, connect: Connect) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Tromsø"}'}}]
    fake.always(CHAT, Reply(body=chat_completion(None, tool_calls=calls)))
    reply = connect(fake.url).call("chat", "Weather?", model="m")
    (call,) = reply.tool_calls
    assert (str(reply), call.id, call.name, call.parsed_arguments()) == ("", "c1", "weather", {"city": "Tromsø"})


@pytest.mark.parametrize("arguments", ["[1]", "{", "null"])
def test_arguments_that_are_no_json_object_are_a_value_error(arguments: str) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]
    (call,) = chat_reply(chat_completion(None, tool_calls=calls), None).tool_calls
    with pytest.raises(ValueError, match=r".+"):
        call.parsed_arguments()


def test_base64_vectors_are_decoded(fake: FakeProvider, connect: Connect) -> None:
    data = base64.b64encode(bytes([0, 0, 128, 63, 0, 0, 0, 192])).decode()
    fake.always("/v1/embeddings", Reply(body={"model": "e", "data": [{"index": 0, "embedding": data}]}))
    assert connect(fake.url).call("embed", "Hi", encoding_format="base64").vector == (1.0, -2.0)


def test_other_options_change_one_client_only_and_share_its_connections(fake: FakeProvider, connect: Connect) -> None:
    client = connect(fake.url, api_key="k")
    other = client.bridge.with_options(headers={"Idempotency-Key": "once"}, timeout=7, max_retries=0)
    assert other.transport.http is client.bridge.transport.http
    assert other.transport.options.timeout == httpx.Timeout(7)
    client.bridge, first = other, client.bridge
    client.call("chat", "Hi", model="m")
    client.bridge = first
    client.call("chat", "Hi", model="m")
    assert [call.headers.get("idempotency-key") for call in fake.received] == ["once", None]
    assert [call.headers["authorization"] for call in fake.received] == ["Bearer k", "Bearer k"]


def test_a_number_as_timeout_leaves_less_time_to_connect_than_to_answer() -> None:
    with LlmBridge() as bridge:
        assert bridge.transport.options.timeout == httpx.Timeout(120, connect=10)
    with LlmBridge(timeout=None) as bridge:
        assert bridge.transport.options.timeout == httpx.Timeout(None)
    with LlmBridge(timeout=httpx.Timeout(3, read=9)) as bridge:
        assert bridge.transport.options.timeout == httpx.Timeout(3, read=9)


def test_a_given_http_client_keeps_its_headers_and_its_chosen_timeout_and_is_not_closed(fake: FakeProvider) -> None:
    with httpx.Client(headers={"x-team": "blue"}, timeout=33) as http:
        with LlmBridge(fake.url, http_client=http) as bridge:
            bridge.chat("Hi", model="m")
            assert bridge.transport.options.timeout == httpx.Timeout(33)
        assert not http.is_closed
        assert LlmBridge(timeout=7, http_client=http).transport.options.timeout == httpx.Timeout(7)
    assert fake.received[0].headers["x-team"] == "blue"
    with httpx.Client() as http:
        assert LlmBridge(http_client=http).transport.options.timeout == httpx.Timeout(120, connect=10)


def test_a_proxy_beside_a_given_http_client_is_refused() -> None:
    with httpx.Client() as http, pytest.raises(InvalidOption, match="give it to the HTTP client"):
        LlmBridge(http_client=http, proxy="http://127.0.0.1:1")


@pytest.mark.parametrize("options", [{"proxy": "socks9://h"}, {"max_retries": -1}])
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        LlmBridge(**options)


def test_the_environments_proxy_is_used_unless_it_is_not_trusted(
    fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", fake.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fake.always(f"http://bridge.invalid{CHAT}", Reply(body=chat_completion("Through the proxy.")))
    assert str(BlockingClient("http://bridge.invalid").call("chat", "Hi")) == "Through the proxy."
    assert str(BlockingClient(fake.url, trust_env=False).call("chat", "Hi", model="m")) == "Hello from the fake."
    assert str(BlockingClient("http://bridge.invalid", trust_env=False, proxy=fake.url).call("chat", "Hi"))


def test_closing_a_client_closes_its_own_connections(fake: FakeProvider) -> None:
    with LlmBridge(fake.url) as bridge:
        bridge.chat("Hi", model="m")
    assert bridge.transport.http.is_closed


def test_a_reply_of_a_stream_is_not_known_before_its_end(fake: FakeProvider, connect: Connect) -> None:
    stream = connect(fake.url).stream("Hi", model="m")
    with pytest.raises(StreamNotFinished):
        _ = stream.reply
    assert next(stream) == "Hello"
    with pytest.raises(StreamNotFinished):
        _ = stream.reply
    assert stream.text.startswith("Hello")
    assert "".join(stream) == " from the fake."
    assert str(stream.reply) == "Hello from the fake."

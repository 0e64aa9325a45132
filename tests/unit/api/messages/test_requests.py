"""Which requests are refused, and by which words; and what a request may have."""

from typing import Any

import pytest

from sekha_llm_bridge.api.messages.conversation import conversation_of
from sekha_llm_bridge.api.messages.image_param import image_param
from sekha_llm_bridge.conversation import Image
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.unit.api.messages.function import COUNT_PATH, HI, PATH, ask, error, post

PRIVATE = "http://169.254.169.254/latest/meta-data"
IMAGE_AT = {"type": "image", "source": {"type": "url", "url": PRIVATE}}


USE = {"type": "tool_use", "id": "a", "name": "look", "input": {}}


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


def result(content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "a", "content": content}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": None}, "max_tokens", "valid integer"),
    ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
    ({"max_tokens": "9"}, "max_tokens", "valid integer"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "'user', 'assistant' or 'system'"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
    ({"messages": user({"type": "text"})}, "messages[0].content[0]", "needs `text`"),
    ({"messages": user({"type": "image"})}, "messages[0].content[0]", "needs `source`"),
    ({"messages": user({"type": "image", "source": "x"})}, "messages[0].content[0]", "base64, file, url"),
    ({"messages": user(document(type="base64", data="x"))}, "messages[0].content[0].source", "needs `media_type`"),
    ({"messages": user({"type": "tool_use", "id": "a", "name": "b", "input": {}})}, "messages[0]", "role assistant"),
    ({"messages": user({"type": "thinking", "thinking": "x"})}, "messages[0]", "role assistant"),
    (
        {"messages": [{"role": "assistant", "content": [result("x")]}]},
        "messages[0]",
        "type tool_result must be in a message of role user",
    ),
    ({"messages": [{"role": "system", "content": [IMAGE_AT]}]}, "messages[0].content[0].source.url", "public"),
    ({"messages": user({"type": "tool_result"})}, "messages[0].content[0].tool_use_id", "required"),
    ({"messages": user(result([result("x")]))}, "messages[0].content[0].content", "no blocks of type tool_result"),
    ({"messages": user(result([{"type": "text"}]))}, "messages[0].content[0].content[0]", "needs `text`"),
    ({"system": [{"type": "image"}]}, "system[0].type", "'text'"),
    ({"temperature": 1.5}, "temperature", "less than or equal to 1"),
    ({"top_p": -1}, "top_p", "greater than or equal to 0"),
    ({"top_k": -1}, "top_k", "greater than or equal to 0"),
    ({"stop_sequences": "x"}, "stop_sequences", "valid list"),
    ({"stream": "yes"}, "stream", "valid boolean"),
    ({"tools": [{"name": "a"}]}, "tools[0]", "needs `input_schema`"),
    ({"tools": [{"type": "custom", "input_schema": {}}]}, "tools[0]", "needs `name`"),
    ({"tool_choice": {"type": "required"}}, "tool_choice.type", "'auto', 'any', 'tool' or 'none'"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice", "needs `name`"),
    ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens", "valid integer"),
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format", "must be json_schema"),
    ({"output_format": {"type": "json_schema"}}, "output_format", "needs `schema`"),
    ({"max_cost": -1}, "max_cost", "greater than or equal to 0"),
    ({"max_costs": 1}, "max_costs", "did you mean max_cost?"),
]


@pytest.mark.parametrize(("fields", "param", "words"), BAD, ids=[f"{param}: {words}" for _, param, words in BAD])
def test_a_bad_field_is_a_400_that_names_it(
    messages: Function, fake: FakeProvider, claude: FakeProvider, fields: dict[str, Any], param: str, words: str
) -> None:
    answer = post(messages, **fields)
    found = error(answer)
    assert (answer.status, found["type"], found["param"]) == (400, "invalid_request_error", param)
    assert words in found["message"]
    assert not fake.received
    assert not claude.received


def test_a_request_without_a_limit_is_refused_as_anthropic_refuses_it(messages: Function) -> None:
    answer = messages("POST", PATH, {"model": "gpt", "messages": HI})
    assert (answer.status, error(answer)["message"]) == (400, "max_tokens: field required")


@pytest.mark.parametrize(
    "block",
    [
        IMAGE_AT,
        document(type="url", url=PRIVATE),
        document(type="content", content=[IMAGE_AT]),
        result([IMAGE_AT]),
        {"type": "video", "source": {"type": "url", "url": PRIVATE}},
        {"type": "container_upload", "file_id": PRIVATE},
        {"type": "search_result", "source": "a", "title": "b", "content": [IMAGE_AT]},
        {"type": "other", "content": {"within": [[{"content": [IMAGE_AT]}]]}},
    ],
    ids=["image", "document", "in a document", "in a result", "other", "file", "in another", "deep in another"],
)
def test_an_address_that_is_not_public_is_refused_wherever_it_is(
    messages: Function, claude: FakeProvider, block: dict[str, Any]
) -> None:
    for path in (PATH, COUNT_PATH):
        answer = post(messages, path, messages=user(block))
        assert (answer.status, error(answer)["type"]) == (400, "invalid_request_error")
        assert "public" in error(answer)["message"]
    assert not claude.received


def test_an_inline_image_must_be_one(messages: Function) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "SGVsbG8="}
    answer = post(messages, messages=user({"type": "image", "source": source}))
    assert (answer.status, error(answer)["param"]) == (400, "messages[0].content[0]")


@pytest.mark.parametrize(
    ("raw", "words"), [("{", "not JSON"), ("[]", "must be a JSON object"), ('{"messages": 1}', "messages")]
)
def test_a_body_that_is_no_request_is_a_400(messages: Function, raw: str, words: str) -> None:
    for path in (PATH, COUNT_PATH):
        answer = messages("POST", path, raw=raw)
        assert answer.status == 400
        assert words in error(answer)["message"]


def test_an_image_by_url_is_named_by_its_path_in_the_request() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    turns = [*HI, {"role": "assistant", "content": [USE]}, *user(result([{"type": "text", "text": "x"}, image]))]
    fields = {"messages": turns, "system": "Be brief."}
    conversation = conversation_of(fields)
    (found,) = [block for message in conversation.messages for block in message.blocks if isinstance(block, Image)]
    assert image_param(found, fields) == "messages[2].content[0].content[1].source.url"


def test_deep_nesting_is_a_400(messages: Function) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = {"type": "text", "text": "x", "x": deep}
    answer = post(messages, model="gpt", messages=user(deep))
    assert answer.status in {200, 400}, answer.text
    nested: Any = []
    for _ in range(300):
        nested = [{"type": "document", "source": {"type": "content", "content": nested}}]
    answer = post(messages, model="gpt", messages=user(*nested))
    assert answer.status == 400, answer.text


def test_the_model_may_be_left_to_the_bridge(messages: Function) -> None:
    for model in ("auto", None):
        assert ask(messages, model=model)["bridge"]["provider_id"] == "anthropic"


def test_the_system_may_be_texts_and_messages(messages: Function, fake: FakeProvider) -> None:
    system = [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Hi."},
    ]
    conversation = [*HI, {"role": "system", "content": [{"type": "text", "text": "It is Sunday."}]}]
    ask(messages, model="gpt", system=system, messages=conversation)
    sent = fake.received[0].body["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "system"]
    assert "Be brief." in str(sent[0]["content"])
    assert sent[2]["content"] == "It is Sunday."


def test_the_bridges_own_fields_may_be_headers(messages: Function, claude: FakeProvider) -> None:
    headers = {"x-bridge-preferred-model": "gpt", "x-bridge-max-cost": "0.5"}
    answer = post(messages, headers=headers)
    assert answer.json()["bridge"]["provider_id"] == "openai"
    assert not claude.received
    bad = post(messages, headers={"x-bridge-max-cost": "much"})
    assert (bad.status, error(bad)["param"]) == (400, "x-bridge-max-cost")


@pytest.mark.parametrize("model", ["gpt", "claude-opus-4-6", "llama"])
@pytest.mark.parametrize("path", [PATH, COUNT_PATH])
def test_a_conversation_that_the_server_would_hold_is_refused_in_the_words_after_which_anthropics_client_sends_it_whole(
    messages: Function, fake: FakeProvider, path: str, model: str
) -> None:
    """Without the messages that are not sent again, the model would answer another conversation."""
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        refused = error(post(messages, path, model=model, thread=thread))
        assert refused["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert "send all messages" in refused["message"]
    assert fake.received == []
    assert post(messages, path, model=model, thread=None).status == 200


def test_only_anthropic_can_summarize_a_conversation(messages: Function) -> None:
    refused = error(post(messages, model="gpt", compaction={"type": "summarize"}))
    assert "compaction" in refused["message"]


@pytest.mark.parametrize("name", ["anthropic-version", "anthropic-beta"])
@pytest.mark.parametrize("value", ["caf\u00e9", "a\0b", "a\r\nx-api-key: b", "a" * 5000])
def test_a_header_that_cannot_be_sent_on_is_the_callers_to_correct_and_no_failure_of_the_provider(
    messages: Function, claude: FakeProvider, name: str, value: str
) -> None:
    for path in (PATH, COUNT_PATH):
        answer = post(messages, path, model="claude-opus-4-6", headers={name: value})
        assert (answer.status, error(answer)["param"]) == (400, name)
    assert not claude.received
    assert ask(messages, model="claude-opus-4-6")["bridge"]["provider_id"] == "anthropic"


@pytest.mark.parametrize("name", ["system", "tools", "tool_choice", "thinking", "output_config", "metadata", "x_new"])
def test_a_field_that_is_null_is_none(messages: Function, claude: FakeProvider, name: str) -> None:
    ask(messages, model="claude-opus-4-6", **{name: None})
    assert name not in claude.received[0].body

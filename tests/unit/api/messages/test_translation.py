"""What becomes of a Messages request for models of other formats, and of their answers."""

import json
from typing import Any

import pytest

from sekha_llm_bridge.api.conversations.packed_reasoning import is_packed
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import HI, ask, error, function, post, stream

OPENAI_PATH, OLLAMA_PATH = "/v1/chat/completions", "/api/chat"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
TOOL = {"name": "read", "input_schema": {"type": "object", "properties": {}}}
DONE = b"data: [DONE]\n\n"


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def result(*content: dict[str, Any], call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": list(content), **fields}


def after_calls(*content: dict[str, Any], calls: tuple[dict[str, Any], ...] = (USE,)) -> list[dict[str, Any]]:
    return [*HI, {"role": "assistant", "content": list(calls)}, {"role": "user", "content": list(content)}]


def sent_messages(fake: FakeProvider, path: str = OPENAI_PATH) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fake.calls(path)[-1].body["messages"]
    return found


def test_images_in_results_are_in_the_users_message_after_all_results(messages: Function, fake: FakeProvider) -> None:
    second = {**USE, "id": "toolu_2"}
    content = (result(text("a picture"), IMAGE), result(text("plain"), call_id="toolu_2"), text("And?"))
    ask(messages, model="gpt", tools=[TOOL], messages=after_calls(*content, calls=(USE, second)))
    assert [message["role"] for message in sent_messages(fake)] == ["user", "assistant", "tool", "tool", "user"]
    first, other, user = sent_messages(fake)[2:]
    assert first["content"] == "a picture\n(See the next message of the user.)"
    assert other["content"] == "plain"
    assert user["content"] == [text("From the result of the call toolu_1:"), IMAGE_URL, text("And?")]


def test_images_in_last_results_get_a_message_of_their_own(messages: Function, fake: FakeProvider) -> None:
    ask(messages, model="gpt", tools=[TOOL], messages=after_calls(result(IMAGE)))
    assert sent_messages(fake)[-2]["content"] == "(See the next message of the user.)"
    assert sent_messages(fake)[-1] == {
        "role": "user",
        "content": [text("From the result of the call toolu_1:"), IMAGE_URL],
    }


@pytest.mark.parametrize(("model", "path"), [("gpt", OPENAI_PATH), ("llama", OLLAMA_PATH)])
def test_a_failed_call_is_said_in_words(
    messages: Function, fake: FakeProvider, second: FakeProvider, model: str, path: str
) -> None:
    ask(messages, model=model, tools=[TOOL], messages=after_calls(result(text("no such file"), is_error=True)))
    (found,) = [one for one in sent_messages(fake if model == "gpt" else second, path) if one["role"] == "tool"]
    assert found["content"] == "The call failed:\nno such file"


@pytest.mark.parametrize(("model", "path"), [("gpt", OPENAI_PATH), ("llama", OLLAMA_PATH)])
@pytest.mark.parametrize(
    "source",
    [
        {"type": "text", "media_type": "text/plain", "data": "One.\nTwo."},
        {"type": "content", "content": [text("One."), text("Two.")]},
        {"type": "content", "content": "One.\nTwo."},
    ],
)
def test_a_document_that_is_a_text_is_sent_as_a_text(
    messages: Function, fake: FakeProvider, second: FakeProvider, model: str, path: str, source: dict[str, Any]
) -> None:
    document = {"type": "document", "source": source, "title": "Numbers"}
    ask(messages, model=model, messages=[{"role": "user", "content": [document]}], max_cost=1)
    (sent,) = sent_messages(fake if model == "gpt" else second, path)
    body = "Numbers\nOne.\nTwo."
    assert sent["content"] == ([text(body)] if model == "gpt" else body)


def test_a_pdf_is_a_file(messages: Function, fake: FakeProvider) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    document = {"type": "document", "source": source, "title": "a.pdf"}
    ask(messages, model="gpt", messages=[{"role": "user", "content": [document]}])
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}
    assert sent_messages(fake)[0]["content"] == [{"type": "file", "file": file}]


ONLY_ANTHROPICS: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools of type web_search_20250305"),
    (
        {"messages": [{"role": "user", "content": [{"type": "search_result", "source": "x", "title": "x"}]}]},
        "content of type search_result",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "uploaded files",
    ),
    ({"mcp_servers": [{"type": "url", "url": "https://example.org", "name": "x"}]}, "mcp_servers"),
    ({"container": "container_1"}, "container"),
]


@pytest.mark.parametrize(("fields", "part"), ONLY_ANTHROPICS, ids=[part for _, part in ONLY_ANTHROPICS])
def test_what_only_anthropic_has_excludes_other_models(
    messages: Function, claude: FakeProvider, fields: dict[str, Any], part: str
) -> None:
    refused = post(messages, model="gpt", **fields)
    assert (refused.status, error(refused)["code"]) == (400, "no_capable_model")
    assert f"openai has no Anthropic-only {part}" in error(refused)["message"]
    if part != "uploaded files":  # this model sees no images
        assert ask(messages, model="auto", **fields)["bridge"]["provider_id"] == "anthropic"


def test_a_schema_for_the_answer_is_translated_in_both_of_its_places(messages: Function, fake: FakeProvider) -> None:
    closed = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    open_ = {**closed, "required": []}
    ask(messages, model="gpt", output_config={"format": {"type": "json_schema", "schema": closed}})
    ask(messages, model="gpt", output_format={"type": "json_schema", "schema": open_})
    first, other = (request.body["response_format"]["json_schema"] for request in fake.calls(OPENAI_PATH))
    assert first == {"name": "answer", "schema": closed, "strict": True}
    assert other == {"name": "answer", "schema": open_}


EFFORTS: list[tuple[dict[str, Any], str | None, Any]] = [
    ({}, None, None),
    ({"thinking": {"type": "adaptive"}}, None, None),
    ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low", True),
    ({"output_config": {"effort": "max"}}, "high", True),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "low", True),
    ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "medium", True),
    ({"thinking": {"type": "enabled", "budget_tokens": 30_000}}, "high", True),
    ({"thinking": {"type": "disabled"}}, "none", False),
]


@pytest.mark.parametrize(("fields", "effort", "think"), EFFORTS)
def test_what_is_said_about_thinking_is_an_effort_for_other_models(
    messages: Function, fake: FakeProvider, second: FakeProvider, fields: dict[str, Any], effort: str | None, think: Any
) -> None:
    body = ask(messages, model="gpt", max_tokens=32_000, **fields)
    assert fake.calls(OPENAI_PATH)[0].body.get("reasoning_effort") == effort
    assert "thinking" not in fake.calls(OPENAI_PATH)[0].body
    assert body["bridge"]["notes"] == []
    ask(messages, model="llama", max_tokens=32_000, **fields)
    assert second.calls(OLLAMA_PATH)[0].body.get("think") == think


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_model_that_rejects_the_effort_is_asked_again_without_it_and_the_receipt_says_so(
    messages: Function, fake: FakeProvider, *, is_stream: bool
) -> None:
    message = "Unsupported parameter: 'reasoning_effort' is not supported with this model."
    rejection = {"error": {"message": message, "type": "invalid_request_error", "param": "reasoning_effort"}}
    fake.script(OPENAI_PATH, Reply(400, rejection))
    fields: dict[str, Any] = {"model": "gpt", "output_config": {"effort": "low"}}
    receipt = stream(messages, **fields).ending["bridge"] if is_stream else ask(messages, **fields)["bridge"]
    assert receipt["notes"] == ["left out, because the model does not take it: the effort of reasoning"]
    assert "reasoning_effort" not in fake.calls(OPENAI_PATH)[1].body
    ask(messages, **fields)
    assert "reasoning_effort" not in fake.calls(OPENAI_PATH)[2].body  # it is remembered


def test_a_later_system_message_becomes_the_users_where_a_server_takes_it_only_at_the_beginning(
    messages: Function, fake: FakeProvider
) -> None:
    conversation = [*HI, {"role": "system", "content": "Today is Sunday."}]
    ask(messages, model="gpt", system="Be brief.", messages=conversation)
    as_sent = [{"role": "system", "content": "Be brief."}, *HI, {"role": "system", "content": "Today is Sunday."}]
    assert sent_messages(fake) == as_sent
    fake.script(OPENAI_PATH, Reply(400, {"error": {"message": "System message must be at the beginning."}}))
    ask(messages, model="gpt", system="Be brief.", messages=conversation)
    in_tags = "<system_message>\nToday is Sunday.\n</system_message>"
    assert sent_messages(fake) == [as_sent[0], {"role": "user", "content": [text("Hello"), text(in_tags)]}]


def test_a_system_prompt_in_marked_parts_is_one_text_for_servers_without_marks(fake: FakeProvider) -> None:
    marked = [{**text("One."), "cache_control": {"type": "ephemeral"}}, text("Two.")]
    section = {"base_url": f"{fake.url}/v1", "provider_type": "azure_openai"}
    ask(function(provider("azure", chat_model("gpt"), **section)), system=marked)
    assert fake.received[0].body["messages"][0] == {"role": "system", "content": "One.\nTwo."}


def test_texts_in_parts_are_joined_where_a_server_takes_no_parts(messages: Function, fake: FakeProvider) -> None:
    fake.script(
        OPENAI_PATH, Reply(400, {"error": {"message": "messages[0]: invalid type: sequence, expected a string"}})
    )
    ask(messages, model="gpt", messages=[{"role": "user", "content": [text("One."), text("Two.")]}])
    assert sent_messages(fake) == [{"role": "user", "content": "One.\nTwo."}]


def test_gemini_gets_earlier_calls_that_it_has_not_signed_with_its_mark_for_them(
    messages: Function, fake: FakeProvider
) -> None:
    words = "Function call is missing a thought_signature in functionCall parts."
    fake.script(OPENAI_PATH, Reply(400, {"error": {"message": words}}))
    ask(messages, model="gpt", tools=[TOOL], messages=after_calls(result(text("x"))))
    (call,) = sent_messages(fake)[1]["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "skip_thought_signature_validator"}}


def test_the_reasoning_of_any_model_is_thinking_and_comes_back_to_it(fake: FakeProvider) -> None:
    messages = function(provider("p", chat_model("gpt"), provider_type="openrouter", base_url=f"{fake.url}/v1"))
    details = [
        {"type": "reasoning.summary", "summary": "I add.", "format": "openai-responses-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
    ]
    fake.script(OPENAI_PATH, Reply(body=chat_completion("4", reasoning_details=details)))
    answer = ask(messages, model="gpt")
    assert [block["type"] for block in answer["content"]] == ["thinking", "redacted_thinking", "text"]
    assert answer["content"][0]["thinking"] == "I add."
    ask(messages, model="gpt", messages=[*HI, {"role": "assistant", "content": answer["content"]}, *HI])
    returned = sent_messages(fake)[1]
    assert (returned["content"], returned["reasoning_content"]) == ("4", "I add.")
    assert returned["reasoning_details"] == [
        {"type": "reasoning.summary", "summary": "I add.", "format": "openai-responses-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
    ]


def test_streamed_reasoning_is_a_block_before_the_text(messages: Function, fake: FakeProvider) -> None:
    parts = [
        chunk({"role": "assistant", "reasoning_content": "I "}),
        chunk({"reasoning_content": "add."}),
        chunk({"content": "4"}),
        chunk({}, finish="stop"),
    ]
    fake.script(OPENAI_PATH, Reply(stream=Stream([*parts, DONE])))
    thought, said = stream(messages, model="gpt").message["content"]
    assert (thought["type"], thought["thinking"], said["text"]) == ("thinking", "I add.", "4")
    assert is_packed(thought["signature"])


@pytest.mark.parametrize(
    ("finish", "expected"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("eos", "end_turn")],
)
def test_the_end_of_an_answer_is_said_in_anthropics_words(
    messages: Function, fake: FakeProvider, finish: str, expected: str
) -> None:
    body: dict[str, Any] = chat_completion("Hello")
    body["choices"][0]["finish_reason"] = finish
    fake.script(OPENAI_PATH, Reply(body=body))
    assert ask(messages, model="gpt")["stop_reason"] == expected


def test_the_stop_sequence_is_named_where_the_server_says_it(messages: Function, fake: FakeProvider) -> None:
    body: dict[str, Any] = chat_completion("Hello")
    body["choices"][0]["stop_reason"] = "END"  # vLLM
    fake.script(OPENAI_PATH, Reply(body=body))
    found = ask(messages, model="gpt", stop_sequences=["END"])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")


def test_a_refusal_is_a_text_and_says_so(messages: Function, fake: FakeProvider) -> None:
    fake.script(OPENAI_PATH, Reply(body=chat_completion(None, refusal="I must not.")))
    body = ask(messages, model="gpt")
    assert (body["content"][0]["text"], body["stop_reason"]) == ("I must not.", "refusal")
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "I must not."}


def test_ids_of_calls_are_such_that_anthropic_takes_them_and_never_twice(
    messages: Function, fake: FakeProvider
) -> None:
    def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": "read", "arguments": arguments}}

    calls = [call("functions.read:0"), call("toolu_1"), call("fine")]
    fake.script(OPENAI_PATH, Reply(body=chat_completion(None, tool_calls=calls)))
    answer = ask(messages, model="gpt", tools=[TOOL], messages=after_calls(result(text("x"))))
    ids = [block["id"] for block in answer["content"]]
    assert ids[2] == "fine"
    assert "toolu_1" not in ids
    assert len({*ids, "toolu_1"}) == 4
    assert all(one.replace("_", "").replace("-", "").isalnum() for one in ids)


def test_arguments_that_were_cut_off_are_kept_as_a_text(messages: Function, fake: FakeProvider) -> None:
    cut = {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a'}}
    body: dict[str, Any] = chat_completion(None, tool_calls=[cut])
    body["choices"][0]["finish_reason"] = "length"
    fake.script(OPENAI_PATH, Reply(body=body))
    found = ask(messages, model="gpt", tools=[TOOL])
    assert (found["content"][0]["input"], found["stop_reason"]) == ({"arguments": '{"path": "a'}, "max_tokens")


def test_what_agents_always_send_is_no_unbounded_cost(messages: Function, fake: FakeProvider) -> None:
    agents: dict[str, Any] = {
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "thinking": {"type": "adaptive"},
        "service_tier": "standard_only",
        "speed": "standard",
        "inference_geo": "global",
        "tools": [{"type": "bash_20250124", "name": "bash"}],
    }
    assert ask(messages, max_cost=0.5, **agents)["bridge"]["provider_id"] == "anthropic"
    compacting = {"type": "compact_20260112"}
    for management in ({"edits": [compacting]}, {"edits": [], "compaction": compacting}):
        refused = post(messages, model="claude-opus-4-6", max_cost=0.5, context_management=management)
        assert (refused.status, error(refused)["code"]) == (402, "cost_limit_exceeded")


def test_a_field_that_another_format_does_not_have_is_noted(messages: Function) -> None:
    management = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    for model, provider_id in (("gpt", "openai"), ("llama", "local")):
        body = ask(messages, model=model, context_management=management, metadata={"user_id": "u"})
        assert body["bridge"]["notes"] == [f"{provider_id} has no place for: context_management"]


def test_a_stream_of_interleaved_parts_is_in_order_and_complete(messages: Function, fake: FakeProvider) -> None:
    def fragment(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        name = {"name": "read"} if first else {}
        return {"tool_calls": [{"index": index, **first, "function": {**name, "arguments": arguments}}]}

    parts = [
        chunk({"role": "assistant", "content": "One"}),
        chunk(fragment(0, "", id="a", type="function")),
        chunk({"content": " two"}),
        chunk(fragment(1, '{"path": "b"}', id="b", type="function")),
        chunk(fragment(0, '{"path": "a"}')),
        chunk({"content": "three"}),
        chunk({}, finish="tool_calls"),
    ]
    fake.script(OPENAI_PATH, Reply(stream=Stream([*parts, DONE])))
    found = stream(messages, model="gpt", tools=[TOOL])
    content = [block.get("text") or json.dumps(block["input"]) for block in found.message["content"]]
    assert content == ["One", '{"path": "a"}', " two", '{"path": "b"}', "three"]

"""What is refused, and that the error says what to do instead."""

from typing import Any

import pytest

from sekha_llm_bridge.api.responses.errors import failure_code
from sekha_llm_bridge.errors import BridgeError, ContextLengthExceeded, FailureKind, ProviderError, RateLimited
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.response_events import Event
from tests.unit.api.responses_function import CHAT_PATH, ask, error

PRIVATE = "http://169.254.169.254/latest"


def refused(responses: Function, **fields: Any) -> Event:
    found = ask(responses, **fields)
    assert found.status == 400, found.text
    body = error(found)
    assert body["type"] == "invalid_request_error"
    return body


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("previous_response_id", "resp_1", "send the whole conversation in `input`"),
        ("conversation", "conv_1", "send the whole conversation in `input`"),
        ("conversation", {"id": "conv_1"}, "send the whole conversation in `input`"),
        ("background", True, "set `stream`"),
        ("prompt", {"id": "pmpt_1"}, "`instructions`"),
        ("moderation", {"model": "omni"}, "check the texts"),
    ],
)
def test_what_needs_a_store_or_another_service_is_refused_with_the_way_out(
    responses: Function, name: str, value: object, way_out: str
) -> None:
    found = refused(responses, **{name: value})
    assert found["param"] == name
    assert way_out in found["message"]


@pytest.mark.parametrize(
    ("tool", "way_out"),
    [
        ({"type": "web_search"}, 'web_search = "disabled"'),
        ({"type": "web_search_preview"}, "type `function`"),
        ({"type": "web_search_2025_08_26"}, 'web_search = "disabled"'),
        ({"type": "file_search", "vector_store_ids": []}, "POST /api/v1/search"),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "type `function`"),
        ({"type": "computer_use_preview"}, "type `function`"),
        ({"type": "image_generation"}, "type `function`"),
        ({"type": "mcp", "server_label": "s"}, "connect the client to that server"),
        ({"type": "local_shell"}, "type `function`"),
        ({"type": "shell"}, "type `function`"),
        ({"type": "apply_patch"}, "`custom`"),
        ({"type": "tool_search"}, "list every tool in `tools`"),
        ({"type": "tool_search", "execution": "server"}, "list every tool in `tools`"),
        ({"type": "x_new"}, "the types are `function`, `custom`, `namespace`"),
    ],
)
def test_openais_own_tools_are_refused_with_the_way_out(responses: Function, tool: Event, way_out: str) -> None:
    found = refused(responses, tools=[{"type": "function", "name": "f"}, tool])
    assert found["param"] == "tools[1]"
    assert way_out in found["message"]
    chosen = refused(responses, tool_choice={"type": tool["type"]})
    assert chosen["param"] == "tool_choice"


@pytest.mark.parametrize(
    ("item", "way_out"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "`store: false`"),
        ({"id": "msg_1"}, "`store: false`"),
        ({"type": "compaction", "encrypted_content": "x"}, "the items that it stands for"),
        ({"type": "computer_call", "call_id": "c"}, "custom tools with their outputs"),
    ],
)
def test_items_that_stand_for_something_stored_are_refused_with_the_way_out(
    responses: Function, item: Event, way_out: str
) -> None:
    found = refused(responses, input=[{"role": "user", "content": "Hi"}, item])
    assert found["param"] == "input[1]"
    assert way_out in found["message"]


def message(*parts: Event) -> list[Event]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": [{}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]"),
        ({"input": message({"type": "input_text"})}, "input[0].content[0]"),
        ({"input": message({"type": "input_video", "text": "x"})}, "input[0].content[0]"),
        ({"input": message({"type": "input_image", "image_url": PRIVATE})}, "input[0].content[0].image_url"),
        ({"input": message({"type": "input_image", "file_id": "file-1"})}, "input[0].content[0]"),
        (
            {"input": message({"type": "input_image", "image_url": "data:image/png;base64,!"})},
            "input[0].content[0].image_url",
        ),
        ({"input": message({"type": "input_file", "file_url": PRIVATE})}, "input[0].content[0]"),
        ({"input": message({"type": "input_file"})}, "input[0].content[0]"),
        ({"input": message({"type": "input_file", "file_data": "data:text/plain,x"})}, "input[0].content[0]"),
        ({"input": message({"type": "input_file", "file_data": PRIVATE})}, "input[0].content[0]"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"truncation": "middle"}, "truncation"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "f"}]}, "tools"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0]"),
        ({"tools": [{"type": "custom", "name": "f", "format": {"type": "grammar"}}]}, "tools[0]"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": "f"}}, "tool_choice.tools"),
        ({"tool_choice": {"type": "allowed_tools", "mode": [], "tools": []}}, "tool_choice.mode"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(responses: Function, fields: Event, param: str) -> None:
    found = refused(responses, **fields)
    assert found["param"] == param
    assert found["message"].startswith(param)


def test_a_body_that_is_nested_too_deeply_is_an_error_of_the_caller(responses: Function) -> None:
    nested: Any = {}
    for _ in range(300):
        nested = {"a": nested}
    refused(responses, tools=[{"type": "function", "name": "f", "x_new": nested}])
    refused(responses, tools=[{"type": "function", "name": "f", "parameters": nested}])
    refused(responses, reasoning={"x_new": nested})
    search = {"type": "tool_search_call", "execution": "client", "call_id": "c", "arguments": nested}
    refused(responses, input=[search])


@pytest.mark.parametrize(
    ("param", "name"),
    [("messages[3].content", "input"), ("response_format", "text.format"), ("user", "user"), (None, None)],
)
def test_a_providers_error_names_the_field_as_the_caller_knows_it(
    responses: Function, fake: FakeProvider, param: str | None, name: str | None
) -> None:
    fake.script(CHAT_PATH, Reply(400, {"error": {"message": "it is wrong", "param": param}}))
    assert refused(responses, text={"format": {"type": "json_object"}}, user="u")["param"] == name


def test_too_long_a_conversation_is_an_error_about_the_input(responses: Function) -> None:
    found = refused(responses, input="word " * 20_000)
    assert (found["code"], found["param"]) == ("context_length_exceeded", "input")


def test_a_providers_error_about_the_request_is_passed_on(responses: Function, fake: FakeProvider) -> None:
    fake.script(CHAT_PATH, Reply(400, {"error": {"message": "temperature must be 1", "param": "temperature"}}))
    found = ask(responses, temperature=0.5)
    assert found.status == 400
    assert "temperature must be 1" in error(found)["message"]


@pytest.mark.parametrize(
    ("failed", "code"),
    [
        (ContextLengthExceeded("too long"), "context_length_exceeded"),
        (ProviderError(FailureKind.CONTEXT_LENGTH_EXCEEDED, "too long"), "context_length_exceeded"),
        (ProviderError(FailureKind.REQUEST_REJECTED, "no", provider_status=422), "invalid_prompt"),
        (RateLimited("wait", retry_after_s=1.0), "rate_limit_exceeded"),
        (ProviderError(FailureKind.SERVER_ERROR, "no"), "server_error"),
    ],
)
def test_a_failed_stream_says_what_is_in_vain(failed: BridgeError, code: str) -> None:
    """Codex asks again for every other code (codex-rs/codex-api/src/sse/responses.rs)."""
    assert failure_code(failed) == code


def test_a_compressed_body_is_refused_with_the_way_out(responses: Function) -> None:
    """Codex compresses its requests unless it is told not to (SaladDay/cc-switch-cli issue 469)."""
    headers = {"content-type": "application/json", "content-encoding": "zstd"}
    found = responses("POST", "/v1/responses", raw="(\ufffd/\ufffd", headers=headers)
    assert (found.status, error(found)["message"][:16]) == (400, "the body is zstd")
    assert "enable_request_compression" in error(found)["message"]

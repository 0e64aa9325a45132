"""What a provider of chat completions gets for a request for a response."""

from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.response_events import Event
from tests.fakes.settings import chat_model, provider
from tests.unit.api.responses_function import CHAT_PATH, answer, ask, error, function, sent_to

PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = "data:application/pdf;base64,JVBERi0xLjQK"
CALL: Event = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
OUTPUT: Event = {"type": "function_call_output", "call_id": "c1", "output": "42"}
SENT_CALL: Event = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SENT_OUTPUT: Event = {"role": "tool", "tool_call_id": "c1", "content": "42"}


def user(content: Any) -> Event:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Event:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("sent", "messages"),
    [
        ("Hello", [user("Hello")]),
        ([user("Hello")], [user("Hello")]),
        ([{"type": "message", **user([{"type": "input_text", "text": "Hello"}])}], [user("Hello")]),
        (
            [user([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}])],
            [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        ),
        (
            [{"role": "developer", "content": "Be kind."}, user("Hi")],
            [{"role": "developer", "content": "Be kind."}, user("Hi")],
        ),
        (
            [user([{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": PNG, "detail": "low"}])],
            [
                user(
                    [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]
                )
            ],
        ),
        (
            [user([{"type": "input_file", "file_data": PDF, "filename": "a.pdf"}])],
            [user([{"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}])],
        ),
        (
            [user([{"type": "input_file", "file_url": "https://example.org/a.pdf"}])],
            [user([{"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}])],
        ),
        (
            [user([{"type": "input_file", "file_id": "file-1"}])],
            [user([{"type": "file", "file": {"file_id": "file-1"}}])],
        ),
        (
            [user([{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}])],
            [user([{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}])],
        ),
        (
            [user("Hi"), assistant([{"type": "refusal", "refusal": "No."}]), user("Why?")],
            [user("Hi"), assistant(None, refusal="No."), user("Why?")],
        ),
        ([user("Hi"), CALL, OUTPUT], [user("Hi"), assistant(None, tool_calls=[SENT_CALL]), SENT_OUTPUT]),
    ],
)
def test_the_input_becomes_messages(responses: Function, fake: FakeProvider, sent: Any, messages: list[Event]) -> None:
    answer(responses, input=sent)
    assert sent_to(fake)["messages"] == messages


def test_instructions_come_before_everything_else(responses: Function, fake: FakeProvider) -> None:
    answer(responses, instructions="Be kind.", input=[{"role": "system", "content": "Be brief."}, user("Hi")])
    assert [message["content"] for message in sent_to(fake)["messages"]] == ["Be kind.", "Be brief.", "Hi"]


def test_a_turn_of_the_assistant_is_one_message(responses: Function, fake: FakeProvider) -> None:
    """Providers of chat completions take calls only together, in the message before their results."""
    other = {**CALL, "call_id": "c2", "name": "g"}
    turn = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "type": "message",
            "id": "msg_1",
            **assistant([{"type": "output_text", "text": "I do it.", "annotations": []}]),
        },
        *(CALL, other, OUTPUT, {**OUTPUT, "call_id": "c2"}),
    ]
    answer(responses, input=[user("Hi"), *turn])
    calls = [SENT_CALL, {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"a": 1}'}}]
    assert sent_to(fake)["messages"] == [
        user("Hi"),
        assistant("I do it.", tool_calls=calls, reasoning_content="Hm."),
        *(SENT_OUTPUT, {**SENT_OUTPUT, "tool_call_id": "c2"}),
    ]


def test_two_messages_of_the_assistant_stay_two(responses: Function, fake: FakeProvider) -> None:
    answer(responses, input=[user("Hi"), assistant("One."), assistant("Two."), user("Go on.")])
    assert sent_to(fake)["messages"] == [user("Hi"), assistant("One."), assistant("Two."), user("Go on.")]


def test_an_answer_that_was_stopped_while_reasoning_has_an_empty_text(responses: Function, fake: FakeProvider) -> None:
    stopped = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    answer(responses, input=[user("Hi"), stopped, user("Go on.")])
    assert sent_to(fake)["messages"][1] == assistant("", reasoning_content="Hm.")


def test_images_in_results_are_shown_after_all_results_of_the_turn(responses: Function, fake: FakeProvider) -> None:
    shown = [{"type": "input_text", "text": "Read it:"}, {"type": "input_image", "image_url": PNG}]
    items = [CALL, {**CALL, "call_id": "c2"}, {**OUTPUT, "output": shown}, {**OUTPUT, "call_id": "c2"}]
    answer(responses, input=[user("Hi"), *items, assistant("I see.")])
    assert sent_to(fake)["messages"][2:] == [
        {**SENT_OUTPUT, "content": "Read it:\n(See the next message of the user.)"},
        {**SENT_OUTPUT, "tool_call_id": "c2"},
        user(
            [
                {"type": "text", "text": "From the result of the call c1:"},
                {"type": "image_url", "image_url": {"url": PNG}},
            ]
        ),
        assistant("I see."),
    ]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_output_tokens": 100}, {"max_tokens": 100}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"user": "u"}, {"user": "u"}),
    ],
)
def test_settings_have_chat_completions_names(
    responses: Function, fake: FakeProvider, fields: Event, sent: Event
) -> None:
    answer(responses, **fields)
    body = sent_to(fake)
    assert {name: body[name] for name in body.keys() - {"model", "messages"}} == sent


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": "b"}, "store": False, "truncation": "disabled", "parallel_tool_calls": True},
        {"client_metadata": {"thread_id": "t"}, "prompt_cache_key": "k", "safety_identifier": "s"},
        {"text": {"format": {"type": "text"}}, "include": ["reasoning.encrypted_content"], "background": False},
        {"stream_options": {"include_obfuscation": False}, "previous_response_id": None, "tools": []},
    ],
)
def test_what_does_not_change_the_answer_is_not_sent_and_not_noted(
    responses: Function, fake: FakeProvider, fields: Event
) -> None:
    found = answer(responses, **fields)
    assert sent_to(fake).keys() == {"model", "messages"}
    assert found["bridge"]["notes"] == []


def test_openai_gets_what_both_of_its_formats_have(fake: FakeProvider) -> None:
    azure = provider("azure", chat_model("gpt"), provider_type="azure_openai", base_url=f"{fake.url}/v1", api_key="k")
    fields = {"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k"}
    answer(function(azure), metadata={"a": "b"}, **fields)
    assert {name: sent_to(fake).get(name) for name in (*fields, "metadata")} == {**fields, "metadata": None}


def test_what_the_bridge_does_not_do_is_noted(responses: Function) -> None:
    notes = answer(responses, store=True, truncation="auto", x_new=1)["bridge"]["notes"]
    assert [note.partition(":")[0] for note in notes] == ["truncation", "store", "first has no place for"]
    assert notes[-1].endswith(": x_new")


@pytest.mark.parametrize("kind", ["anthropic", "ollama"])
def test_the_verbosity_excludes_no_model_and_is_noted(fake: FakeProvider, kind: str) -> None:
    """Codex sends it with every request for a model that it knows by its name."""
    model = chat_model("m", max_output_tokens=4096)
    other = function(provider("other", model, provider_type=kind, base_url=fake.url, api_key="k"))
    notes = answer(other, text={"verbosity": "low"})["bridge"]["notes"]
    assert notes == ["other has no place for: verbosity"]


def test_a_server_that_does_not_know_the_verbosity_is_asked_without_it(responses: Function, fake: FakeProvider) -> None:
    fake.script(CHAT_PATH, Reply(400, {"error": {"message": "Unrecognized argument: verbosity", "param": "verbosity"}}))
    found = answer(responses, text={"verbosity": "low"})
    assert "verbosity" not in sent_to(fake)
    assert "verbosity" in found["bridge"]["notes"][0]


def test_a_response_says_again_what_was_asked_for(responses: Function) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "description": "F"}
    fields: Event = {
        "instructions": "Be kind.",
        "max_output_tokens": 50,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "medium"},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [tool],
        "top_logprobs": 1,
        "top_p": 0.9,
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "service_tier": "flex",
    }
    found = answer(responses, store=True, **fields)
    assert {name: found[name] for name in fields} == fields
    assert (found["store"], found["previous_response_id"], found["background"]) == (False, None, False)
    assert found["id"].startswith("resp_")


def test_the_bridges_own_fields_are_taken_from_the_body_and_from_headers(responses: Function) -> None:
    assert ask(responses, max_cost=0).status == 402
    headers = {"content-type": "application/json", "x-bridge-max-cost": "0"}
    assert responses("POST", "/v1/responses", {"input": "Hi"}, headers=headers).status == 402
    found = ask(responses, max_costs=1)
    assert (found.status, error(found)["message"]) == (400, "max_costs: did you mean max_cost?")


@pytest.mark.parametrize("kind", ["anthropic", "ollama"])
def test_other_formats_get_the_whole_conversation(fake: FakeProvider, kind: str) -> None:
    model = chat_model("m", supports_vision=True, max_output_tokens=4096)
    other = function(provider("other", model, provider_type=kind, base_url=fake.url, api_key="k"))
    shown = [{"type": "input_text", "text": "Read it:"}, {"type": "input_image", "image_url": PNG}]
    found = answer(
        other, input=[user("Hi"), CALL, {**OUTPUT, "output": shown}], tools=[{"type": "function", "name": "f"}]
    )
    assert found["output"][0]["content"][0]["text"] == "Hello from the fake."
    sent = str(fake.received[-1].body["messages"])
    assert all(text in sent for text in ("Hi", "'f'", "Read it:", PNG.partition(",")[2]))

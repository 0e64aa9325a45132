"""`POST /api/chat`, through the function's own handler, against providers over HTTP."""

import base64
import json
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from tests.fakes.functions import FakeContext, Function, rest_event
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, ndjson, ollama_chat, sse
from tests.fakes.settings import chat_model, provider
from tests.unit.api.ollama.function import CHAT, HI, ask, error, function, post, stream

DATA = base64.b64encode(png()).decode()
OPENAI_PATH = "/v1/chat/completions"
MODELS = {
    "gpt": "Hello from the fake.",
    "claude-opus-4-6": "Hello from Claude.",
    "llama3.1:8b": "Hello from the second.",
}
CALL = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
RESULT = {"role": "tool", "tool_name": "weather", "content": "11 °C"}


def sent_to(provider: FakeProvider) -> dict[str, Any]:
    """The body of the last request."""
    body: dict[str, Any] = provider.received[-1].body
    return body


@pytest.mark.parametrize(("model", "text"), MODELS.items())
def test_whole_and_streamed_answers_have_the_same_content_from_providers_of_each_format(
    ollama: Function, model: str, text: str
) -> None:
    whole, streamed = ask(ollama, model=model), stream(ollama, model=model)
    assert whole["message"] == {"role": "assistant", "content": text}
    assert (streamed.text, streamed.is_whole) == (text, True)
    assert (whole["model"], {line["model"] for line in streamed.lines}) == (model, {model})
    for name in ("done_reason", "prompt_eval_count", "eval_count"):
        assert whole[name] == streamed.last[name]
    assert (whole["bridge"]["model_id"], streamed.last["bridge"]["model_id"]) == (model, model)


def test_an_answer_is_streamed_unless_the_request_says_otherwise(ollama: Function) -> None:
    assert post(ollama, model="gpt").headers["content-type"] == "application/x-ndjson"
    assert post(ollama, model="gpt", stream=None).headers["content-type"] == "application/x-ndjson"
    assert post(ollama, model="gpt", stream=False).headers["content-type"] == "application/json"


@pytest.mark.parametrize("model", [None, "", "auto", "auto:latest", "chat_fast", "house:latest", "openai/gpt"])
def test_the_bridges_own_names_are_models_with_and_without_a_tag(ollama: Function, model: str | None) -> None:
    assert ask(ollama, model=model)["model"] in MODELS


@pytest.mark.parametrize(
    ("configured", "requested"),
    [("llama3.2", "llama3.2:latest"), ("llama3.2:latest", "llama3.2"), ("a/b", "a/b:latest"), ("a/b:latest", "a/b")],
)
@pytest.mark.parametrize("provider_type", ["ollama", "openai"])
def test_a_name_without_a_tag_means_the_same_as_with_latest(
    fake: FakeProvider, configured: str, requested: str, provider_type: str
) -> None:
    url = fake.url if provider_type == "ollama" else f"{fake.url}/v1"
    api = function(
        provider("p", chat_model(configured), provider_type=provider_type, base_url=url),
        aliases={"*": "auto"},
    )
    assert ask(api, model=requested)["model"] == configured
    assert sent_to(fake)["model"] == configured


def test_an_unknown_model_is_a_404_in_ollamas_words(ollama: Function) -> None:
    answer = post(ollama, model="llama9")
    message, bridge = error(answer)
    assert answer.status == 404
    assert message.startswith("model 'llama9' not found: ")
    assert "llama3.1:8b" in message
    assert (bridge["code"], bridge["param"]) == ("model_not_found", "model")


def test_only_the_last_line_has_the_receipt_and_the_counts(ollama: Function) -> None:
    streamed = stream(ollama, model="gpt")
    assert [line["done"] for line in streamed.lines] == [False] * (len(streamed.lines) - 1) + [True]
    assert (streamed.last["prompt_eval_count"], streamed.last["eval_count"]) == (11, 7)
    assert streamed.last["message"] == {"role": "assistant", "content": ""}
    assert streamed.last["bridge"]["cost"] == 0.000025


def test_durations_are_measured_and_add_up(ollama: Function) -> None:
    streamed, whole = stream(ollama, model="gpt").last, ask(ollama, model="gpt")
    assert streamed["total_duration"] == streamed["prompt_eval_duration"] + streamed["eval_duration"]
    assert streamed["load_duration"] == 0
    assert whole["total_duration"] == whole["load_duration"] + whole["eval_duration"]
    assert whole["prompt_eval_duration"] == 0


@pytest.mark.parametrize("is_streamed", [True, False])
def test_where_ollama_answers_the_durations_of_the_model_are_its_own(
    ollama: Function, second: FakeProvider, *, is_streamed: bool
) -> None:
    durations = {"load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 3}
    body = ollama_chat("Hi", total_duration=5) | durations
    second.script(CHAT, Reply(stream=Stream([ndjson(body)])) if is_streamed else Reply(body=body))
    last = stream(ollama, model="llama3.1:8b").last if is_streamed else ask(ollama, model="llama3.1:8b")
    assert {name: last[name] for name in durations} == durations
    assert last["total_duration"] > 5


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "stop"), ("content_filter", "content_filter")],
)
def test_the_reason_of_the_end_has_ollamas_name(ollama: Function, fake: FakeProvider, finish: str, reason: str) -> None:
    body = chat_completion("Hi")
    body["choices"][0]["finish_reason"] = finish  # type: ignore[index]  # a body of JSON
    fake.script(
        OPENAI_PATH, Reply(body=body), Reply(stream=Stream([chunk({"content": "Hi"}), chunk({}, finish=finish)]))
    )
    assert ask(ollama, model="gpt")["done_reason"] == reason
    assert stream(ollama, model="gpt").last["done_reason"] == reason


def test_thinking_is_beside_the_text(ollama: Function, fake: FakeProvider, second: FakeProvider) -> None:
    fake.script(
        OPENAI_PATH,
        Reply(body=chat_completion("Yes.", reasoning_content="Hmm.")),
        Reply(
            stream=Stream([chunk({"reasoning_content": "Hmm."}), chunk({"content": "Yes."}), chunk({}, finish="stop")])
        ),
    )
    second.script(CHAT, Reply(body=ollama_chat("Yes.", thinking="Hmm.")))
    for model in ("gpt", "llama3.1:8b"):
        assert ask(ollama, model=model)["message"] == {"role": "assistant", "content": "Yes.", "thinking": "Hmm."}
    streamed = stream(ollama, model="gpt")
    assert (streamed.thinking, streamed.text) == ("Hmm.", "Yes.")


def test_a_call_comes_whole_with_its_arguments_as_an_object(ollama: Function, fake: FakeProvider) -> None:
    named = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": part}} for part in ('{"city"', ': "Oslo"}')]
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}}
    deltas: list[dict[str, Any]] = [
        {"content": "Let me see."},
        *({"tool_calls": [one]} for one in (named, *pieces, second)),
    ]
    fake.script(OPENAI_PATH, Reply(stream=Stream([*(chunk(one) for one in deltas), chunk({}, finish="tool_calls")])))
    streamed = stream(ollama, model="gpt", tools=[TOOL])
    assert streamed.text == "Let me see."
    assert streamed.tool_calls == [
        {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}}},
        {"id": "c2", "function": {"index": 1, "name": "time", "arguments": {}}},
    ]
    assert streamed.last["done_reason"] == "stop"


@pytest.mark.parametrize("arguments", ['{"city": "Os', "[]", "7"])
def test_a_call_that_was_cut_is_left_out_with_a_note(ollama: Function, fake: FakeProvider, arguments: str) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    fake.script(
        OPENAI_PATH,
        Reply(body=chat_completion("Hi", tool_calls=[call])),
        Reply(stream=Stream([chunk({"content": "Hi", "tool_calls": [call]}), chunk({}, finish="length")])),
    )
    note = "a tool call was left out: its arguments are no JSON object"
    whole, streamed = ask(ollama, model="gpt"), stream(ollama, model="gpt")
    assert "tool_calls" not in whole["message"]
    assert streamed.tool_calls == []
    assert whole["bridge"]["notes"] == [note]
    assert streamed.last["bridge"]["notes"][-1] == note
    assert streamed.last["done_reason"] == "length"


def ids_of(messages: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The ids of the calls and of the results, in OpenAI's messages."""
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    return calls, [message["tool_call_id"] for message in messages if message["role"] == "tool"]


def test_calls_without_ids_and_their_results_get_matching_ids_that_are_always_the_same(
    ollama: Function, fake: FakeProvider
) -> None:
    time = {"function": {"name": "time", "arguments": {}}}
    turn = [{"role": "assistant", "content": "", "tool_calls": [CALL, time, CALL]}]
    results = [{"role": "tool", "tool_name": name, "content": name} for name in ("time", "weather", "weather")]
    again = [{"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT]
    for _ in range(2):
        ask(ollama, model="gpt", messages=[*HI, *turn, *results, *again], tools=[TOOL])
    first, repeated = (request.body["messages"] for request in fake.received)
    assert first == repeated
    calls, found = ids_of(first)
    assert len(set(calls)) == 4
    assert found == [calls[1], calls[0], calls[2], calls[3]]
    assert all(len(one) == 9 and one.isalnum() for one in calls)
    assert [call["function"]["arguments"] for call in first[1]["tool_calls"]] == [
        '{"city":"Oslo"}',
        "{}",
        '{"city":"Oslo"}',
    ]


def test_ids_that_are_sent_are_kept_and_those_that_are_repeated_are_not(ollama: Function, fake: FakeProvider) -> None:
    with_id = {**CALL, "id": "c0"}
    messages = [
        *HI,
        {"role": "assistant", "content": "", "tool_calls": [with_id, {**CALL, "id": "c1"}]},
        {**RESULT, "tool_call_id": "c1"},
        {**RESULT, "tool_call_id": "c0"},
        {"role": "assistant", "content": "", "tool_calls": [with_id]},
        {**RESULT, "tool_call_id": "c0"},
    ]
    ask(ollama, model="gpt", messages=messages, tools=[TOOL])
    calls, results = ids_of(sent_to(fake)["messages"])
    assert calls[:2] == ["c0", "c1"]
    assert results == ["c1", "c0", calls[2]]
    assert len(set(calls)) == 3


def test_results_without_a_name_belong_to_the_calls_in_their_order(ollama: Function, fake: FakeProvider) -> None:
    time = {"function": {"name": "time", "arguments": {}}}
    result = {"role": "tool", "content": "x", "tool_call_id": "lost by a client that does not keep ids of calls"}
    messages = [*HI, {"role": "assistant", "tool_calls": [CALL, time]}, result, {"role": "tool", "content": "y"}]
    ask(ollama, model="gpt", messages=messages)
    calls, results = ids_of(sent_to(fake)["messages"])
    assert calls == results


def test_a_result_whose_call_is_not_there_reaches_ollama_with_its_name(ollama: Function, second: FakeProvider) -> None:
    ask(ollama, model="llama3.1:8b", messages=[*HI, RESULT])
    assert sent_to(second)["messages"][1] == RESULT


def test_anthropic_gets_calls_and_results_with_matching_ids(ollama: Function, claude: FakeProvider) -> None:
    ask(
        ollama,
        model="claude-opus-4-6",
        messages=[*HI, {"role": "assistant", "tool_calls": [CALL]}, RESULT],
        tools=[TOOL],
    )
    _, assistant, result = sent_to(claude)["messages"]
    assert assistant["content"][0]["input"] == {"city": "Oslo"}
    assert result["content"][0]["tool_use_id"] == assistant["content"][0]["id"]


def test_options_become_the_parameters_of_other_formats(ollama: Function, fake: FakeProvider) -> None:
    options = {"temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["\n"], "num_predict": 50, "frequency_penalty": 0.5}
    ask(ollama, model="gpt", options=options)
    body = sent_to(fake)
    assert {name: body[name] for name in ("temperature", "top_p", "seed", "stop", "frequency_penalty")} == {
        name: value for name, value in options.items() if name != "num_predict"
    }
    assert 50 in (body.get("max_tokens"), body.get("max_completion_tokens"))


@pytest.mark.parametrize(
    "options", [{"num_predict": -1, "seed": -1}, {"num_predict": -2}, {"stop": []}, {"top_k": None}]
)
def test_options_that_mean_nothing_are_left_out(ollama: Function, fake: FakeProvider, options: dict[str, Any]) -> None:
    ask(ollama, model="gpt", options=options)
    assert sent_to(fake).keys() == {"model", "messages"}


def test_a_limit_above_what_a_window_leaves_excludes_no_model(ollama: Function, fake: FakeProvider) -> None:
    """Clients send the largest number that any model takes: it is a maximum."""
    ask(ollama, model="gpt", options={"num_predict": 1_000_000})
    body = sent_to(fake)
    assert 1024 <= (body.get("max_completion_tokens") or body["max_tokens"]) < 1_000_000


def test_ollamas_own_options_reach_ollama_and_others_note_what_changes_the_answer(
    ollama: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    own = {"repeat_penalty": 1.1, "mirostat": 2, "num_gpu": 1, "num_thread": 4, "use_mmap": False}
    fields: dict[str, Any] = {"options": {**own, "num_ctx": 16_000}, "keep_alive": "10m"}
    assert ask(ollama, model="llama3.1:8b", **fields)["bridge"]["notes"] == []
    body = sent_to(second)
    assert body["options"].items() >= own.items()
    assert (body["options"]["num_ctx"], body["keep_alive"]) == (16_000, "10m")
    notes = ask(ollama, model="gpt", **fields)["bridge"]["notes"]
    assert notes == ["openai has no place for: options.mirostat, options.repeat_penalty"]
    assert sent_to(fake).keys() == {"model", "messages"}


def test_an_option_that_nobody_knows_is_noted(ollama: Function, second: FakeProvider) -> None:
    receipt = ask(ollama, model="llama3.1:8b", options={"num_predicts": 3}, brand_new=1)["bridge"]
    assert receipt["notes"] == ["local has no place for: brand_new, options.num_predicts"]
    assert sent_to(second)["options"].keys() == {"num_ctx"}


@pytest.mark.parametrize(
    ("num_ctx", "sent"), [(2048, 4096), (4096, 4096), (8192, 8192), (10_000, 10_000), (10_000_000, 32_768)]
)
def test_num_ctx_never_makes_the_context_smaller_than_the_prompt_needs_nor_larger_than_the_model_has(
    ollama: Function, second: FakeProvider, num_ctx: int, sent: int
) -> None:
    ask(ollama, model="llama3.1:8b", options={"num_ctx": num_ctx})
    assert sent_to(second)["options"]["num_ctx"] == sent


def test_a_model_with_a_smaller_window_than_num_ctx_is_used(ollama: Function) -> None:
    assert ask(ollama, model="gpt", options={"num_ctx": 1_000_000})["model"] == "gpt"


@pytest.mark.parametrize("think", [True, False, "low", "medium", "high", "max"])
def test_think_reaches_ollama_as_it_is(ollama: Function, second: FakeProvider, *, think: bool | str) -> None:
    ask(ollama, model="llama3.1:8b", think=think)
    assert sent_to(second)["think"] == think


@pytest.mark.parametrize(
    ("think", "effort"), [(True, "medium"), (False, "none"), ("low", "low"), ("high", "high"), ("max", "high")]
)
def test_think_is_an_effort_of_reasoning_for_other_providers(
    ollama: Function, fake: FakeProvider, *, think: bool | str, effort: str
) -> None:
    assert ask(ollama, model="gpt", think=think)["bridge"]["notes"] == []
    assert sent_to(fake)["reasoning_effort"] == effort


REJECTED: list[tuple[dict[str, Any], str, str]] = [
    ({"think": False}, "Unsupported value: 'reasoning_effort' does not support 'none'", "the effort of reasoning"),
    ({"think": True}, "Unrecognized request argument supplied: reasoning_effort", "the effort of reasoning"),
    ({"options": {"top_k": 40}}, "Unrecognized request argument supplied: top_k", "top_k"),
    ({"options": {"min_p": 0.1}}, "Unknown parameter: 'min_p'.", "min_p"),
]


@pytest.mark.parametrize(("fields", "words", "left_out"), REJECTED, ids=[words for _, words, _ in REJECTED])
def test_what_home_programs_always_send_is_left_out_with_a_note_where_a_model_rejects_it(
    ollama: Function, fake: FakeProvider, fields: dict[str, Any], words: str, left_out: str
) -> None:
    fake.script(OPENAI_PATH, Reply(400, {"error": {"message": words, "type": "invalid_request_error"}}))
    answer = ask(ollama, model="gpt", **fields)
    assert answer["message"]["content"] == "Hello from the fake."
    assert answer["bridge"]["notes"] == [f"left out, because the model does not take it: {left_out}"]
    assert sent_to(fake).keys() == {"model", "messages"}
    ask(ollama, model="gpt", **fields)
    assert len(fake.received) == 3  # the second request is sent in the right form at once


def test_the_thinking_of_earlier_answers_reaches_ollama(ollama: Function, second: FakeProvider) -> None:
    earlier = {"role": "assistant", "content": "Yes.", "thinking": "Hmm."}
    ask(ollama, model="llama3.1:8b", messages=[*HI, earlier, *HI])
    assert sent_to(second)["messages"][1] == earlier


def test_a_format_is_a_json_schema_or_json(ollama: Function, fake: FakeProvider, second: FakeProvider) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    ask(ollama, model="gpt", format=schema)
    assert sent_to(fake)["response_format"]["json_schema"]["schema"] == schema
    ask(ollama, model="gpt", format="json")
    assert sent_to(fake)["response_format"] == {"type": "json_object"}
    for form in (schema, "json"):
        ask(ollama, model="llama3.1:8b", format=form)
        assert sent_to(second)["format"] == form
    ask(ollama, model="gpt", format="")
    assert "response_format" not in sent_to(fake)


def test_images_are_shown_to_models_with_vision_and_need_one(
    ollama: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    messages = [{"role": "user", "content": "What is it?", "images": [DATA]}]
    ask(ollama, model="gpt", messages=messages)
    assert sent_to(fake)["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
        {"type": "text", "text": "What is it?"},
    ]
    ask(ollama, model="llama3.1:8b", messages=[{**messages[0], "images": [f"data:image/png;base64,{DATA}"]}])
    assert sent_to(second)["messages"][0] == messages[0]
    answer = post(ollama, model="claude-opus-4-6", messages=messages)
    assert (answer.status, error(answer)[1]["code"]) == (400, "no_capable_model")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "x", "images": ["https://example.org/a.png"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "user", "content": "x", "images": ["QUJD", "é"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"format": "xml"}, "format"),
        ({"think": "very"}, "think"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_predict": True}}, "options.num_predict"),
        ({"options": {"num_predict": 2**40}}, "options.num_predict"),
        ({"stream": "yes"}, "stream"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_cost": -1}, "max_cost"),
        ({"max_costs": 1}, "max_costs"),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_with_a_wrong_value_is_a_400_that_names_it(
    ollama: Function, fake: FakeProvider, fields: dict[str, Any], param: str
) -> None:
    answer = post(ollama, **fields)
    message, bridge = error(answer)
    assert (answer.status, bridge["code"], bridge["param"]) == (400, "invalid_request", param)
    assert message.startswith(f"{param}: ")
    assert fake.received == []


def test_a_body_that_is_no_json_is_a_400_in_ollamas_envelope(ollama: Function) -> None:
    answer = ollama("POST", CHAT, raw="{")
    assert (answer.status, error(answer)[1]["code"]) == (400, "invalid_request")


def test_the_bridges_own_fields_hold_as_fields_and_as_headers(ollama: Function) -> None:
    for answer in (
        post(ollama, model="gpt", max_cost=0),
        post(ollama, model="gpt", headers={"x-bridge-max-cost": "0"}),
    ):
        assert (answer.status, error(answer)[1]["code"]) == (402, "cost_limit_exceeded")
    assert ask(ollama, preferred_model="llama3.1:8b")["model"] == "llama3.1:8b"
    assert ask(ollama, preferred_model="claude-opus-4-6:latest")["model"] == "claude-opus-4-6"
    assert post(ollama, stream=False, headers={"x-bridge-preferred-model": "claude-opus-4-6"}).json()["model"] == (
        "claude-opus-4-6"
    )


def test_a_request_without_messages_loads_nothing_and_asks_nobody(ollama: Function, second: FakeProvider) -> None:
    for fields, reason in (({}, "load"), ({"keep_alive": 0}, "unload"), ({"keep_alive": "0s"}, "unload")):
        loaded = ask(ollama, model="llama3.1:8b", messages=[], **fields)
        assert (loaded["done_reason"], loaded["message"]["content"]) == (reason, "")
        assert loaded["bridge"]["notes"] == ["the bridge loads no models: a model is ready when it is asked"]
    assert post(ollama, model="llama9", messages=[]).status == 404
    assert second.received == []


def test_log_probabilities_have_ollamas_form_and_come_from_both_formats(
    ollama: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    tokens = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}]
    body = chat_completion("Hi")
    body["choices"][0]["logprobs"] = {"content": tokens}  # type: ignore[index]  # a body of JSON
    fake.script(OPENAI_PATH, Reply(body=body))
    own = {**ollama_chat("Hi"), "logprobs": tokens}
    parts = [ndjson({**own, "done": False}), ndjson(ollama_chat(""))]
    second.script(CHAT, Reply(body=own), Reply(stream=Stream(parts)))
    for model in ("gpt", "llama3.1:8b"):
        assert ask(ollama, model=model, logprobs=True, top_logprobs=1)["logprobs"] == tokens
    assert stream(ollama, model="llama3.1:8b", logprobs=True).logprobs == tokens
    assert sent_to(second)["logprobs"] is True
    assert sent_to(fake)["top_logprobs"] == 1


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_ollama_that_gives_no_log_probabilities_is_passed_over(
    ollama: Function, second: FakeProvider, *, is_streamed: bool
) -> None:
    answer = post(ollama, model="llama3.1:8b", logprobs=True, stream=is_streamed)
    message, bridge = error(answer)
    assert (answer.status, bridge["attempts"][0]["code"]) == (400, "unsupported_by_model")
    assert "older than version 0.12.11" in message


CUTS = {
    "a closed connection": ([chunk({"content": "one"}), chunk({"content": " two"})], "closed"),
    "an error": ([chunk({"content": "one"}), chunk({"content": " two"}), sse({"error": {"message": "oh"}})], "whole"),
    "no finish reason": ([chunk({"content": "one"}), chunk({"content": " two"})], "whole"),
}


@pytest.mark.parametrize(("parts", "ending"), CUTS.values(), ids=CUTS)
def test_a_cut_stream_ends_with_an_error_and_is_never_done(
    ollama: Function, fake: FakeProvider, parts: list[bytes], ending: Any
) -> None:
    fake.script(OPENAI_PATH, Reply(stream=Stream(parts, ending=ending)))
    streamed = stream(ollama, model="gpt")
    assert (streamed.text, streamed.is_whole) == ("one two", False)
    assert streamed.error
    assert streamed.last["bridge"]["code"] == "answer_broken"
    assert not any(line.get("done") for line in streamed.lines)


def test_a_failure_before_the_first_token_has_its_own_status(ollama: Function, fake: FakeProvider) -> None:
    fake.always(OPENAI_PATH, Reply(500, {}))
    answer = post(ollama, model="gpt")
    assert (answer.status, error(answer)[1]["code"]) == (502, "all_providers_failed")
    assert answer.headers["content-type"] == "application/json"


def test_a_repeated_request_gets_the_first_answer(ollama: Function, fake: FakeProvider) -> None:
    key = {"idempotency-key": "the-same", "content-type": "application/json"}
    body = json.dumps({"model": "gpt", "messages": HI})
    first, again = (ollama("POST", CHAT, raw=body, headers=key) for _ in range(2))
    assert (again.text, again.headers["x-idempotent-replayed"]) == (first.text, "true")
    assert again.headers["content-type"] == "application/x-ndjson"
    assert len(fake.received) == 1


def test_a_key_without_a_model_may_not_use_it(ollama: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    caller = Caller("k", policy=KeyPolicy(models=("llama3.1:8b",)))
    body = {"model": "gpt", "messages": HI, "stream": False}
    assert ollama("POST", CHAT, body, caller=caller).status in {403, 404}
    assert ollama("POST", CHAT, {**body, "model": "llama3.1:8b"}, caller=caller).status == 200
    assert ollama("POST", CHAT, body).status == 401


def test_lines_are_text_for_what_buffers_a_stream(ollama: Function) -> None:
    """`sam local` streams nothing, and hands base64 on as it is."""
    body = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "Hello"}]})
    answer = ollama._module.handler(rest_event("POST", "/api/chat", body, {}), FakeContext(29_000))
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"].splitlines()[-1])["done"] is True

"""Chat completions, through the function's own handler, against a provider over HTTP."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.errors import ConfigError
from tests.fakes.functions import Answer, Function
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


def function(*providers: dict[str, Any], **sections: Any) -> Function:
    return Function("chat_completions", make_bridge(make_settings(*providers, **sections)))


@pytest.fixture
def chat(fake: FakeProvider, second: FakeProvider) -> Function:
    """A paid provider first, a local one second."""
    return function(
        provider("first", chat_model("gpt"), embedding_model("e"), base_url=f"{fake.url}/v1", priority=1),
        provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=second.url, priority=2),
        default_models={"chat_fast": "llama"},
    )


def ask(chat: Function, **fields: Any) -> Answer:
    return chat("POST", PATH, {"messages": HI, **fields})


def error(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code", "request_id"} <= set(found)
    return found


def test_an_answer_has_openais_shape_and_the_receipt(chat: Function) -> None:
    answer = ask(chat)
    body = answer.json()
    assert answer.status == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "gpt"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello from the fake."}
    assert {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")} == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
    }
    receipt = body["bridge"]
    assert (receipt["provider_id"], receipt["model_id"], receipt["price_source"]) == ("first", "gpt", "config")
    assert receipt["cost"] == 0.000025
    assert receipt["cost"] <= receipt["cost_bound"]
    assert [attempt["code"] for attempt in receipt["attempts"]] == ["ok"]


def test_headers_carry_the_receipt_in_short_and_the_gateways_request_id(chat: Function) -> None:
    headers = ask(chat).headers
    assert headers["x-bridge-provider"] == "first"
    assert headers["x-bridge-model"] == "gpt"
    assert headers["x-bridge-cost-usd"] == "0.000025"
    assert headers["x-bridge-attempts"] == "1"
    assert headers["x-request-id"] == "gateway-request"


def test_the_second_path_is_the_same_endpoint(chat: Function) -> None:
    assert chat("POST", "/api/v1/chat/completions", {"messages": HI}).status == 200


def test_a_failing_provider_is_followed_by_the_next_unseen(chat: Function, fake: FakeProvider) -> None:
    fake.always(PATH, Reply(500, {}))
    answer = ask(chat)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello from the second."
    assert answer.json()["model"] == "llama"
    assert answer.headers["x-bridge-attempts"] == "2"


def test_a_failing_provider_is_final_when_fallback_is_not_allowed(chat: Function, fake: FakeProvider) -> None:
    fake.always(PATH, Reply(500, {}))
    answer = ask(chat, allow_fallback=False)
    assert answer.status == 502
    assert error(answer)["code"] == "all_providers_failed"


def test_all_failing_tells_every_attempt(chat: Function, fake: FakeProvider, second: FakeProvider) -> None:
    fake.always(PATH, Reply(500, {}))
    second.stop()
    answer = ask(chat)
    assert answer.status == 502
    assert [(a["provider_id"], a["status"], a["code"]) for a in error(answer)["attempts"]] == [
        ("first", 500, "provider_server_error"),
        ("local", None, "connect_failed"),
    ]


def test_a_failure_says_who_was_passed_over_and_is_logged_as_a_warning_with_who_was_tried(
    fake: FakeProvider, log: StringIO
) -> None:
    dead = provider("dead", chat_model("a"), base_url="http://127.0.0.1:9/v1", priority=1)
    unpriced = provider("unpriced", chat_model("b", price=None), base_url=f"{fake.url}/v1", priority=2)
    answer = ask(function(dead, unpriced), max_cost=0.01)
    assert "not tried was unpriced/b: its price is not known" in error(answer)["message"]
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["level"], line["attempts"]) == ("WARNING", ["dead: connect_failed"])


def test_a_pinned_model_goes_only_where_it_is(chat: Function, fake: FakeProvider) -> None:
    assert ask(chat, model="llama").json()["bridge"]["provider_id"] == "local"
    assert fake.received == []


@pytest.mark.parametrize("name", ["auto", None, ""])
def test_no_model_means_automatic_routing(chat: Function, name: str | None) -> None:
    assert ask(chat, model=name).json()["bridge"]["provider_id"] == "first"


def test_a_default_models_key_routes_by_its_task(chat: Function) -> None:
    assert ask(chat, model="chat_fast").status == 200
    answer = ask(chat, model="chat_smart")
    assert answer.status == 400
    assert error(answer)["code"] == "no_capable_model"


def test_an_unknown_model_is_told_what_exists(chat: Function) -> None:
    answer = ask(chat, model="ghost")
    assert answer.status == 404
    assert error(answer)["code"] == "model_not_found"
    assert error(answer)["param"] == "model"
    assert "gpt, e, llama, auto, embedding, chat_fast" in error(answer)["message"]
    assert "chat_vision" not in error(answer)["message"]


def test_a_preferred_model_goes_first(chat: Function) -> None:
    assert ask(chat, preferred_model="llama").json()["bridge"]["provider_id"] == "local"


def test_an_unsuitable_preferred_model_is_passed_over_with_a_note(chat: Function) -> None:
    receipt = ask(chat, preferred_model="e").json()["bridge"]
    assert receipt["provider_id"] == "first"
    assert receipt["notes"] == ["preferred_model e was passed over: not a chat model, but for embedding"]


def test_the_bridges_own_fields_go_to_no_provider(chat: Function, fake: FakeProvider) -> None:
    ask(
        chat,
        require_vision=False,
        max_cost=1,
        preferred_model="gpt",
        task="chat_small",
        allow_fallback=True,
        custom={"a": 1},
    )
    sent = fake.received[0].body
    assert set(sent) == {"messages", "model", "custom", "max_completion_tokens"}
    assert sent["model"] == "gpt"


def test_max_cost_lowers_the_providers_output_limit(chat: Function, fake: FakeProvider) -> None:
    ask(chat, model="gpt", max_cost=0.001)
    assert 64 <= fake.received[0].body["max_completion_tokens"] < 500


def test_too_low_a_max_cost_names_the_cheapest_candidate(chat: Function) -> None:
    answer = ask(chat, model="gpt", max_cost=0.000001)
    assert answer.status == 402
    assert error(answer)["code"] == "cost_limit_exceeded"
    assert "first/gpt" in error(answer)["message"]


def test_a_cost_limit_turns_to_the_free_model(chat: Function) -> None:
    assert ask(chat, max_cost=0).json()["bridge"]["provider_id"] == "local"


def test_content_is_text_even_where_the_provider_sent_null(chat: Function, fake: FakeProvider) -> None:
    body = chat_completion(None)
    body["choices"][0]["finish_reason"] = None  # type: ignore[index]  # a literal above
    fake.script(PATH, Reply(body=body))
    choice = ask(chat).json()["choices"][0]
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "stop"


def test_content_stays_null_beside_tool_calls(chat: Function, fake: FakeProvider) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    fake.script(PATH, Reply(body=chat_completion(None, tool_calls=calls)))
    message = ask(chat, tools=[{"type": "function", "function": {"name": "f"}}]).json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == calls


def test_usage_is_estimated_and_says_so_only_where_the_provider_sent_none(chat: Function, fake: FakeProvider) -> None:
    body = chat_completion("four words are here")
    del body["usage"]
    fake.script(PATH, Reply(body=body))
    usage = ask(chat).json()["usage"]
    assert usage["estimated"] is True
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 5
    assert "estimated" not in ask(chat).json()["usage"]


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
def test_an_image_that_is_not_public_is_refused_whoever_would_fetch_it(chat: Function, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    answer = chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.status == 400
    assert error(answer)["param"] == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("url", ["https://example.com/x.png", "https://bücher.example.com/x", "http://93.184.216.34/x"])
def test_a_public_image_is_passed_on_as_it_was_given(fake: FakeProvider, url: str) -> None:
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


def test_an_image_where_nothing_sees_says_what_is_missing(chat: Function) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    answer = chat("POST", PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert answer.status == 400
    assert error(answer)["code"] == "no_capable_model"
    assert "cannot see images" in error(answer)["message"]


DEEP = '{"messages": [{"role": "user", "content": "x"}], "x": ' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize(
    "raw", ["{oops", "", "[]", "null", '"text"', DEEP, '{"messages": [{"role": "user", "content": "\\ud800"}]}']
)
def test_a_body_that_is_no_json_object_is_a_400(chat: Function, raw: str) -> None:
    assert chat("POST", PATH, raw=raw).status == 400


def test_a_wrong_method_is_a_405_that_says_which_is_right(chat: Function) -> None:
    answer = chat("GET", PATH)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert error(answer)["code"] == "method_not_allowed"


def test_an_unknown_path_is_a_404(chat: Function) -> None:
    assert error(chat("POST", "/v2/nothing", {}))["code"] == "not_found"


def test_a_slow_provider_is_given_up_before_lambda_gives_up_on_us(
    chat: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, Reply(delay_s=2))
    second.always("/api/chat", Reply(delay_s=2))
    answer = chat("POST", PATH, {"messages": HI}, remaining_ms=1300)
    assert answer.status == 504
    assert error(answer)["code"] == "deadline_exceeded"


def test_a_stream_that_is_asked_for_comes_as_complete_events(chat: Function) -> None:
    answer = ask(chat, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert text == "Hello from the fake."
    assert chunks[-1]["usage"]["total_tokens"] == 18
    assert chunks[-1]["bridge"]["provider_id"] == "first"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_a_field_that_ollama_has_no_place_for_is_noted(chat: Function) -> None:
    notes = ask(chat, model="llama", brand_new=1).json()["bridge"]["notes"]
    assert notes == ["local has no place for: brand_new"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ONLY_OPENAI: list[dict[str, Any]] = [
    {"logprobs": True},
    {"web_search_options": {}},
    {"functions": [{"name": "f"}]},
    {"n": 2},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": False},
    {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    {"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]},
    {
        "messages": [
            *HI,
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{oops"}}]},
        ]
    },
    {"messages": [*HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
]


@pytest.mark.parametrize("fields", ONLY_OPENAI, ids=str)
def test_what_the_local_model_cannot_express_goes_to_the_next_that_can(
    fake: FakeProvider, fields: dict[str, Any]
) -> None:
    local = provider(
        "local", chat_model("llama", price=None), provider_type="ollama", base_url="http://127.0.0.1:9", priority=1
    )
    chat = function(local, provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1", priority=2))
    answer = ask(chat, **fields)
    assert (answer.status, answer.headers["x-bridge-attempts"]) == (200, "1")
    assert answer.headers["x-bridge-provider"] == "p"


def test_legacy_functions_need_a_model_that_can_call(fake: FakeProvider) -> None:
    models = (chat_model("cannot", supports_function_calling=False), chat_model("can", supports_function_calling=True))
    chat = function(provider("p", *models, base_url=f"{fake.url}/v1"))
    assert ask(chat, functions=[{"name": "f"}]).json()["model"] == "can"


def test_the_cost_of_everything_that_is_sent_is_bounded(chat: Function) -> None:
    plain = ask(chat, model="gpt").json()["bridge"]["cost_bound"]
    big = "x" * 10_000
    for fields in (
        {"messages": [*HI, {"role": "assistant", "content": "a", "refusal": big}]},
        {"messages": [*HI, {"role": "assistant", "content": "a", "reasoning_content": big}]},
        {"messages": [*HI, {"role": "tool", "content": "a", "tool_call_id": big}]},
        {"documents": [big]},
    ):
        assert ask(chat, model="gpt", **fields).json()["bridge"]["cost_bound"] >= plain + 0.01


@pytest.mark.parametrize("fields", [{"prediction": {"type": "content"}}, {"service_tier": "priority"}], ids=str)
def test_a_cost_that_nobody_can_bound_does_not_pass_a_limit(chat: Function, fields: dict[str, Any]) -> None:
    answer = ask(chat, model="gpt", max_cost=1, **fields)
    assert answer.status == 402
    assert "cannot be bounded beforehand" in error(answer)["message"]


def test_what_ollama_cannot_do_is_not_dropped_silently(chat: Function) -> None:
    answer = ask(chat, model="llama", logprobs=True)
    assert answer.status == 400
    assert "ollama has no logprobs" in error(answer)["message"]


class Exploding:
    """An executor with a mistake in it."""

    async def perform(self, *_: object, **__: object) -> None:
        raise RuntimeError("while working on: the yellow submarine")


def test_an_unexpected_error_is_a_500_without_its_words(log: StringIO) -> None:
    bridge = make_bridge(make_settings(provider("p", chat_model())))
    broken = replace(bridge, executor=Exploding())  # type: ignore[arg-type]  # it only has to explode
    answer = Function("chat_completions", broken)("POST", PATH, {"messages": HI})
    assert answer.status == 500
    assert error(answer)["code"] == "internal_error"
    assert "submarine" not in answer.text + log.getvalue()
    assert "RuntimeError at test_chat.py" in log.getvalue()


def test_neither_prompt_nor_key_nor_answer_is_logged(fake: FakeProvider, log: StringIO) -> None:
    chat = function(provider("p", chat_model(), base_url=f"{fake.url}/v1", api_key="sk-hidden"))
    fake.script(PATH, Reply(500, {"error": {"message": "yellow submarine"}}))
    for _ in range(2):
        chat("POST", PATH, {"messages": [{"role": "user", "content": "the yellow submarine"}]})
    chat("POST", PATH, {"messages": "the yellow submarine"})
    assert '"path":"/v1/chat/completions"' in log.getvalue()
    for hidden in ("submarine", "sk-hidden", "Hello from"):
        assert hidden not in log.getvalue()


def test_a_bridge_without_a_usable_configuration_says_so_at_every_request() -> None:
    chat = Function("chat_completions", ConfigError(["file.yaml:3: secret details"]))
    answer = chat("POST", PATH, {"messages": HI})
    assert answer.status == 500
    assert error(answer)["code"] == "config_invalid"
    assert "secret details" not in answer.text

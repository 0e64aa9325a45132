"""Chat completions, through the function's own handler, against a provider over HTTP."""

import json
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.pricing import usd_text
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.openai_format import count
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat_function import HI, PATH, ask, error, function


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


def test_headers_have_the_short_receipt_and_the_gateways_request_id(chat: Function) -> None:
    headers = ask(chat).headers
    assert headers["x-bridge-provider"] == "first"
    assert headers["x-bridge-model"] == "gpt"
    assert headers["x-bridge-cost-usd"] == "0.000025"
    assert headers["x-bridge-attempts"] == "1"
    assert headers["x-request-id"] == "gateway-request"


def test_the_second_path_is_the_same_endpoint(chat: Function) -> None:
    assert chat("POST", "/api/v1/chat/completions", {"messages": HI}).status == 200


def test_a_failing_provider_is_followed_by_the_next_without_an_error(chat: Function, fake: FakeProvider) -> None:
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


def test_the_error_of_all_failing_providers_has_every_attempt(fake: FakeProvider, second: FakeProvider) -> None:
    fake.always(PATH, Reply(500, {}))
    second.stop()
    answer = ask(
        function(
            provider("first", chat_model("gpt"), base_url=f"{fake.url}/v1", priority=1),
            provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=second.url, priority=2),
            clock=FakeClock(),
        )
    )
    assert answer.status == 502
    assert [(a["provider_id"], a["status"], a["code"]) for a in error(answer)["attempts"]] == [
        ("first", 500, "provider_server_error"),
        ("local", None, "connect_failed"),
        ("local", None, "connect_failed"),
    ]


def test_a_failure_names_skipped_models_and_is_logged_as_a_warning_with_the_attempts(
    fake: FakeProvider, log: StringIO
) -> None:
    dead = provider("dead", chat_model("a"), base_url="http://127.0.0.1:9/v1", priority=1)
    unpriced = provider("unpriced", chat_model("b", price=None), base_url=f"{fake.url}/v1", priority=2)
    answer = ask(function(dead, unpriced, clock=FakeClock()), max_cost=0.01)
    assert "not tried: unpriced/b: its price is unknown" in error(answer)["message"]
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["level"], line["attempts"]) == ("WARNING", ["dead: connect_failed"] * 2)


def test_a_pinned_model_is_tried_only_at_its_providers(chat: Function, fake: FakeProvider) -> None:
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


def test_the_error_for_an_unknown_model_lists_what_exists(chat: Function) -> None:
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
    assert receipt["notes"] == ["preferred_model e was not used: not a chat model, but for embedding"]


def test_the_bridges_own_fields_are_sent_to_no_provider(chat: Function, fake: FakeProvider) -> None:
    ask(
        chat,
        require_vision=False,
        max_cost=1,
        preferred_model="gpt",
        task="chat_small",
        allow_fallback=True,
        top_k=3,
    )
    sent = fake.received[0].body
    assert set(sent) == {"messages", "model", "top_k", "max_tokens"}
    assert sent["model"] == "gpt"


def test_an_unknown_field_is_sent_also_under_a_cost_limit_with_a_note(chat: Function, fake: FakeProvider) -> None:
    unlimited = ask(chat, model="gpt", custom={"a": 1}).json()["bridge"]["notes"]
    limited = ask(chat, model="gpt", custom={"a": 1}, max_cost=1).json()["bridge"]["notes"]
    note = "passed on, unknown to the bridge: custom"
    assert (unlimited, limited) == ([note], [f"{note}; the cost limit does not cover what they may cost"])
    assert [request.body["custom"] for request in fake.received] == [{"a": 1}] * 2


def test_max_cost_lowers_the_providers_output_limit(chat: Function, fake: FakeProvider) -> None:
    ask(chat, model="gpt", max_cost=0.001)
    assert 64 <= fake.received[0].body["max_tokens"] < 500


def test_too_low_a_max_cost_names_the_cheapest_candidate(chat: Function) -> None:
    answer = ask(chat, model="gpt", max_cost=0.000001)
    assert answer.status == 402
    assert error(answer)["code"] == "cost_limit_exceeded"
    assert "first/gpt" in error(answer)["message"]


def test_a_402_names_the_cheapest_model_and_its_cost() -> None:
    models = (
        chat_model("dear", price=(50, 90)),
        chat_model("cheap", price=(10, 20)),
        chat_model("mid", price=(20, 40)),
    )
    answer = ask(function(provider("p", *models, base_url="http://127.0.0.1:9/v1")), max_cost=0.0001)
    message = error(answer)["message"]
    assert answer.status == 402
    # The bound of the prompt at $10, and at $20 the 64 tokens of the least useful answer.
    bound = count({"messages": HI}).bound
    least = usd_text(Decimal(bound * 10 + 64 * 20) / 1_000_000)
    assert f"the cheapest is p/cheap: a useful answer may cost ${least}, over the limit of $0.0001" in message
    assert "Raise max_cost" in message


def test_under_a_cost_limit_the_free_model_answers(chat: Function) -> None:
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
    assert usage["completion_tokens"] == 4
    assert "estimated" not in ask(chat).json()["usage"]


def test_a_slow_provider_is_cancelled_before_lambdas_deadline(
    chat: Function, fake: FakeProvider, second: FakeProvider
) -> None:
    fake.always(PATH, Reply(delay_s=2))
    second.always("/api/chat", Reply(delay_s=2))
    answer = chat("POST", PATH, {"messages": HI}, remaining_ms=1300)
    assert answer.status == 504
    assert error(answer)["code"] == "deadline_exceeded"


class Exploding:
    """A service with a mistake in it."""

    async def run(self, *_: object, **__: object) -> None:
        raise RuntimeError("while working on: the yellow submarine")


def test_an_unexpected_error_is_a_500_without_its_message(log: StringIO) -> None:
    bridge = make_bridge(make_settings(provider("p", chat_model())))
    broken = replace(bridge, service=Exploding())  # type: ignore[arg-type]  # it only has to explode
    answer = Function("chat_completions", broken)("POST", PATH, {"messages": HI})
    assert answer.status == 500
    assert error(answer)["code"] == "internal_error"
    assert "submarine" not in answer.text + log.getvalue()
    assert "RuntimeError at test_completions.py" in log.getvalue()


def test_neither_prompt_nor_key_nor_answer_is_logged(fake: FakeProvider, log: StringIO) -> None:
    chat = function(provider("p", chat_model(), base_url=f"{fake.url}/v1", api_key="sk-hidden"))
    fake.script(PATH, Reply(500, {"error": {"message": "yellow submarine"}}))
    for _ in range(2):
        chat("POST", PATH, {"messages": [{"role": "user", "content": "the yellow submarine"}]})
    chat("POST", PATH, {"messages": "the yellow submarine"})
    assert '"path":"/v1/chat/completions"' in log.getvalue()
    for hidden in ("submarine", "sk-hidden", "Hello from"):
        assert hidden not in log.getvalue()


def test_an_unusable_configuration_is_the_answer_to_every_request() -> None:
    chat = Function("chat_completions", ConfigError(["file.yaml:3: secret details"]))
    answer = chat("POST", PATH, {"messages": HI})
    assert answer.status == 500
    assert error(answer)["code"] == "config_invalid"
    assert "secret details" not in answer.text

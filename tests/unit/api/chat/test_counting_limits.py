"""More claims about a provider's own count of the prompt."""

import threading

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat.test_exact_counts import CHAT, COUNT, LONG, ask, claude, function


@pytest.fixture
def chat(fake: FakeProvider) -> Function:
    return function(fake)


def paths(fake: FakeProvider) -> list[str]:
    return [request.path for request in fake.received]


def test_a_count_that_hangs_is_given_up(chat: Function, fake: FakeProvider) -> None:
    silence = Reply(hang=True)
    fake.script(COUNT, silence)
    assert ask(chat).status == 402
    assert silence.client_disconnected.wait(10)


def test_the_plan_names_the_counted_number_where_the_prompt_is_too_long(fake: FakeProvider) -> None:
    route = function(fake, name="route", context_window=7_000)
    fake.script(COUNT, Reply(body={"input_tokens": 7_500}))
    answer = route("POST", "/api/v1/route", {"messages": LONG, "max_tokens": 100})
    assert answer.status == 400
    assert "less than the 7600 needed" in answer.text


def test_the_refusal_by_cost_names_the_amount_by_the_count(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": 30_000}))
    assert "0.0307" in ask(chat).text


def test_a_prompt_that_fits_the_window_by_the_count_is_not_refused_for_the_margin(fake: FakeProvider) -> None:
    chat = function(fake, context_window=7_000)
    fake.script(COUNT, Reply(body={"input_tokens": 6_850}))  # and 100 of output: 6,950
    assert ask(chat, max_cost=None).status == 200


def test_a_stream_is_planned_by_the_count(fake: FakeProvider) -> None:
    chat = function(fake)
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    ask(chat, stream=True)
    assert paths(fake) == [COUNT, "/v1/messages"]


def test_a_short_prompt_whose_output_the_limit_shortens_anyway_is_not_counted(fake: FakeProvider) -> None:
    chat = function(fake, max_output_tokens=64_000)
    fields = {"messages": [{"role": "user", "content": "Hello"}], "max_cost": 0.05}
    assert chat("POST", CHAT, fields).status == 200
    assert paths(fake) == ["/v1/messages"]


def test_a_count_never_lowers_the_cap_of_a_short_prompt(fake: FakeProvider) -> None:
    chat = function(fake, max_output_tokens=64_000)
    fields = {"messages": [{"role": "user", "content": "Hello"}], "max_cost": 0.001}
    fake.script(COUNT, Reply(500, {}))
    chat("POST", CHAT, fields)
    without = fake.received[-1].body["max_tokens"]
    chat = function(fake, max_output_tokens=64_000)
    fake.script(COUNT, Reply(body={"input_tokens": 60}))
    chat("POST", CHAT, fields)
    assert fake.received[-1].body["max_tokens"] >= without


def test_a_model_in_cool_down_is_not_counted(fake: FakeProvider) -> None:
    chat = function(fake)
    limited = Reply(
        429, {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, {"retry-after": "300"}
    )
    fake.script("/v1/messages", limited, limited, limited)
    chat("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10})
    n_before = len(fake.received)
    ask(chat)
    assert paths(fake)[n_before:] == []


@pytest.mark.parametrize("later_s", [1, 40, 3_600])
def test_a_provider_whose_breaker_has_opened_is_not_counted(fake: FakeProvider, later_s: float) -> None:
    clock = FakeClock()
    bridge = make_bridge(make_settings(claude(fake)), clock=clock)
    chat = Function("chat_completions", bridge)
    rejected = Reply(401, {"type": "error", "error": {"type": "authentication_error", "message": "m"}})
    fake.script("/v1/messages", *[rejected] * 4)
    chat("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10})
    clock.advance(later_s)
    n_before = len(fake.received)
    ask(chat)
    assert COUNT not in paths(fake)[n_before:]


def test_a_model_that_is_listed_for_two_tasks_is_counted_once(fake: FakeProvider) -> None:
    model = chat_model("claude-sonnet-4-5", context_window=200_000)
    both = provider(
        "claude",
        model,
        {**model, "task": "chat_smart"},
        provider_type="anthropic",
        trust_token_counts=True,
        base_url=fake.url,
        api_key="k",
    )
    chat = Function("chat_completions", make_bridge(make_settings(both)))
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    ask(chat)
    assert paths(fake).count(COUNT) == 1


def test_at_most_two_models_are_counted_at_the_same_time(fake: FakeProvider) -> None:
    models = [chat_model(f"claude-{i}", context_window=200_000) for i in range(4)]
    four = provider(
        "claude", *models, provider_type="anthropic", trust_token_counts=True, base_url=fake.url, api_key="k"
    )
    chat = Function("chat_completions", make_bridge(make_settings(four)))
    both_asked = threading.Barrier(2)  # neither is answered before the other has been asked
    counted = Reply(barrier=both_asked, body={"input_tokens": 10_000})
    fake.script(COUNT, counted, counted)
    assert ask(chat).status == 200
    counts = [request.body["model"] for request in fake.received if request.path == COUNT]
    assert sorted(counts) == ["claude-0", "claude-1"]


def test_a_failed_count_is_tried_again_after_a_minute(fake: FakeProvider) -> None:
    clock = FakeClock()
    chat = Function("chat_completions", make_bridge(make_settings(claude(fake)), clock=clock))
    fake.script(COUNT, Reply(500, {}), Reply(body={"input_tokens": 10_000}))
    assert ask(chat).status == 402
    clock.advance(59)
    assert ask(chat).status == 402
    clock.advance(2)
    assert ask(chat).status == 200


def test_a_failed_count_is_still_tried_again_after_the_instance_was_frozen(fake: FakeProvider) -> None:
    clock = FakeClock()
    chat = Function("chat_completions", make_bridge(make_settings(claude(fake)), clock=clock))
    fake.script(COUNT, Reply(500, {}), Reply(body={"input_tokens": 10_000}))
    assert ask(chat).status == 402
    clock.freeze(600)
    assert ask(chat).status == 200


def test_a_count_that_cannot_be_read_is_not_asked_again_for_a_minute(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": "many"}))
    assert ask(chat).status == 402
    assert ask(chat).status == 402
    assert len(fake.received) == 1


def test_a_prompt_that_the_provider_refuses_to_count_does_not_stop_other_counts(
    chat: Function, fake: FakeProvider
) -> None:
    invalid = Reply(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "bad PDF"}})
    fake.script(COUNT, invalid, Reply(body={"input_tokens": 10_000}))
    assert ask(chat).status == 402
    assert ask(chat).status == 200


def test_a_count_that_only_this_requests_deadline_cut_does_not_stop_other_counts(
    chat: Function, fake: FakeProvider
) -> None:
    fake.script(COUNT, Reply(delay_s=0.9, body={"input_tokens": 10_000}))
    chat("POST", CHAT, {"messages": LONG, "max_tokens": 100, "max_cost": 0.02}, remaining_ms=3_000)
    fake.script(COUNT, Reply(body={"input_tokens": 10_000}))
    assert ask(chat).status == 200


def test_a_count_of_nothing_is_not_believed(chat: Function, fake: FakeProvider) -> None:
    fake.script(COUNT, Reply(body={"input_tokens": 0}))
    assert ask(chat).status == 402

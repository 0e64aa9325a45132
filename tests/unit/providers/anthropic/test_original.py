"""Requests that came in Anthropic's format: they arrive as they were sent, and their answers are kept as they came."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.api.messages.conversation import conversation_of
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, WireFormat
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.adapter import CAPABILITIES, AnthropicAdapter
from sekha_llm_bridge.providers.anthropic.output_format import ANSWER_TOOL
from sekha_llm_bridge.providers.calls import ChatCall, PriceCeiling
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes import anthropic_wire as wire
from tests.fakes.failures import raises_failure
from tests.fakes.provider import FakeProvider, Received, Reply, Stream
from tests.fakes.settings import chat_model, provider

T = TypeVar("T")

PATH, COUNT_PATH = "/v1/messages", "/v1/messages/count_tokens"
MODEL = "claude-opus-4-6"
CACHE = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
ANSWER = wire.message(
    wire.thinking("hm", "sig"),
    wire.text("Hello there."),
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
    container={"id": "c", "expires_at": "2026-11-29T00:00:00Z"},
)
REQUEST: dict[str, Any] = {
    "max_tokens": 32_000,
    "system": [{"type": "text", "text": "You are an agent.", "cache_control": CACHE}],
    "messages": [
        {"role": "user", "content": "Mend it."},
        {"role": "system", "content": "Today is Sunday."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "text", "text": "I do.", "citations": None},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "read",
                    "input": {"path": "a"},
                    "caller": {"type": "direct"},
                },
                {"type": "server_tool_use", "id": "srv_0", "name": "web_search", "input": {"query": "x"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": " "},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no such file"}, {"type": "tool_reference", "tool_name": "x"}],
                    "cache_control": CACHE,
                },
                {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}, "x_new": 1},
            ],
        },
    ],
    "tools": [
        {"name": "read", "input_schema": SCHEMA, "defer_loading": True, "cache_control": CACHE},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "max", "task_budget": {"type": "tokens", "total": 9}},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "temperature": 1,
    "top_k": 3,
    "stop_sequences": ["END", " "],
    "x_unknown": {"a": [1]},
}
HEADERS = {"anthropic-version": "2026-10-21", "anthropic-beta": "one-2026-01-01,two-2026-01-01"}
HI = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        running.always(PATH, Reply(body=ANSWER))
        yield running


def call_of(request: dict[str, Any] | None = None, *, cap: int | None = None) -> ChatCall:
    return ChatCall(MODEL, conversation_of(REQUEST if request is None else request, HEADERS), cap, 1000)


def run(fake: FakeProvider, use: Callable[[AnthropicAdapter], Awaitable[T]], **fields: Any) -> T:
    section = {"base_url": fake.url, "api_key": "sk-ant-api03-k", **fields}
    config = ProviderConfig.model_validate(provider("a", chat_model(MODEL), provider_type="anthropic", **section))

    async def main() -> T:
        http = JsonHttp(SystemClock())
        try:
            return await use(AnthropicAdapter(config, http, SystemClock()))
        finally:
            await http.aclose()

    return asyncio.run(main())


def chat(fake: FakeProvider, call: ChatCall | None = None, **fields: Any) -> Any:
    return run(fake, lambda adapter: adapter.chat(call or call_of(), timeout_s=5), **fields)


def stream(fake: FakeProvider, call: ChatCall) -> list[AnswerChunk]:
    async def collect(adapter: AnthropicAdapter) -> list[AnswerChunk]:
        return [chunk async for chunk in adapter.stream(call, timeout_s=5)]

    return run(fake, collect)


def sent(fake: FakeProvider, path: str = PATH) -> Received:
    return fake.calls(path)[-1]


def reject(message: str) -> Reply:
    return Reply(400, wire.error("invalid_request_error", message))


def test_the_adapter_says_that_it_sends_such_requests_as_they_were_sent() -> None:
    assert CAPABILITIES.original_format is WireFormat.ANTHROPIC


def test_a_request_arrives_as_it_was_sent_with_the_model_of_the_plan(fake: FakeProvider) -> None:
    chat(fake)
    assert sent(fake).body == {**REQUEST, "model": MODEL}


def test_a_streamed_request_has_the_field_for_it_besides(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)))))
    stream(fake, call_of())
    assert sent(fake).body == {**REQUEST, "model": MODEL, "stream": True}


def test_only_the_output_limit_is_lowered(fake: FakeProvider) -> None:
    chat(fake, call_of(cap=500))
    assert sent(fake).body == {**REQUEST, "model": MODEL, "max_tokens": 500}


@pytest.mark.parametrize(("cap", "budget"), [(None, 9000), (20_000, 9000), (8000, 4000), (1500, 1024), (1025, 1024)])
def test_a_budget_for_thinking_stays_within_a_lowered_limit_where_that_has_room_for_one(
    fake: FakeProvider, cap: int | None, budget: int
) -> None:
    request = {"messages": HI, "max_tokens": 10_000, "thinking": {"type": "enabled", "budget_tokens": 9000}}
    answer = chat(fake, call_of(request, cap=cap))
    assert sent(fake).body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert answer.left_out == ()


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_lowered_limit_without_room_for_a_budget_leaves_thinking_out_with_a_note(
    fake: FakeProvider, *, is_streamed: bool
) -> None:
    """Anthropic refuses a budget below 1,024 tokens, one that is not below `max_tokens`, and without thinking the edit
    that clears it.
    """
    clear_tools = {"type": "clear_tool_uses_20250919"}
    request = {
        "messages": HI,
        "max_tokens": 10_000,
        "thinking": {"type": "enabled", "budget_tokens": 9000},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, clear_tools]},
    }
    call = call_of(request, cap=1024)
    if is_streamed:
        fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)))))
        left_out = stream(fake, call)[0].left_out
    else:
        left_out = chat(fake, call).left_out
    body = sent(fake).body
    assert "thinking" not in body
    assert body["context_management"] == {"edits": [clear_tools]}
    assert left_out == ("thinking with an output limit of at most 1024 tokens",)


def test_under_a_cost_limit_a_budget_stays_within_an_output_limit_that_is_not_lowered(fake: FakeProvider) -> None:
    """A budget above `max_tokens` is that of several answers, and `max_tokens` may not bound what is billed."""
    request = {"messages": HI, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 32_000}}
    chat(fake, call_of(request)._replace(price_ceiling=PriceCeiling(Decimal(3), Decimal(15))))
    assert sent(fake).body["thinking"]["budget_tokens"] == 2000


def test_under_a_cost_limit_openrouter_gets_the_highest_price_that_it_assumes(fake: FakeProvider) -> None:
    """It chooses among several sellers of a model. Its name is the user of the test server's address."""
    call = call_of({"messages": HI, "max_tokens": 40, "provider": {"max_price": {"completion": 10}, "only": ["x"]}})
    call = call._replace(price_ceiling=PriceCeiling(Decimal(3), Decimal(15)))
    base_url = fake.url.replace("//", "//openrouter.ai@")
    chat(fake, call, base_url=base_url)
    assert sent(fake).body["provider"] == {"max_price": {"prompt": 3, "completion": 15}}
    chat(fake, call, base_url=base_url, allow_fields=["provider"])
    assert sent(fake).body["provider"] == {"max_price": {"prompt": 3, "completion": 10}, "only": ["x"]}


def test_a_budget_above_a_limit_that_the_bridge_has_not_lowered_is_the_callers(fake: FakeProvider) -> None:
    """With the beta for interleaved thinking, the budget is that of several answers."""
    request = {"messages": HI, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 32_000}}
    chat(fake, call_of(request))
    assert sent(fake).body == {**request, "model": MODEL}


def test_a_beta_feature_of_the_callers_own_login_is_not_passed_on(fake: FakeProvider) -> None:
    """Claude Code has it where its user is logged in. With an API key, Anthropic answers 401 to it."""
    made = call_of()
    original = made.conversation.original
    assert original is not None
    headers = {"anthropic-beta": "oauth-2025-04-20,one-2026-01-01"}
    conversation = made.conversation._replace(original=original._replace(headers=headers))
    run(fake, lambda adapter: adapter.chat(made._replace(conversation=conversation), timeout_s=5))
    assert sent(fake).headers["anthropic-beta"] == "one-2026-01-01"


def test_the_headers_of_the_format_are_the_callers_and_beta_features_of_both(fake: FakeProvider) -> None:
    chat(fake, headers={"anthropic-beta": "two-2026-01-01, mine-2026-01-01", "anthropic-version": "2023-06-01"})
    headers = sent(fake).headers
    assert headers["anthropic-version"] == "2026-10-21"
    assert headers["anthropic-beta"] == "two-2026-01-01,mine-2026-01-01,one-2026-01-01"
    assert headers["x-api-key"] == "sk-ant-api03-k"


def test_without_headers_of_the_caller_the_version_is_the_bridges(fake: FakeProvider) -> None:
    call = ChatCall(MODEL, conversation_of({"messages": HI, "max_tokens": 9}), None, 1000)
    chat(fake, call)
    assert sent(fake).headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in sent(fake).headers


def test_a_whole_answer_is_kept_as_it_came(fake: FakeProvider) -> None:
    answer = chat(fake)
    assert (answer.original.wire_format, answer.original.fields) == (WireFormat.ANTHROPIC, ANSWER)


def test_each_event_is_kept_as_it_came_and_a_block_of_any_type_is_progress(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream(list(wire.stream(ANSWER)))))
    chunks = stream(fake, call_of())
    kept = [chunk.original.fields for chunk in chunks if chunk.original is not None]
    assert kept == wire.events(ANSWER)
    starts = [chunk.is_progress for chunk in chunks if chunk.original and "content_block" in chunk.original.fields]
    assert starts == [False, False, True, True]  # thinking and text have no words yet


def test_a_count_has_the_fields_that_have_tokens_and_the_same_headers(fake: FakeProvider) -> None:
    fake.script(COUNT_PATH, Reply(body={"input_tokens": 42}))
    assert run(fake, lambda adapter: adapter.count_tokens(call_of(), timeout_s=5)) == 42
    names = ("system", "messages", "tools", "tool_choice", "thinking", "output_config", "context_management")
    assert sent(fake, COUNT_PATH).body == {**{name: REQUEST[name] for name in names}, "model": MODEL}
    assert sent(fake, COUNT_PATH).headers["anthropic-beta"] == HEADERS["anthropic-beta"]


def test_an_answer_by_the_bridges_own_tool_is_not_kept(fake: FakeProvider) -> None:
    request = {"messages": HI, "max_tokens": 99, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    fake.script(
        PATH,
        reject("output_config: Extra inputs are not permitted"),
        Reply(body=wire.message(wire.tool_use("toolu_1", ANSWER_TOOL, n=1), stop_reason="tool_use")),
    )
    answer = chat(fake, call_of(request))
    assert answer.original is None
    assert answer.choices[0].blocks[0].text == '{"n":1}'


@pytest.mark.parametrize(
    ("message", "changes", "left_out"),
    [
        (
            "adaptive thinking is not supported on this model",
            {"thinking": None, "context_management": None},  # its only edit is one of thinking
            ("thinking",),
        ),
        (
            "This model does not support the effort parameter.",
            {"output_config": {"task_budget": {"type": "tokens", "total": 9}}},
            ("the effort of reasoning",),
        ),
        ("context_management: Extra inputs are not permitted", {"context_management": None}, ("context_management",)),
    ],
)
def test_a_hint_that_the_model_rejects_is_left_out_and_noted(
    fake: FakeProvider, message: str, changes: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    fake.script(PATH, reject(message))
    answer = chat(fake)
    expected = {**REQUEST, "model": MODEL, **changes}
    assert sent(fake).body == {name: value for name, value in expected.items() if value is not None}
    assert answer.left_out == left_out


def test_later_system_messages_become_the_users_where_the_model_does_not_take_them(fake: FakeProvider) -> None:
    fake.script(PATH, reject('messages.1.role: unexpected role "system"; expected "user" or "assistant"'))
    answer = chat(fake)
    in_tags = "<system_message>\nToday is Sunday.\n</system_message>"
    assert sent(fake).body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Mend it."}, {"type": "text", "text": in_tags}]},
        *REQUEST["messages"][2:],
    ]
    assert answer.left_out == ()


def test_a_rejected_signature_is_left_out_also_among_messages_that_are_texts(fake: FakeProvider) -> None:
    fake.script(PATH, reject("messages.2.content.0: Invalid `signature` in `thinking` block"))
    chat(fake)
    blocks = sent(fake).body["messages"][2]["content"]
    assert [block["type"] for block in blocks] == ["text", "tool_use", "server_tool_use"]
    assert sent(fake).body["messages"][:2] == REQUEST["messages"][:2]


def test_a_wrong_value_is_the_callers_to_correct(fake: FakeProvider) -> None:
    fake.always(PATH, reject("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"))
    with raises_failure(FailureKind.REQUEST_REJECTED):
        chat(fake)
    assert len(fake.calls(PATH)) == 1

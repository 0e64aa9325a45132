"""Answers of real servers, as files: each is run through the function's handler over real HTTP. See tests/corpus/README.md."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.resilience import BreakerState, ProviderRecord
from tests.corpus.cases import Case, all_cases
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

HI = [{"role": "user", "content": "Hello"}]
SECRET = "sk-configured-secret-of-the-first"
CASES = [(case, mode) for case in all_cases() for mode in case.modes]
PATHS = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}
OTHER_PATHS = {"ollama": {"chat": "/api/chat", "embeddings": "/api/embed"}, "anthropic": {"chat": "/v1/messages"}}
FUNCTIONS = {"chat": "chat_completions", "embeddings": "embeddings"}
# USD for a million tokens, so a token costs as many millionths of a USD.
PRICING = {
    "input_usd_per_mtok": 1,
    "output_usd_per_mtok": 2,
    "cached_input_usd_per_mtok": 0.1,
    "cache_write_usd_per_mtok": 1.25,
    "hour_cache_write_usd_per_mtok": 2,
}


def provider_of(case: Case, fake: FakeProvider, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    model = chat_model("m", pricing=PRICING) if case.endpoint == "chat" else embedding_model("m", dimension=8)
    model |= {"supports_vision": True} if case.endpoint == "chat" else {}
    suffix = "" if fields.get("provider_type") in OTHER_PATHS else "/v1"
    base_url = f"{fake.url}{fields.get('base_url', suffix)}"
    common = {"priority": 1 if name == "first" else 2, "api_key": SECRET if name == "first" else None}
    return provider(name, model, **{**common, **fields, "base_url": base_url})


def path_of(case: Case) -> str:
    return OTHER_PATHS.get(case.provider["provider_type"], PATHS)[case.endpoint]


def bridge_of(case: Case, fake: FakeProvider, *others: dict[str, Any]) -> Bridge:
    return make_bridge(make_settings(provider_of(case, fake, "first", case.provider), *others))


def call(case: Case, mode: str, bridge: Bridge) -> FunctionResponse:
    body: dict[str, Any] = {"messages": HI} if case.endpoint == "chat" else {"input": ["one", "two"]}
    body |= {
        **case.request,
        **({"stream": True, "stream_options": {"include_usage": True}} if mode == "stream" else {}),
    }
    return Function(FUNCTIONS[case.endpoint], bridge)("POST", PATHS[case.endpoint], body)


class Outcome:
    """The answer of one request, buffered or streamed, as OpenAI's client assembles it."""

    def __init__(self, answer: FunctionResponse) -> None:
        self.status, self.headers, self.text = answer.status, answer.headers, answer.text
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        body = _assembled(answer.text) if is_stream else answer.json()
        self.body = body
        self.error: dict[str, Any] = body.get("error") or {}
        self.bridge: dict[str, Any] = body.get("bridge") or {}
        self.attempts: list[dict[str, Any]] = (self.error or self.bridge).get("attempts", [])
        choices = body.get("choices") or [{}]
        self.message: dict[str, Any] = choices[0].get("message") or {}
        self.finish_reason = choices[0].get("finish_reason")


def _assembled(text: str) -> dict[str, Any]:
    events = [event.removeprefix("data: ") for event in text.strip().split("\n\n")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    body: dict[str, Any] = {"choices": [{"message": {}, "finish_reason": None}]}
    message: dict[str, Any] = body["choices"][0]["message"]
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        body |= {name: chunk[name] for name in ("error", "bridge", "usage", "model") if chunk.get(name)}
        for choice in [one for one in chunk.get("choices") or () if one["index"] == 0]:
            body["choices"][0]["finish_reason"] = choice.get("finish_reason") or body["choices"][0]["finish_reason"]
            for name in ("content", "reasoning_content"):
                if isinstance(part := choice["delta"].get(name), str):
                    message[name] = (message.get(name) or "") + part
            for part in choice["delta"].get("tool_calls") or ():
                known = calls.setdefault(
                    part["index"], {"id": "", "type": "", "function": {"name": "", "arguments": ""}}
                )
                known["id"] += part.get("id") or ""
                known["type"] += part.get("type") or ""
                for name in ("name", "arguments"):
                    known["function"][name] += (part.get("function") or {}).get(name) or ""
    assert sorted(calls) == list(range(len(calls)))
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return body


@pytest.fixture
def second() -> Any:
    with FakeProvider(text="Hello from the second.") as fake:
        yield fake


@pytest.mark.parametrize(("case", "mode"), CASES, ids=[f"{case.name}-{mode}" for case, mode in CASES])
def test_an_answer_has_the_expected_outcome(case: Case, mode: str, fake: FakeProvider, second: FakeProvider) -> None:
    other = provider_of(case, second, "second", {"provider_type": "openai"})
    bridge = bridge_of(case, fake, other)
    fake.script(path_of(case), *case.replies)
    outcome, expect = Outcome(call(case, mode, bridge)), case.expect
    _check_attempts(outcome, expect, bridge, fake)
    _check_answer(outcome, expect)
    assert SECRET not in outcome.text
    if (sent := expect.get("sent")) is not None:
        last = [request for request in fake.received if request.method == "POST"][-1].body
        assert {name: last.get(name) for name in sent} == sent


def _check_attempts(outcome: Outcome, expect: Mapping[str, Any], bridge: Bridge, fake: FakeProvider) -> None:
    answered_by = expect.get("answered_by", "first")
    if "error" in expect:
        assert outcome.error.get("code") == expect["error"], outcome.text
    else:
        assert outcome.status == 200, outcome.text
        assert outcome.error == {}
        assert outcome.bridge["provider_id"] == answered_by, outcome.text
    default = "ok" if answered_by == "first" and "error" not in expect else None
    if (code := expect.get("code", default)) is not None:
        assert outcome.attempts[0]["code"] == code, outcome.text
    assert len(outcome.attempts) == expect.get("attempts", len(outcome.attempts))
    posts = [request for request in fake.received if request.method == "POST"]
    assert len(posts) == expect.get("requests", len(posts))
    breaker = bridge.breakers.records.get("first", ProviderRecord()).breaker
    state = "counted" if breaker.failure_count else "untouched"
    state = state if breaker.state is BreakerState.CLOSED else "open"
    assert state == expect.get("breaker", state), outcome.text


def _check_answer(outcome: Outcome, expect: Mapping[str, Any]) -> None:
    message = outcome.message
    if "content" in expect:
        assert (message.get("content") or "") == expect["content"]
    if "reasoning" in expect:
        assert message.get("reasoning_content") == expect["reasoning"]
    if "tool_calls" in expect:
        calls = message.get("tool_calls") or []
        found = [
            {"name": one["function"]["name"], "arguments": json.loads(one["function"]["arguments"])} for one in calls
        ]
        assert found == expect["tool_calls"]
        assert all(one["id"] and one["type"] == "function" for one in calls)
        assert len({one["id"] for one in calls}) == len(calls)
    assert outcome.finish_reason == expect.get("finish_reason", outcome.finish_reason)
    for name, value in (expect.get("usage") or {}).items():
        assert outcome.body["usage"][name] == value
    if "cost_in_micro_usd" in expect:
        assert round(outcome.bridge["cost"] * 1_000_000, 6) == expect["cost_in_micro_usd"]
    assert expect.get("message", "") in outcome.error.get("message", "")
    assert expect.get("notes", "") in " ".join(outcome.bridge.get("notes", []))
    if "vectors" in expect:
        assert len(outcome.body["data"]) == expect["vectors"]


ALONE = [(case, mode) for case, mode in CASES if case.alone is not None]


@pytest.mark.parametrize(("case", "mode"), ALONE, ids=[f"{case.name}-{mode}" for case, mode in ALONE])
def test_without_another_provider_the_caller_gets_the_expected_error(case: Case, mode: str, fake: FakeProvider) -> None:
    fake.always(path_of(case), case.replies[0])
    outcome, alone = Outcome(call(case, mode, bridge_of(case, fake))), case.alone or {}
    assert outcome.status == alone.get("status", outcome.status), outcome.text
    assert outcome.error["code"] == alone.get("error", outcome.error["code"]), outcome.text
    assert outcome.error["param"] == alone.get("param", outcome.error["param"])
    assert alone.get("message", "") in outcome.error["message"]
    if "retry_after" in alone:
        assert int(outcome.headers["retry-after"]) == alone["retry_after"]
    assert SECRET not in outcome.text


def test_there_are_at_least_150_cases() -> None:
    assert len({case.name for case, _ in CASES}) >= 150

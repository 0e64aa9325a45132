"""Requests in OpenAI's wire format, and how they differ between vendors."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers import PriceCeiling, make_provider
from sekha_llm_bridge.providers.http import DEFAULT_RULES, Join, JsonHttp, WireRules
from tests.fakes.failures import raises_failure
from tests.fakes.openai_format import chat_call
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.fakes.settings import chat_model, provider


def sent_by(
    fake: FakeProvider,
    kind: str,
    request: dict[str, Any],
    *,
    cap: int | None = None,
    ceiling: PriceCeiling | None = None,
) -> Any:
    """The request that a vendor receives for `request`."""

    async def call() -> None:
        fields = provider("p", chat_model("m"), provider_type=kind, base_url=f"{fake.url}/v1", api_key="key")
        http = JsonHttp(SystemClock())
        adapter = make_provider(ProviderConfig.model_validate(fields), http, SystemClock())
        await adapter.chat(chat_call("m", {"messages": [], **request}, cap, 4096, ceiling), timeout_s=5)
        await http.aclose()

    asyncio.run(call())
    return fake.received[-1]


def test_unknown_fields_are_sent_unchanged(fake: FakeProvider) -> None:
    assert sent_by(fake, "openai", {"brand_new": {"x": [1, None]}}).body["brand_new"] == {"x": [1, None]}


def test_azure_gets_its_key_in_the_api_key_header(fake: FakeProvider) -> None:
    headers = sent_by(fake, "azure_openai", {}).headers
    assert headers["api-key"] == "key"
    assert "authorization" not in headers


class RecordingHttp(JsonHttp):
    """Records the payload instead of sending it."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.payload: dict[str, Any] = {}

    async def post(
        self,
        url: str,
        *,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float,
        join: Join | None = None,
        rules: WireRules = DEFAULT_RULES,
    ) -> dict[str, Any]:
        self.payload = dict(payload)
        return chat_completion("x")


def test_openai_gets_the_output_limit_as_max_completion_tokens() -> None:
    http = RecordingHttp()
    config = ProviderConfig.model_validate(provider("p", chat_model("m"), api_key="k"))
    asyncio.run(make_provider(config, http, SystemClock()).chat(chat_call("m", {"messages": []}, 50, 9), timeout_s=5))
    assert http.payload["max_completion_tokens"] == 50


@pytest.mark.parametrize("error", [{"param": "max_tokens"}, {"message": "max_tokens is too large: 50"}])
def test_a_rejected_output_cap_of_the_bridge_is_not_a_rejected_request(
    fake: FakeProvider, error: dict[str, str]
) -> None:
    fake.always("/v1/chat/completions", Reply(400, {"error": {"code": "invalid_value", **error}}))
    with raises_failure(FailureKind.OUTPUT_CAP_REFUSED, match="max_output_tokens"):
        sent_by(fake, "litellm", {}, cap=50)
    with raises_failure(FailureKind.REQUEST_REJECTED):
        sent_by(fake, "litellm", {"max_tokens": 50})


@pytest.mark.parametrize(
    ("kind", "request_fields", "expected"),
    [
        ("openai", {}, {"max_tokens": 50}),
        ("azure_openai", {}, {"max_completion_tokens": 50}),
        ("openrouter", {}, {"max_tokens": 50}),
        ("openai", {"max_tokens": 100}, {"max_tokens": 50}),
        ("openai", {"max_tokens": 20}, {"max_tokens": 20}),
        ("openai", {"max_completion_tokens": 20}, {"max_tokens": 20}),
        ("litellm", {"max_completion_tokens": 100}, {"max_tokens": 50}),
        ("azure_openai", {"max_tokens": 100}, {"max_completion_tokens": 50}),
        ("gemini", {"max_tokens": 100, "max_completion_tokens": 30}, {"max_tokens": 30}),
    ],
)
def test_the_lowest_output_cap_is_sent_in_the_vendors_field_only(
    fake: FakeProvider, kind: str, request_fields: dict[str, int], expected: dict[str, int]
) -> None:
    body = sent_by(fake, kind, request_fields, cap=50).body
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == expected


CEILING = PriceCeiling(Decimal("0.5"), Decimal(2))


@pytest.mark.parametrize(
    ("requested", "sent"),
    [
        ({}, {"max_price": {"prompt": 0.5, "completion": 2}}),
        ({"order": ["a"]}, {"order": ["a"], "max_price": {"prompt": 0.5, "completion": 2}}),
        ({"max_price": {"prompt": 0.1, "image": 3}}, {"max_price": {"prompt": 0.1, "completion": 2, "image": 3}}),
        ({"max_price": {"prompt": 9, "completion": "x"}}, {"max_price": {"prompt": 0.5, "completion": 2}}),
    ],
)
def test_openrouter_gets_the_price_ceiling_of_the_cost_limit(
    fake: FakeProvider, requested: dict[str, Any], sent: dict[str, Any]
) -> None:
    request = {"provider": requested} if requested else {}
    assert sent_by(fake, "openrouter", request, ceiling=CEILING).body["provider"] == sent


def test_other_vendors_get_no_price_ceiling_and_openrouter_none_without_a_cost_limit(fake: FakeProvider) -> None:
    assert "provider" not in sent_by(fake, "openai", {}, ceiling=CEILING).body
    assert "provider" not in sent_by(fake, "openrouter", {}).body

"""What is particular to OpenAI's wire format and to the vendors that speak it."""

import asyncio
from typing import Any

import pytest

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.providers import ChatCall, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider


def sent_by(fake: FakeProvider, kind: str, request: dict[str, Any], *, cap: int | None = None) -> Any:
    """What a vendor receives of `request`."""

    async def call() -> None:
        fields = provider("p", chat_model("m"), provider_type=kind, base_url=f"{fake.url}/v1", api_key="key")
        http = JsonHttp(SystemClock())
        adapter = make_provider(ProviderConfig.model_validate(fields), http, SystemClock())
        await adapter.chat(ChatCall("m", {"messages": [], **request}, cap, 4096), timeout_s=5)
        await http.aclose()

    asyncio.run(call())
    return fake.received[-1]


def test_fields_that_the_bridge_does_not_know_are_sent_on_untouched(fake: FakeProvider) -> None:
    assert sent_by(fake, "openai", {"brand_new": {"x": [1, None]}}).body["brand_new"] == {"x": [1, None]}


def test_azure_takes_its_key_in_a_header_of_its_own(fake: FakeProvider) -> None:
    headers = sent_by(fake, "azure_openai", {}).headers
    assert headers["api-key"] == "key"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("kind", "request_fields", "expected"),
    [
        ("openai", {}, {"max_completion_tokens": 50}),
        ("openrouter", {}, {"max_tokens": 50}),
        ("openai", {"max_tokens": 100}, {"max_tokens": 50}),
        ("openai", {"max_tokens": 20}, {"max_tokens": 20}),
        ("litellm", {"max_completion_tokens": 100}, {"max_completion_tokens": 50}),
    ],
)
def test_the_bridges_own_cap_lowers_the_field_that_the_caller_or_the_vendor_uses(
    fake: FakeProvider, kind: str, request_fields: dict[str, int], expected: dict[str, int]
) -> None:
    body = sent_by(fake, kind, request_fields, cap=50).body
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == expected

"""The region and the URLs of a provider, and what the configuration allows."""

from typing import Any

import pytest
from pydantic import ValidationError

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers.addresses import masked_addresses_of
from sekha_llm_bridge.providers.bedrock.endpoint import Endpoint, endpoint_of
from tests.fakes.settings import chat_model, provider

MODEL = "eu.amazon.nova-pro-v1:0"
PROBE = "/foundation-models/amazon.nova-pro-v1%3A0"
VPC = "https://vpce-1-a.bedrock-runtime.eu-west-1.vpce.amazonaws.com"


def config(provider_type: str = "bedrock", **fields: Any) -> ProviderConfig:
    return ProviderConfig.model_validate(provider("b", chat_model(MODEL), provider_type=provider_type, **fields))


@pytest.mark.parametrize(
    ("fields", "region", "base_url", "probe_host"),
    [
        (
            {"region": "eu-west-1"},
            "eu-west-1",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            "https://bedrock.eu-west-1.amazonaws.com",
        ),
        (
            {"region": "cn-north-1"},
            "cn-north-1",
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn",
            "https://bedrock.cn-north-1.amazonaws.com.cn",
        ),
        (
            {"base_url": "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/"},
            "us-gov-west-1",
            "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            "https://bedrock-fips.us-gov-west-1.amazonaws.com",
        ),
        ({"base_url": VPC}, "eu-west-1", VPC, VPC),
        ({"base_url": "http://localhost:4566", "region": "us-west-2"}, "us-west-2", *["http://localhost:4566"] * 2),
        (
            {},
            "us-east-1",
            "https://bedrock-runtime.us-east-1.amazonaws.com",
            "https://bedrock.us-east-1.amazonaws.com",
        ),
    ],
)
def test_region_and_urls_come_from_the_configuration_or_the_environment(
    fields: dict[str, str], region: str, base_url: str, probe_host: str
) -> None:
    assert endpoint_of(config(**fields)) == Endpoint(region, base_url, probe_host + PROBE)


def test_without_a_known_model_the_probe_lists_all() -> None:
    hidden = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"
    section = provider("b", chat_model(hidden), provider_type="bedrock", region="eu-west-1")
    assert endpoint_of(ProviderConfig.model_validate(section)).probe_url.endswith(".com/foundation-models")


def test_the_functions_region_is_that_of_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-southeast-2")
    assert endpoint_of(config()).region == "ap-southeast-2"


def test_without_any_region_the_configuration_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(ConfigError, match="region"):
        endpoint_of(config())


def test_people_are_shown_the_urls_of_bedrock() -> None:
    shown = masked_addresses_of(config(region="eu-west-1"))
    assert shown.chat == "https://bedrock-runtime.eu-west-1.amazonaws.com/model/MODEL_ID/converse"
    assert shown.models == "https://bedrock.eu-west-1.amazonaws.com" + PROBE


@pytest.mark.parametrize(
    "fields",
    [
        {"region": "Frankfurt"},
        {"guardrail_id": "gr1"},
        {"guardrail_version": "1"},
        {"guardrail_id": "Not an id", "guardrail_version": "1"},
        {"guardrail_id": "gr1", "guardrail_version": "0"},
        {"region": "eu-west-1", "provider_type": "openai"},
        {"guardrail_id": "gr1", "guardrail_version": "1", "provider_type": "ollama"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**fields)


def test_a_guardrail_has_an_id_or_an_arn_and_a_version() -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:guardrail/abc1"
    for guardrail_id, version in (("gr1", "DRAFT"), (arn, "12")):
        assert config(guardrail_id=guardrail_id, guardrail_version=version).guardrail_version == version

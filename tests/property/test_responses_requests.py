"""Requests of the Responses API: nothing is lost that chat completions can say, too, and no body is a mistake of the
bridge's.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from openai.types.responses import Response

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.property.responses_requests import Body, any_bodies, chat_requests, check_translation
from tests.unit.api.responses_function import PATH, function

ABLE: dict[str, Any] = {"supports_vision": True, "supports_audio": True}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture(scope="module", params=["openai", "anthropic", "ollama"])
def responses(fake: FakeProvider, request: pytest.FixtureRequest) -> Function:
    base_url = f"{fake.url}/v1" if request.param == "openai" else fake.url
    model = chat_model("m", max_output_tokens=4096, **ABLE)
    tolerant = {"circuit_breaker": {"failure_threshold": 100_000}}
    return function(provider("p", model, provider_type=request.param, base_url=base_url, api_key="k"), routing=tolerant)


@given(chat_requests())
def test_a_chat_that_is_written_as_a_request_for_a_response_reaches_openai_as_the_same_chat(chat: Body) -> None:
    check_translation(chat)


@given(body=any_bodies)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_body_gets_an_answer_or_an_error_about_the_request(responses: Function, body: Body) -> None:
    found = responses("POST", PATH, body)
    if found.status == 200:
        Response.model_validate(found.json(), strict=True)
    else:
        assert found.status in {400, 402, 404}, found.text
        assert found.json()["error"]["message"]

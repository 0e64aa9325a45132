"""The Responses API: any request, and conversations that it and OpenAI's chat completions both can say."""

import contextlib
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from openai.types.responses import Response

from sekha_llm_bridge.api.conversations.features import features_with_unbounded_cost, requested_features
from sekha_llm_bridge.api.conversations.left_out import fields_left_out
from sekha_llm_bridge.api.responses.response import ResponseFrame
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.providers.ollama.adapter import CAPABILITIES
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.property.translators.generated import check_every_adapter, examples, with_other_values
from tests.property.translators.responses_requests import (
    Body,
    chat_requests,
    check_translation,
    parsed,
    response_requests,
)
from tests.unit.api.responses_function import PATH, function


def check_response(body: Body) -> None:
    """Checks a response by OpenAI's own type, without what it repeats of a request that OpenAI may not take."""
    repeated: Body = {"text": None, "reasoning": None, "service_tier": None, "tools": [], "tool_choice": "auto"}
    assert repeated.keys() <= body.keys()
    Response.model_validate({**body, **repeated}, strict=True)


@examples
@given(chat_requests())
def test_a_chat_that_is_written_as_a_request_for_a_response_reaches_openai_as_the_same_chat(chat: Body) -> None:
    check_translation(chat)


@examples
@given(with_other_values(response_requests))
def test_any_request_is_translated_or_refused_as_the_callers_mistake(body: Body) -> None:
    with contextlib.suppress(InvalidRequest):
        found = parsed(body)
        conversation = found.chat.conversation
        check_every_adapter(conversation)
        requested_features(conversation)
        features_with_unbounded_cost(conversation)
        fields_left_out(conversation, CAPABILITIES)
        begun = ResponseFrame(found.request, body, "resp_1", 1).body("in_progress", "m", [])
        check_response(orjson.loads(orjson.dumps(begun)))


@given(body=with_other_values(response_requests))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_request_gets_an_answer_or_an_error_about_it(fake: FakeProvider, body: Body) -> None:
    able: dict[str, Any] = {"supports_vision": True, "supports_audio": True, "max_output_tokens": 4096}
    responses = function(provider("p", chat_model("m", **able), base_url=f"{fake.url}/v1"))
    found = responses("POST", PATH, body)
    if found.status == 200:
        check_response(found.json())
    else:
        assert found.status in {400, 402, 404}, found.text
        assert found.json()["error"]["message"]

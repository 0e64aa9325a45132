"""What coding agents have sent to `/v1/responses`, with a provider of each format: each request is answered as a whole,
or refused because of a part that the provider, or any, does not have.
"""

import pytest

from tests.corpus.agent_requests import AgentRequest, requests_to
from tests.fakes.provider import FakeProvider
from tests.fakes.response_events import check_response_events, parse_response_events
from tests.fakes.settings import chat_model, provider
from tests.unit.api.responses_function import PATH, function

REQUESTS = requests_to(PATH)


@pytest.mark.parametrize("form", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("sent", REQUESTS, ids=[request.title for request in REQUESTS])
def test_a_request_of_an_agent_is_answered_as_a_whole_or_the_error_names_the_part(
    fake: FakeProvider, sent: AgentRequest, form: str
) -> None:
    base_url = f"{fake.url}/v1" if form == "openai" else fake.url
    able = chat_model("m", supports_vision=True, context_window=200_000, max_output_tokens=64_000)
    responses = function(provider("p", able, provider_type=form, base_url=base_url, api_key="k"))
    found = responses("POST", PATH, {**(sent.body or {}), "model": "m"}, remaining_ms=900_000)
    if part := sent.refused_by.get(form):
        assert found.status == 400
        assert part in found.json()["error"]["message"]
    else:
        assert found.status == 200, found.text
        assert check_response_events(parse_response_events(found.text))["status"] == "completed"

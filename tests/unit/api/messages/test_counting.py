"""`POST /v1/messages/count_tokens`."""

import pytest
from anthropic.types import MessageTokensCount

from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, provider
from tests.unit.api.messages.function import COUNT_PATH, HI, error, function


@pytest.fixture
def counting(claude: FakeProvider, second: FakeProvider) -> Function:
    """A provider that counts, and one that cannot."""
    return function(
        provider(
            "anthropic",
            chat_model("claude-opus-4-6"),
            provider_type="anthropic",
            base_url=claude.url,
        ),
        provider("local", chat_model("llama"), provider_type="ollama", base_url=second.url),
    )


def test_the_provider_of_the_first_candidate_counts_by_a_free_request(counting: Function, claude: FakeProvider) -> None:
    claude.script(COUNT_PATH, Reply(body={"input_tokens": 42}))
    body = counting("POST", COUNT_PATH, {"model": "claude-opus-4-6", "messages": HI, "system": "Be brief."}).json()
    assert MessageTokensCount.model_validate(body).input_tokens == 42
    assert body["bridge"] == {"provider_id": "anthropic", "model_id": "claude-opus-4-6", "estimated": False}
    assert [request.path for request in claude.received] == [COUNT_PATH]
    assert claude.received[0].body == {"model": "claude-opus-4-6", "messages": HI, "system": "Be brief."}


def test_a_prompt_with_a_schema_is_counted_in_the_form_in_which_it_is_sent(
    counting: Function, claude: FakeProvider
) -> None:
    """A limit goes by the most tokens of any form in which the request may be sent; the answer does not."""
    claude.script(COUNT_PATH, Reply(body={"input_tokens": 12}))
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
    fields = {"model": "claude-opus-4-6", "messages": HI, "output_config": {"format": form}}
    assert counting("POST", COUNT_PATH, fields).json()["input_tokens"] == 12


@pytest.mark.parametrize("model", ["llama", "claude-opus-4-6"])
def test_where_nobody_counts_the_answer_is_an_estimate_that_says_so(
    counting: Function, claude: FakeProvider, model: str
) -> None:
    claude.always(COUNT_PATH, Reply(500, {}))
    body = counting("POST", COUNT_PATH, {"model": model, "messages": HI}).json()
    assert 1 <= MessageTokensCount.model_validate(body).input_tokens <= 20
    assert body["bridge"]["estimated"] is True


def test_a_prompt_that_no_model_takes_is_counted_all_the_same(counting: Function) -> None:
    prompt = [{"role": "user", "content": "word " * 20_000}]
    body = counting("POST", COUNT_PATH, {"model": "llama", "messages": prompt}).json()
    assert body["input_tokens"] > 10_000
    assert body["bridge"] == {"provider_id": None, "model_id": None, "estimated": True}


def test_a_count_of_an_unknown_model_is_an_error(counting: Function) -> None:
    answer = counting("POST", COUNT_PATH, {"model": "nobody", "messages": HI})
    assert (answer.status, error(answer)["type"]) == (404, "not_found_error")


def test_a_count_refuses_what_a_message_would_be_refused_for(counting: Function) -> None:
    answer = counting("POST", COUNT_PATH, {"model": "llama", "messages": HI, "max_tokens": [], "stop_sequences": 1})
    assert (answer.status, error(answer)["param"]) == (400, "max_tokens")

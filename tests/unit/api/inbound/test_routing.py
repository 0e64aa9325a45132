"""Routing is the same through every inbound API."""

import base64
from dataclasses import replace

import pytest

from tests.fakes.functions import Function
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider
from tests.unit.api.inbound.apis import APIS, CHAT, OLLAMA_GENERATE, Ask, Client, InboundApi

CLOUD_PATH, LOCAL_PATH = "/v1/chat/completions", "/api/chat"
IMAGE = f"data:image/png;base64,{base64.b64encode(png()).decode()}"


def test_the_answer_names_the_model_that_gave_it_and_has_the_receipt(client: Client, ask: Ask) -> None:
    answer = client(ask, model="auto")
    assert answer.status == 200, answer.response.text
    assert (answer.text, answer.model, answer.is_complete) == ("Hello from the fake.", "gpt", True)
    assert (answer.receipt["provider_id"], answer.receipt["cost"]) == ("first", 0.000025)
    assert answer.receipt["cost"] <= answer.receipt["cost_bound"]
    headers = answer.response.headers
    assert (headers["x-bridge-provider"], headers["x-bridge-model"], headers["x-bridge-attempts"]) == (
        "first",
        "gpt",
        "1",
    )
    assert headers["x-request-id"] == "gateway-request"


def test_a_named_model_is_pinned(client: Client, fake: FakeProvider) -> None:
    assert client(model="llama").receipt["provider_id"] == "local"
    assert fake.received == []


def test_a_model_may_be_named_with_its_provider(client: Client) -> None:
    assert client(model="local/llama").receipt["provider_id"] == "local"


@pytest.mark.parametrize("name", ["best", "claude-sonnet-4-5"])
def test_an_alias_stands_for_its_models(client: Client, name: str) -> None:
    assert client(model=name).receipt["model_id"] == "gpt"


def test_a_key_of_the_default_models_routes_by_its_task(client: Client) -> None:
    assert client(model="chat_fast").status == 200
    answer = client(model="chat_smart")
    assert answer.status == 400
    assert answer.error is not None
    assert answer.error["code"] == "no_capable_model"


def test_an_unknown_model_is_a_404_that_lists_what_exists(client: Client, ask: Ask) -> None:
    answer = client(ask, model="ghost")
    assert answer.status == 404
    assert answer.error is not None
    assert (answer.error["code"], answer.error["param"]) == ("model_not_found", "model")
    for part in ("ghost", "gpt", "llama", "auto"):
        assert part in answer.error["message"]


def test_a_preferred_model_goes_first(client: Client) -> None:
    assert client(model="auto", preferred_model="llama").receipt["provider_id"] == "local"


def test_a_preferred_model_in_a_header_goes_first(client: Client) -> None:
    headers = {"content-type": "application/json", "x-bridge-preferred-model": "llama"}
    assert client(model="auto", headers=headers).receipt["provider_id"] == "local"


def test_an_unsuitable_preferred_model_is_passed_over_with_a_note(client: Client) -> None:
    receipt = client(model="auto", preferred_model="ghost").receipt
    assert receipt["provider_id"] == "first"
    assert any("preferred_model" in note and "ghost" in note for note in receipt["notes"])


def test_a_wrong_task_is_a_400_that_names_the_field(client: Client) -> None:
    answer = client(model="auto", task="embedding")
    assert answer.status == 400
    assert answer.error is not None
    assert answer.error["param"] == "task"


def test_a_near_miss_of_an_own_field_is_a_400_that_names_the_right_one(client: Client, fake: FakeProvider) -> None:
    answer = client(model="auto", max_costs=1)
    assert answer.status == 400
    assert answer.error is not None
    assert "max_cost" in answer.error["message"]
    assert fake.received == []


def test_an_image_needs_a_vision_model_by_itself(api: InboundApi, fake: FakeProvider) -> None:
    models = (chat_model("blind"), chat_model("sees", supports_vision=True))
    over = api.over(provider("p", *models, base_url=f"{fake.url}/v1"))
    assert over(Ask(image_url=IMAGE), model="auto").receipt["model_id"] == "sees"


def test_without_a_vision_model_an_image_is_a_400(api: InboundApi, fake: FakeProvider) -> None:
    over = api.over(provider("p", chat_model("blind"), base_url=f"{fake.url}/v1"))
    answer = over(Ask(image_url=IMAGE), model="auto")
    assert answer.status == 400
    assert answer.error is not None
    assert answer.error["code"] == "no_capable_model"


@pytest.mark.parametrize("api", [api for api in APIS if api is not OLLAMA_GENERATE], ids=lambda api: api.name)
def test_tools_exclude_a_model_that_is_known_to_have_none(api: InboundApi, fake: FakeProvider) -> None:
    models = (chat_model("simple", supports_function_calling=False), chat_model("able"))
    over = api.over(provider("p", *models, base_url=f"{fake.url}/v1"))
    assert over(Ask(tool="weather"), model="auto").receipt["model_id"] == "able"


def test_a_too_long_prompt_is_a_400_in_the_words_that_clients_look_for(client: Client, ask: Ask) -> None:
    answer = client(replace(ask, text="word " * 20_000), model="gpt")
    assert answer.status == 400
    assert answer.error is not None
    assert answer.error["code"] == "context_length_exceeded"
    assert "maximum context length is 8192 tokens" in answer.error["message"]


def test_more_output_than_the_window_has_room_for_is_a_400_in_chat_completions_and_less_output_elsewhere(
    api: InboundApi, fake: FakeProvider
) -> None:
    over = api.over(provider("p", chat_model("m", context_window=8192), base_url=f"{fake.url}/v1"))
    answer = over(Ask(max_tokens=9000), model="m")
    if api is CHAT:
        assert answer.error is not None
        assert (
            "maximum context length is 8192 tokens (p/m), and 9000 of output are asked for" in answer.error["message"]
        )
    else:
        assert answer.status == 200
        assert 4000 < fake.received[0].body["max_tokens"] < 8192


def test_the_first_candidate_of_the_plan_is_what_answers(client: Client, api: InboundApi) -> None:
    """The explain endpoint is the router itself: of the same messages, by whatever API they came."""
    explain = Function("route", client.bridge)
    for fields in ({}, {"max_cost": 0}, {"preferred_model": "llama"}, {"task": "chat_small"}):
        body = {**CHAT.body(Ask(text="What now?")), **fields}
        plan = explain("POST", "/api/v1/route", body).json()
        receipt = client(Ask(text="What now?"), model="auto", **fields).receipt
        assert (receipt["provider_id"], receipt["model_id"]) == (plan["provider_id"], plan["model_id"])


def test_a_model_for_embeddings_answers_no_chat(api: InboundApi, fake: FakeProvider) -> None:
    over = api.over(provider("p", embedding_model("e"), base_url=f"{fake.url}/v1"))
    answer = over(model="e")
    assert answer.status == 400
    assert fake.received == []

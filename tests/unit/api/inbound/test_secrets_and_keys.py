"""No secret and no prompt comes out of any inbound API, and keys, budgets and idempotency hold for each."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest

from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.quotas import Counter, Quota
from sekha_llm_bridge.access.quotas.memory import MemoryQuotaStore
from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.errors import ConfigError
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.inbound.apis import Ask, Client, InboundApi

CLOUD_PATH = "/v1/chat/completions"
PROMPT, SECRET = "the yellow submarine", "sk-hidden-0123456789abcdef"


def test_neither_prompt_nor_key_nor_answer_is_logged(
    api: InboundApi, fake: FakeProvider, log: StringIO, ask: Ask
) -> None:
    over = api.over(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1", api_key=SECRET))
    fake.script(CLOUD_PATH, Reply(500, {"error": {"message": f"{PROMPT} {SECRET}"}}))
    for _ in range(2):
        over(replace(ask, text=PROMPT, system=PROMPT), model="gpt")
    over(replace(ask, text=PROMPT), model="gpt", max_tokens="many", max_output_tokens="many", options=PROMPT)
    assert f'"path":"{api.path}"' in log.getvalue()
    for hidden in (PROMPT, "submarine", SECRET, "Hello from"):
        assert hidden not in log.getvalue()


def test_a_providers_words_come_out_without_its_key(api: InboundApi, fake: FakeProvider, ask: Ask) -> None:
    over = api.over(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1", api_key=SECRET))
    fake.always(CLOUD_PATH, Reply(400, {"error": {"message": f"key {SECRET} is not for this"}}))
    answer = over(ask, model="gpt")
    assert answer.status == 400
    assert answer.error is not None
    assert "is not for this" in answer.error["message"]
    assert SECRET not in answer.response.text


def test_a_callers_key_reaches_no_provider(client: Client, fake: FakeProvider) -> None:
    headers = {"content-type": "application/json", "x-api-key": SECRET, "authorization": f"Bearer {SECRET}"}
    assert client(model="gpt", headers=headers).status == 200
    assert SECRET not in str(fake.received)


def test_a_configuration_that_cannot_be_used_is_the_answer(api: InboundApi, ask: Ask) -> None:
    broken = Client(api, ConfigError(["file.yaml:3: secret details"]))  # type: ignore[arg-type]  # as Function takes it
    answer = broken(ask, model="gpt")
    assert answer.status == 500
    assert answer.error is not None
    assert answer.error["code"] == "config_invalid"
    assert "secret details" not in answer.response.text


def test_while_a_providers_secret_cannot_be_fetched_the_next_one_answers(
    api: InboundApi, fake: FakeProvider, second: FakeProvider, ask: Ask
) -> None:
    settings = make_settings(
        provider("cloud", chat_model("gpt"), base_url=f"{fake.url}/v1", priority=1),
        provider("other", chat_model("small"), base_url=f"{second.url}/v1", priority=2),
    )
    over = api.with_bridge(make_bridge(replace(settings, pending={"cloud": "AWS answered ThrottlingException"})))
    assert over(ask, model="auto").receipt["provider_id"] == "other"
    answer = over(ask, model="gpt")
    assert answer.status == 503
    assert int(answer.response.headers["retry-after"]) >= 1
    assert fake.received == []


@pytest.fixture
def _keys_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")


def key(**policy: object) -> Caller:
    return Caller("key_a", {}, KeyPolicy(**policy))  # type: ignore[arg-type]  # its fields


@pytest.mark.usefixtures("_keys_are_needed")
def test_a_function_is_closed_without_a_verified_key(client: Client, fake: FakeProvider, ask: Ask) -> None:
    answer = client(ask, model="gpt")
    assert answer.status == 401
    assert answer.error is not None
    assert answer.error["code"] == "invalid_api_key"
    assert fake.received == []


@pytest.mark.usefixtures("_keys_are_needed")
def test_a_key_sees_only_its_models(client: Client, fake: FakeProvider) -> None:
    answer = client(model="gpt", caller=key(models=("llama",)))
    assert answer.status in {403, 404}
    assert client(model="auto", caller=key(models=("llama",))).receipt["model_id"] == "llama"
    assert fake.received == []


@pytest.mark.usefixtures("_keys_are_needed")
def test_a_spent_budget_is_a_402_for_every_api(api: InboundApi, fake: FakeProvider, ask: Ask) -> None:
    settings = make_settings(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1"))
    over = api.with_bridge(make_bridge(settings, quota_store=MemoryQuotaStore()))
    caller = key(monthly_usd=Decimal("0.0002"))
    short = replace(ask, text="a", max_tokens=1)
    statuses = [over(short, model="gpt", caller=caller).status for _ in range(20)]
    assert statuses[0] == 200
    assert statuses[-1] == 402
    assert len(fake.calls(CLOUD_PATH)) == statuses.count(200)


@pytest.mark.usefixtures("_keys_are_needed")
def test_a_cut_stream_is_paid_from_the_budget_by_its_bound(api: InboundApi, fake: FakeProvider) -> None:
    """The provider may bill the whole answer, which ends at 500 tokens for two dollars per million."""
    fake.always(CLOUD_PATH, Reply(stream=Stream(list(chat_events("Hello"))[:2])))
    bridge = make_bridge(
        make_settings(provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1")), quota_store=MemoryQuotaStore()
    )
    answer = api.with_bridge(bridge)(Ask(stream=True), model="gpt", caller=key(daily_usd=Decimal("0.0018")))
    assert answer.error is not None
    assert answer.error["code"] == "answer_broken"
    quota = Quota("key_a", {Counter.DAY: 1})
    used = asyncio.new_event_loop().run_until_complete(bridge.spending_maker().quotas.read(quota)).used
    assert 500 * 2 / 10**6 < used[Counter.DAY] / 10**12 <= 0.0018


def test_a_repeated_request_gets_the_first_answer(client: Client, fake: FakeProvider, ask: Ask) -> None:
    headers = {"content-type": "application/json", "idempotency-key": "3f1c9f0e-0001"}
    first = client(ask, model="gpt", headers=headers)
    again = client(ask, model="gpt", headers=headers)
    assert first.status == again.status == 200
    assert again.response.text == first.response.text
    assert again.response.headers["x-idempotent-replayed"] == "true"
    assert again.response.headers["content-type"] == first.response.headers["content-type"]
    assert len(fake.calls(CLOUD_PATH)) == 1

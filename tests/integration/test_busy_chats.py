"""More chats at once than `MaxChats` and its like: the whole local stack, with OpenAI's and Anthropic's clients."""

import threading
from collections.abc import Iterator

import anthropic
import openai
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider, Reply, Stream, chunk
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.stack

CHAT = "/v1/chat/completions"
HELLO = "Hello"


@pytest.fixture(scope="module")
def provider_of_one() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(provider_of_one: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    file = tmp_path_factory.mktemp("busy") / "llm.yaml"
    file.write_text(yaml.safe_dump({"providers": [provider("p", chat_model(), base_url=f"{provider_of_one.url}/v1")]}))
    with running_stack(config=file, on_demand=True, parameters={"MaxChats": "1", "MaxMessages": "1"}) as running:
        yield running


def say_hello(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": HELLO}])
    return str(answer.choices[0].message.content)


def waiting_for(go_on: threading.Event) -> Reply:
    """An answer that goes on after its first word when it may."""
    parts: list[bytes | threading.Event] = [
        chunk({"content": "one"}),
        go_on,
        chunk({}, finish="stop"),
        b"data: [DONE]\n\n",
    ]
    return Reply(stream=Stream(parts))


def test_a_chat_beyond_the_limit_is_a_503_that_says_busy_and_is_answered_by_a_retry(
    stack: RunningStack, provider_of_one: FakeProvider
) -> None:
    go_on, calls_before = threading.Event(), len(provider_of_one.calls(CHAT))
    provider_of_one.script(CHAT, waiting_for(go_on))
    client = openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="none", max_retries=0)
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": HELLO}]
    with client.chat.completions.create(model="auto", messages=messages, stream=True) as first:
        assert next(iter(first)).choices[0].delta.content is not None
        with pytest.raises(openai.InternalServerError) as refused:
            say_hello(client)
        assert (refused.value.status_code, refused.value.code) == (503, "no_capacity")
        assert refused.value.response.headers["retry-after"] == "5"
        assert "busy" in refused.value.message
        assert len(provider_of_one.calls(CHAT)) == calls_before + 1
        assert client.models.list().data, "lists are not affected"
        go_on.set()
        list(first)
    assert say_hello(client) == provider_of_one.text


def test_a_message_beyond_its_own_limit_is_a_503_that_anthropics_client_reads(
    stack: RunningStack, provider_of_one: FakeProvider
) -> None:
    go_on = threading.Event()
    provider_of_one.script(CHAT, waiting_for(go_on))
    client = anthropic.Anthropic(base_url=stack.base_url, api_key="none", max_retries=0)
    messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": HELLO}]
    with client.messages.create(model="auto", max_tokens=50, messages=messages, stream=True) as first:
        assert next(iter(first)).type == "message_start"
        with pytest.raises(anthropic.InternalServerError) as refused:
            client.messages.create(model="auto", max_tokens=50, messages=messages)
        assert (refused.value.status_code, refused.value.request_id is not None) == (503, True)
        assert "busy" in str(refused.value)
        assert say_hello(openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key="none")), "other chats are not affected"
        go_on.set()
        list(first)
    (block,) = client.messages.create(model="auto", max_tokens=50, messages=messages).content
    assert block.type == "text"
    assert block.text == provider_of_one.text

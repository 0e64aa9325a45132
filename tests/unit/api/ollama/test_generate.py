"""`POST /api/generate`, through the function's own handler, against providers over HTTP."""

import base64
from typing import Any

import pytest

from tests.fakes.functions import Function
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, chat_completion
from tests.unit.api.ollama.function import GENERATE, ask, error, post, stream

DATA = base64.b64encode(png()).decode()


def test_a_prompt_is_the_users_message_after_the_system_message(ollama: Function, fake: FakeProvider) -> None:
    whole = ask(ollama, GENERATE, model="gpt", system="Be brief.", options={"num_predict": 9})
    assert (whole["response"], whole["done_reason"], whole["eval_count"]) == ("Hello from the fake.", "stop", 7)
    body = fake.received[0].body
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert body["max_tokens"] == 9


def test_whole_and_streamed_answers_have_the_same_content(ollama: Function) -> None:
    streamed = stream(ollama, GENERATE, model="claude-opus-4-6")
    assert (streamed.text, streamed.is_whole) == ("Hello from Claude.", True)
    assert streamed.last["bridge"]["provider_id"] == "anthropic"
    assert streamed.last["response"] == ""


def test_images_thinking_and_a_format_are_those_of_a_chat(ollama: Function, fake: FakeProvider) -> None:
    fake.script("/v1/chat/completions", Reply(body=chat_completion("{}", reasoning_content="Hmm.")))
    whole = ask(ollama, GENERATE, model="gpt", images=[DATA], format="json")
    assert (whole["response"], whole["thinking"]) == ("{}", "Hmm.")
    body = fake.received[0].body
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
    assert body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("fields", [{"raw": True}, {"suffix": "}"}, {"template": "{{ .Prompt }}"}, {"context": [1]}])
def test_what_only_the_model_itself_could_do_is_a_400_that_says_the_way_out(
    ollama: Function, fake: FakeProvider, fields: dict[str, Any]
) -> None:
    answer = post(ollama, GENERATE, model="gpt", **fields)
    message, bridge = error(answer)
    (name,) = fields
    assert (answer.status, bridge["param"]) == (400, name)
    assert message.startswith(f"{name}: ")
    assert fake.received == []


def test_the_empty_values_of_these_fields_are_nothing(ollama: Function) -> None:
    empty = {"raw": False, "suffix": "", "template": "", "context": [], "system": "", "images": []}
    assert ask(ollama, GENERATE, model="gpt", **empty)["bridge"]["notes"] == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({}, "load"), ({"keep_alive": -1}, "load"), ({"keep_alive": 0}, "unload"), ({"keep_alive": "0m"}, "unload")],
)
def test_an_empty_prompt_asks_nobody(
    ollama: Function, second: FakeProvider, fields: dict[str, Any], reason: str
) -> None:
    loaded = ask(ollama, GENERATE, model="llama3.1:8b", prompt="", **fields)
    assert (loaded["done_reason"], loaded["response"]) == (reason, "")
    assert second.received == []
    assert post(ollama, GENERATE, model="llama9", prompt=None).status == 404

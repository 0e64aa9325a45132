"""Requests with an `Idempotency-Key` through the whole stack: API Gateway, functions in processes of their own, DynamoDB,
and OpenAI's client, which repeats a request by itself.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chat_events
from tests.fakes.settings import chat_model, provider

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
PATH = "/v1/chat/completions"
HI: Any = [{"role": "user", "content": "Hello"}]
TIMEOUT_S = 6  # of the chat function: a killed one's claim lapses after it


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, fake: FakeProvider) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("idempotency")
    config = folder / "providers.yaml"
    config.write_text(yaml.safe_dump({"providers": [provider("p", chat_model("gpt"), base_url=f"{fake.url}/v1")]}))
    template = folder / "template.yaml"
    text = (ROOT / "template.yaml").read_text()
    template.write_text(
        text.replace("CodeUri: functions/", f"CodeUri: {ROOT}/functions/")
        .replace("ContentUri: layers/", f"ContentUri: {ROOT}/layers/")
        .replace("Timeout: 900  # API", f"Timeout: {TIMEOUT_S}  # API")
    )
    with running_stack(config=config, template=template, on_demand=True, auth=True) as running:
        yield running


def new_key(stack: RunningStack, name: str) -> str:
    environ = {**os.environ, "SEKHA_LOCAL_STACKS": str(stack.state / "stacks")}
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "keys", "create", "--name", name]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout.strip()


@pytest.fixture(scope="module")
def api_key(stack: RunningStack) -> str:
    return new_key(stack, "one")


@pytest.fixture(autouse=True)
def _forget(fake: FakeProvider) -> None:
    fake.reset()


def functions_of(stack: RunningStack, name: str) -> list[int]:
    """The processes of a function of this stack."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(entry.parent.name), int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(pid)
    found, open_pids = [], [stack.process.pid]
    while open_pids:
        pid = open_pids.pop()
        open_pids += children.get(pid, [])
        try:
            if Path(f"/proc/{pid}/cwd").readlink().name == name:
                found.append(pid)
        except OSError:
            continue
    return found


def until(holds: Any) -> None:
    """Waits for a condition."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not become true")


@pytest.mark.parametrize("stream", [False, True])
def test_twenty_clients_at_once_get_one_answer_from_one_call(
    stack: RunningStack, api_key: str, fake: FakeProvider, *, stream: bool
) -> None:
    answer = {"stream": Stream(list(chat_events("Hello.")))} if stream else {"body": chat_completion("Hello.")}
    fake.script(PATH, Reply(delay_s=1, **answer))  # so that others wait
    body = {"messages": HI, "stream": stream}

    def ask(_: int) -> httpx.Response:
        """Comes back when it is told to, as OpenAI's client does."""
        for _attempt in range(20):
            headers = {"idempotency-key": f"20-{stream}", "authorization": f"Bearer {api_key}"}
            answer = httpx.post(f"{stack.base_url}{PATH}", json=body, headers=headers, timeout=60)
            if answer.status_code != 409:
                break
            time.sleep(float(answer.headers["retry-after"]))
        return answer

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("x-idempotent-replayed" in answer.headers for answer in answers) == 19
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20
    assert len(fake.calls(PATH)) == 1


def test_a_function_that_is_killed_lets_the_next_request_answer_once_its_claim_has_lapsed(
    stack: RunningStack, api_key: str, fake: FakeProvider
) -> None:
    hanging = Reply(hang=True)
    fake.script(PATH, hanging)
    key = {"Idempotency-Key": "killed-in-between"}
    client = openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=api_key, max_retries=9, timeout=30)
    answers: list[Any] = []

    def ask() -> None:
        answers.append(client.chat.completions.create(model="auto", messages=HI, extra_headers=key))

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: len(fake.calls(PATH)) == 1)
    for pid in functions_of(stack, "chat_completions"):
        os.kill(pid, signal.SIGKILL)
    killed_at_s = time.monotonic()
    asking.join(60)
    assert answers[0].choices[0].message.content == fake.text
    assert time.monotonic() - killed_at_s > TIMEOUT_S / 2  # the killed one's claim kept it waiting
    assert len(fake.calls(PATH)) == 2
    ask()
    assert answers[1].id == answers[0].id
    assert len(fake.calls(PATH)) == 2


def test_openais_client_reads_a_repeated_stream_and_the_errors(
    stack: RunningStack, api_key: str, fake: FakeProvider
) -> None:
    fake.script(PATH, Reply(stream=Stream(list(chat_events("Hello from the first.")))))
    client = openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=api_key, max_retries=2)

    def streamed(content: str) -> list[Any]:
        messages: Any = [{"role": "user", "content": content}]
        headers = {"Idempotency-Key": "streamed"}
        return list(client.chat.completions.create(model="auto", messages=messages, stream=True, extra_headers=headers))

    first, second = streamed("Hello"), streamed("Hello")
    assert "".join(part.choices[0].delta.content or "" for part in second if part.choices) == "Hello from the first."
    assert [part.model_dump() for part in second] == [part.model_dump() for part in first]
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        streamed("Goodbye")
    assert caught.value.code == "idempotency_key_reused"
    with pytest.raises(openai.BadRequestError, match="1 to 255 visible ASCII characters"):
        client.chat.completions.create(model="auto", messages=HI, extra_headers={"Idempotency-Key": "two words"})
    assert len(fake.calls(PATH)) == 1


def test_two_api_keys_with_the_same_idempotency_key_do_not_see_each_others_answers(
    stack: RunningStack, api_key: str, fake: FakeProvider
) -> None:
    fake.script(PATH, Reply(body=chat_completion("One.")), Reply(body=chat_completion("Two.")))

    def ask(key: str) -> tuple[str | None, bool]:
        with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key) as client:
            headers = {"Idempotency-Key": "the-same"}
            raw = client.chat.completions.with_raw_response.create(model="auto", messages=HI, extra_headers=headers)
            return raw.parse().choices[0].message.content, "x-idempotent-replayed" in raw.headers

    other = new_key(stack, "other")
    assert [ask(api_key), ask(other), ask(api_key), ask(other)] == [
        ("One.", False),
        ("Two.", False),
        ("One.", True),
        ("Two.", True),
    ]


def test_openais_client_sends_no_key_by_itself(fake: FakeProvider) -> None:
    """Its retries have the same key only where the caller gives one: then every try of a call has it."""
    seen: list[str | None] = []

    def note(request: httpx.Request) -> None:
        seen.append(request.headers.get("idempotency-key"))

    fake.script(PATH, *[Reply(429, {"error": {"message": "wait"}}, {"retry-after": "1"})] * 2)
    with openai.OpenAI(
        base_url=f"{fake.url}/v1",
        api_key="none",
        max_retries=1,
        http_client=openai.DefaultHttpxClient(event_hooks={"request": [note]}),
    ) as client:
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="gpt", messages=HI, extra_headers={"Idempotency-Key": "mine"})
        client.chat.completions.create(model="gpt", messages=HI)
    assert seen == ["mine", "mine", None]

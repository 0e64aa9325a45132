"""Requests with an `Idempotency-Key`, through the functions' own apps, against a provider over HTTP."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller, KeyPolicy
from sekha_llm_bridge.access.idempotency import AnswerRecorder, Claim
from sekha_llm_bridge.access.idempotency.memory import MemoryAnswerStore
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.errors import RequestUnderWay
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.functions import FakeContext, Function, rest_event
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_events, chunk
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

ROOT = Path(__file__).parents[3]
PATH, LOCAL = "/v1/chat/completions", "/api/chat"
HI = [{"role": "user", "content": "Hello"}]
OTHER = [{"role": "user", "content": "Goodbye"}]
KEY = {"idempotency-key": "3f1c9f0e-0001"}
RESET = Reply(reset=True)
BROKEN = Reply(stream=Stream([*list(chat_events("Hello from the first."))[:3]], ending="reset"))


@dataclass
class Received:
    """What a client received. `is_whole`: the last byte was sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    is_whole: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def json(self) -> Any:
        return json.loads(self.body)

    def stored_headers(self) -> dict[str, str]:
        """Those that a repeated answer has as well."""
        return {name: value for name, value in self.headers.items() if name not in {"x-request-id", "content-length"}}


class Client:
    """Calls an app by ASGI, as Lambda's runtime does: many requests at once, and clients that disconnect."""

    def __init__(self, name: str, bridge: Bridge | Exception) -> None:
        self._app = Function(name, bridge)._module.app
        self.bridge = bridge

    async def send(
        self,
        body: object,
        *,
        path: str = PATH,
        headers: dict[str, str] | None = None,
        caller: Caller | None = None,
        leaves_after: int | None = None,
        remaining_ms: int = 29_000,
        method: str = "POST",
    ) -> Received:
        """Sends one request. The client reads `leaves_after` messages, if that is given."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        event = rest_event(method, path, raw.decode(), {})
        if caller is not None:
            event["requestContext"]["authorizer"] = {CONTEXT_FIELD: caller.context_text()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": None,
            "root_path": "",
            "scheme": "https",
            "query_string": b"",
            "headers": [[name.encode(), value.encode("latin-1")] for name, value in (headers or {}).items()],
            "server": ("bridge", 443),
            "client": ("127.0.0.1", 0),
            "aws.event": event,
            "aws.context": FakeContext(remaining_ms),
        }
        received, n_sent, is_read = Received(), 0, False

        async def receive() -> dict[str, Any]:
            nonlocal is_read
            if is_read:
                await asyncio.Event().wait()
            is_read = True
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal n_sent
            if n_sent == leaves_after:
                raise OSError("the client has disconnected")
            n_sent += 1
            if message["type"] == "http.response.start":
                received.status = message["status"]
                received.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                received.parts.append(message["body"])
                received.is_whole = not message.get("more_body", False)

        await self._app(scope, receive, send)
        return received

    def run(self, *requests: Any) -> list[Received]:
        """Runs requests at once."""

        async def all_at_once() -> list[Received]:
            answers = await asyncio.gather(*requests)
            await self.close()
            return answers

        return asyncio.run(all_at_once())

    async def close(self) -> None:
        if isinstance(self.bridge, Bridge):
            await self.bridge.connections.aclose()

    def __call__(self, messages: object = HI, headers: dict[str, str] | None = None, **more: Any) -> Received:
        times = {name: more.pop(name) for name in ("caller", "leaves_after", "remaining_ms", "path") if name in more}
        return self.run(self.send({"messages": messages, **more}, headers=headers or KEY, **times))[0]


def settings_of(fake: FakeProvider, **sections: Any) -> Any:
    return make_settings(
        provider("paid", chat_model("gpt"), embedding_model("e"), base_url=f"{fake.url}/v1", priority=1),
        provider("local", chat_model("llama", price=None), provider_type="ollama", base_url=fake.url, priority=2),
        **{"routing": {"auto_fallback": False}, **sections},
    )


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture(params=["memory", "dynamodb"])
def chat(
    request: pytest.FixtureRequest, fake: FakeProvider, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch
) -> Client:
    """The chat function, with answers in memory, and in DynamoDB over HTTP."""
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    table = dynamodb.new_table("AnswersTable") if request.param == "dynamodb" else ""
    return Client("chat_completions", make_bridge(settings_of(fake), answers_table=table))


def error_of(answer: Received) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


def logged(log: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines() if '"message":"request"' in line]


def test_a_repeated_request_gets_the_same_answer_and_asks_no_provider(chat: Client, fake: FakeProvider) -> None:
    first, second = chat(), chat()
    assert (first.status, second.status) == (200, 200)
    assert second.body == first.body
    assert second.stored_headers() == {**first.stored_headers(), "x-idempotent-replayed": "true"}
    assert {"x-bridge-model", "x-bridge-cost-usd", "content-type"} <= first.headers.keys()
    assert second.headers["content-length"] == str(len(first.body))
    assert len(fake.calls(PATH)) == 1


def test_a_stream_is_repeated_as_a_stream(chat: Client, fake: FakeProvider) -> None:
    first, second = chat(stream=True), chat(stream=True)
    assert second.body == first.body
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert len(first.parts) > 3
    assert second.stored_headers() == {**first.stored_headers(), "x-idempotent-replayed": "true"}
    assert second.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in second.headers
    assert second.is_whole
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_twenty_equal_requests_at_once_are_answered_by_one_call(
    chat: Client, fake: FakeProvider, *, stream: bool
) -> None:
    streamed = Reply(stream=Stream(list(chat_events("Hi there."))), delay_s=0.3)
    fake.script(PATH, streamed if stream else fake_answer(delay_s=0.3))
    body = {"messages": HI, "stream": stream}
    answers = chat.run(*(chat.send(body, headers=KEY) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(fake.calls(PATH)) == 1
    assert sum("x-idempotent-replayed" in answer.headers for answer in answers) == 19


def fake_answer(**fields: Any) -> Reply:
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    return Reply(body=body, **fields)


def test_a_request_without_the_header_reads_stores_and_imports_nothing(fake: FakeProvider) -> None:
    chat = Client("chat_completions", make_bridge(settings_of(fake), answers_table=""))

    def never() -> Any:
        raise AssertionError("the answers were used")

    object.__setattr__(chat.bridge, "answers", never)
    assert chat(headers={"x": "y"}).status == chat(headers={"x": "y"}).status == 200
    assert len(fake.calls(PATH)) == 2


@pytest.mark.parametrize("name", ["chat_completions", "embeddings"])
def test_a_function_starts_without_what_repeats_answers(name: str) -> None:
    code = (
        "import sys, app; print([one for one in sys.modules if one.startswith(('cryptography',"
        " 'sekha_llm_bridge.access.idempotency', 'sekha_llm_bridge.api.idempotency'))])"
    )
    folders = [str(ROOT / "functions" / name), str(ROOT / "layers" / "bridge")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "ANSWERS_TABLE": "answers"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_another_option_in_a_header_with_the_same_key_is_a_422(chat: Client, fake: FakeProvider) -> None:
    """A header may lower the cost limit, so a request with another one is another request."""
    option, other = ({"x-bridge-max-cost": usd, "idempotency-key": "k"} for usd in ("0.5", "0.4"))
    first, again = chat(headers=option), chat(headers=option)
    assert (first.status, again.body) == (200, first.body)
    assert error_of(chat(headers=other)) == (422, "idempotency_key_reused")
    assert error_of(chat(headers={"idempotency-key": "k"})) == (422, "idempotency_key_reused")
    assert chat(headers={**option, "user-agent": "another"}).body == first.body
    assert len(fake.calls(PATH)) == 1


def test_another_body_or_path_with_the_same_key_is_a_422(chat: Client, fake: FakeProvider) -> None:
    chat()
    assert error_of(chat(OTHER)) == (422, "idempotency_key_reused")
    assert error_of(chat(path="/api/v1/chat/completions")) == (422, "idempotency_key_reused")
    assert chat(headers={"idempotency-key": "another"}).status == 200
    assert len(fake.calls(PATH)) == 2


@pytest.mark.parametrize("key", ["", "two words", "a, b", "x" * 256, "caf\u00e9", "a\x00b"])
def test_a_key_that_is_no_visible_ascii_is_a_400(chat: Client, fake: FakeProvider, key: str) -> None:
    answer = chat(headers={"idempotency-key": key})
    assert error_of(answer) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == "idempotency-key"
    assert fake.received == []


def test_two_callers_with_the_same_key_do_not_see_each_others_answers(
    chat: Client, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    fake.script(PATH, fake_answer(), Reply(body={**fake_answer().body, "id": "second"}))  # type: ignore[dict-item]  # a dict
    one, other = Caller("key_one"), Caller("key_two")
    first, second = chat(caller=one), chat(caller=other)
    assert "x-idempotent-replayed" not in second.headers
    assert chat(caller=one).body == first.body
    assert chat(caller=other).body == second.body
    assert len(fake.calls(PATH)) == 2
    assert chat(OTHER, caller=Caller("key_three")).status == 200
    assert error_of(chat()) == (401, "invalid_api_key")


def test_an_error_that_was_not_billed_is_not_kept(chat: Client, fake: FakeProvider) -> None:
    fake.script(PATH, Reply(400, {"error": {"message": "no"}}), Reply(429, {"error": {"message": "wait"}}))
    assert chat().status == 400
    assert chat().status == 429
    answer = chat()
    assert answer.status == 200
    assert "x-idempotent-replayed" not in answer.headers
    assert len(fake.calls(PATH)) == 3


def test_a_request_that_was_wrong_can_be_corrected_with_the_same_key(chat: Client, fake: FakeProvider) -> None:
    assert chat(temperature="hot").status == 400
    assert chat(model="paid/nothing").status == 404
    assert chat().status == 200
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize("reply", [RESET, Reply(raw=b"not json")], ids=["connection lost", "not an answer"])
def test_an_error_that_may_have_been_billed_is_kept_and_repeated(
    chat: Client, fake: FakeProvider, reply: Reply
) -> None:
    fake.script(PATH, reply)
    first, second = chat(), chat()
    assert first.status >= 500
    assert (second.status, second.body) == (first.status, first.body)
    assert first.headers["x-should-retry"] == second.headers["x-should-retry"] == "false"
    assert second.headers["x-idempotent-replayed"] == "true"
    assert len(fake.calls(PATH)) == 1


def test_a_stream_that_was_interrupted_is_repeated_with_its_error(chat: Client, fake: FakeProvider) -> None:
    fake.script(PATH, BROKEN)
    first, second = chat(stream=True), chat(stream=True)
    assert b"answer_broken" in first.body
    assert second.body == first.body
    assert len(fake.calls(PATH)) == 1


def test_a_free_stream_that_was_interrupted_is_asked_for_again(chat: Client, fake: FakeProvider) -> None:
    cut = Stream([b'{"message":{"content":"Hel"},"done":false}\n'], ending="reset", content_type="application/x-ndjson")
    fake.script(LOCAL, Reply(stream=cut))
    assert b"answer_broken" in chat(stream=True, model="llama").body
    assert chat(stream=True, model="llama").body.endswith(b"data: [DONE]\n\n")
    assert len(fake.calls(LOCAL)) == 2


@pytest.mark.parametrize("leaves_after", [0, 1, 3])
def test_an_answer_is_completed_for_a_client_that_disconnects_and_repeated_when_it_comes_back(
    chat: Client, fake: FakeProvider, log: StringIO, leaves_after: int
) -> None:
    chat(stream=True, leaves_after=leaves_after)
    second = chat(stream=True)
    assert second.headers["x-idempotent-replayed"] == "true"
    assert second.body.endswith(b"data: [DONE]\n\n")
    assert len(fake.calls(PATH)) == 1
    first_line, second_line = logged(log)
    assert (first_line["error"], first_line["idempotency"]) == ("caller_gone", "answered")
    assert first_line["cost_usd"] is not None
    assert second_line["idempotency"] == "replayed"
    assert "attempts" not in second_line


def test_a_whole_answer_is_kept_for_a_client_that_disconnects(chat: Client, fake: FakeProvider) -> None:
    chat(leaves_after=0)
    assert chat().status == 200
    assert len(fake.calls(PATH)) == 1


def test_a_stream_that_was_cut_by_the_deadline_is_kept_as_an_error(chat: Client, fake: FakeProvider) -> None:
    fake.script(PATH, Reply(stream=Stream(list(chat_events("Hi there."))[:2], ending="silent")))
    first = chat(stream=True, remaining_ms=2_300)
    assert b"deadline_exceeded" in first.body
    second = chat(stream=True)
    assert second.body == first.body
    assert len(fake.calls(PATH)) == 1


def test_a_reader_that_is_too_slow_leaves_an_error_and_no_second_bill(chat: Client, fake: FakeProvider) -> None:
    async def reads_nothing() -> None:
        await asyncio.Event().wait()

    app, sent = chat._app, []

    async def slow_app(scope: Any, receive: Any, send: Any) -> None:
        async def slow_send(message: Any) -> None:
            sent.append(message)
            if len(sent) > 2:
                await reads_nothing()

        await app(scope, receive, slow_send)

    chat._app = slow_app
    chat.run(chat.send({"messages": HI, "stream": True}, headers=KEY, remaining_ms=2_300))
    chat._app = app
    answer = chat(stream=True)
    assert error_of(answer) == (502, "answer_broken")
    assert answer.headers["x-should-retry"] == "false"
    assert len(fake.calls(PATH)) == 1


def test_a_request_that_waited_until_its_deadline_is_told_to_come_back(chat: Client, fake: FakeProvider) -> None:
    fake.script(PATH, fake_answer(delay_s=0.9))

    async def impatient() -> Received:
        await asyncio.sleep(0.2)
        return await chat.send({"messages": HI}, headers=KEY, remaining_ms=2_400)

    first, second = chat.run(chat.send({"messages": HI}, headers=KEY), impatient())
    assert first.status == 200
    assert error_of(second) == (409, "idempotent_request_under_way")
    assert second.headers["retry-after"] == "5"
    assert "x-should-retry" not in second.headers  # OpenAI's clients repeat a 409 by themselves
    assert chat().body == first.body
    assert len(fake.calls(PATH)) == 1


@pytest.mark.parametrize(("remaining_ms", "longest_s"), [(29_000, 19), (295_000, 30), (900_000, 30)])
def test_a_repeated_request_occupies_a_function_for_half_a_minute_at_most(
    chat: Client, remaining_ms: int, longest_s: float
) -> None:
    waits_s: list[float] = []

    class Waiting:
        async def begin(self, _keys: Any, *, wait_s: float, **_times: Any) -> Any:
            waits_s.append(wait_s)
            raise RequestUnderWay("wait", retry_after_s=5)

    object.__setattr__(chat.bridge, "answers", Waiting)
    assert error_of(chat(remaining_ms=remaining_ms)) == (409, "idempotent_request_under_way")
    assert longest_s - 2 < waits_s[0] <= longest_s


@pytest.mark.parametrize(("policy", "limit_s"), [(KeyPolicy(), 5.5), (KeyPolicy(requests_per_minute=9), 4.5)])
def test_an_answer_is_sent_in_time_where_storing_it_takes_too_long(
    fake: FakeProvider, monkeypatch: pytest.MonkeyPatch, log: StringIO, policy: KeyPolicy, limit_s: float
) -> None:
    """Of the time after the models' answer, a second is for settling quotas, and half a second for the last byte."""
    limits_s: list[float] = []
    finish = Claim.finish

    async def short_finish(claim: Claim, recorder: AnswerRecorder, *, limit_s: float) -> Any:
        limits_s.append(limit_s)
        return await finish(claim, recorder, limit_s=0.05)

    async def never(_store: Any, _record: Any) -> bool:
        return await asyncio.Event().wait()

    monkeypatch.setenv("AUTH_MODE", "keys")
    monkeypatch.setattr(Claim, "finish", short_finish)
    monkeypatch.setattr(MemoryAnswerStore, "finish", never)
    chat = Client("chat_completions", make_bridge(settings_of(fake), answers_table=""))
    answer = chat(remaining_ms=6_000, caller=Caller("key_one", {}, policy))
    assert (answer.status, answer.is_whole) == (200, True)
    assert limits_s == [limit_s]
    assert logged(log)[0]["idempotency"] == "not_stored"


def test_an_answer_that_is_too_large_is_delivered_and_never_billed_again(chat: Client, fake: FakeProvider) -> None:
    text = os.urandom(400_000).hex()
    fake.script(PATH, Reply(body={**fake_answer().body, "choices": [choice(text)]}))  # type: ignore[dict-item]  # a dict
    assert chat().json()["choices"][0]["message"]["content"] == text
    answer = chat()
    assert error_of(answer) == (409, "idempotent_answer_not_kept")
    assert "too large" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert len(fake.calls(PATH)) == 1


def choice(text: str) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def test_a_large_stream_is_delivered_and_never_billed_again(chat: Client, fake: FakeProvider) -> None:
    parts = [chunk({"content": os.urandom(50_000).hex()}) for _ in range(10)]
    fake.script(PATH, Reply(stream=Stream([*parts, chunk({}, finish="stop"), b"data: [DONE]\n\n"])))
    assert chat(stream=True).body.endswith(b"data: [DONE]\n\n")
    assert error_of(chat(stream=True)) == (409, "idempotent_answer_not_kept")
    assert len(fake.calls(PATH)) == 1


def test_the_table_has_neither_the_key_nor_the_prompt_nor_the_answer(
    fake: FakeProvider, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch, log: StringIO
) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    table = dynamodb.new_table("AnswersTable")
    chat = Client("chat_completions", make_bridge(settings_of(fake), answers_table=table))
    fake.script(PATH, Reply(body={**fake_answer().body, "choices": [choice("the answer " * 20)]}))  # type: ignore[dict-item]  # a dict
    assert chat().status == 200
    [item] = dynamodb.client.scan(TableName=table)["Items"]
    assert set(item) == {"id", "owner", "request_hash", "state", "lease_ends_at_ms", "expires_at", "answer"}
    secrets = (KEY["idempotency-key"], "Hello", "the answer", "gpt")
    assert not [text for text in secrets if text in repr(item)]
    assert KEY["idempotency-key"] not in log.getvalue()


def test_where_the_table_does_not_answer_the_request_is_refused_and_nothing_is_billed(
    fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    chat = Client("chat_completions", make_bridge(settings_of(fake), answers_table="answers"))
    answer = chat()
    assert error_of(answer) == (503, "access_unavailable")
    assert answer.headers["retry-after"] == "2"
    assert fake.received == []
    assert chat(headers={"x": "y"}).status == 200


def test_an_answer_that_cannot_be_stored_is_delivered_and_logged(
    fake: FakeProvider, dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch, log: StringIO
) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
    table = dynamodb.new_table("AnswersTable")
    chat = Client("chat_completions", make_bridge(settings_of(fake), answers_table=table))

    async def table_is_deleted() -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(dynamodb.client.delete_table, TableName=table)

    async def both() -> Received:
        answer, _ = await asyncio.gather(chat.send({"messages": HI}, headers=KEY), table_is_deleted())
        await chat.close()
        return answer

    fake.script(PATH, fake_answer(delay_s=1))
    assert asyncio.run(both()).status == 200
    [line] = logged(log)
    assert (line["status"], line["idempotency"]) == (200, "not_stored")
    assert "answer not stored" in log.getvalue()


@pytest.mark.parametrize("after_the_call", [True, False])
def test_a_mistake_in_the_bridge_is_kept_once_models_can_have_been_asked(
    chat: Client, fake: FakeProvider, *, after_the_call: bool
) -> None:
    assert isinstance(chat.bridge, Bridge)
    service = chat.bridge.service

    class Faulty:
        async def run(self, *arguments: Any, **more: Any) -> Any:
            if after_the_call:
                await service.run(*arguments, **more)
            raise ValueError("a mistake")

    object.__setattr__(chat.bridge, "service", Faulty())
    first = chat()
    assert error_of(first) == (500, "internal_error")
    second = chat()
    assert second.body == first.body
    object.__setattr__(chat.bridge, "service", service)
    assert chat().status == 500
    assert len(fake.calls(PATH)) == (1 if after_the_call else 0)


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("embeddings", "/v1/embeddings", {"input": "one"}),
    ("embed", "/embed", {"text": "one"}),
    ("embed", "/api/v1/embed", {"text": "one"}),
    ("summarize", "/summarize", {"messages": ["one", "two"], "level": "daily"}),
    ("extract", "/extract", {"text": "Ann lives in Bonn."}),
    ("score", "/score", {"text": "Ann lives in Bonn."}),
]


@pytest.mark.parametrize(("name", "path", "body"), CALLS, ids=[f"{name} {path}" for name, path, _ in CALLS])
def test_every_endpoint_that_asks_a_model_repeats_its_answer(
    fake: FakeProvider, name: str, path: str, body: dict[str, Any]
) -> None:
    client = Client(name, make_bridge(settings_of(fake, default_models={"embedding": "e"})))
    send: Callable[[], Any] = lambda: client.send(body, path=path, headers=KEY)  # noqa: E731 — a new coroutine each time
    [first] = client.run(send())
    n_calls = len(fake.received)
    [second] = client.run(send())
    assert n_calls >= 1
    assert len(fake.received) == n_calls
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["x-idempotent-replayed"] == "true"


def test_what_asks_no_model_ignores_the_header(fake: FakeProvider) -> None:
    route = Client("route", make_bridge(settings_of(fake)))
    body = {"messages": HI}
    [first] = route.run(route.send(body, path="/api/v1/route", headers={"idempotency-key": "not valid"}))
    assert first.status == 200
    chat = Client("chat_completions", make_bridge(settings_of(fake)))
    [answer] = chat.run(chat.send(b"", headers={"idempotency-key": "not valid"}, method="GET"))
    assert answer.status == 405


def test_a_configuration_that_cannot_be_used_is_said_and_nothing_is_kept(fake: FakeProvider, tmp_path: Path) -> None:
    from sekha_llm_bridge.errors import ConfigError

    chat = Client("chat_completions", ConfigError(["a fault"]))
    assert error_of(chat()) == (500, "config_invalid")

"""Requests and events that take each function to every place where it asks AWS for something, the rare ones too."""

import base64
import gzip
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sekha_llm_bridge.access.caller import KeyPolicy
from tests.fakes.chroma import client_of
from tests.fakes.provider import FakeProvider, Reply
from tests.template.running_functions import CLAUDE, TITAN, RunningFunctions

_CHAT, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_MESSAGES, _RESPONSES, _OLLAMA_CHAT, _OLLAMA_EMBED = "/v1/messages", "/v1/responses", "/api/chat", "/api/embed"
_HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
_WHOLE = {**_HELLO, "stream": False}
_ON_BEDROCK = {"model": f"bedrock/{CLAUDE}"}
# Some 10,000 tokens, for which a cost limit must allow five times as much where only the bytes are known.
_LONG_TEXT = "word " * 10_000
_LONG_CHAT = [{"role": "user", "content": _LONG_TEXT}]
_BY_COUNT_ONLY = Decimal("0.02")
_NOBODY_LISTENS = "http://127.0.0.1:9"
_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_ONE_COLLECTION = f"{_COLLECTIONS}?limit=1"


def take_every_path(functions: RunningFunctions) -> None:
    """Invokes all functions of the template."""
    _ask_models(functions)
    _embed_and_search(functions)
    _look_things_up(functions)
    _drain(functions)
    _run_jobs(functions)


def _ask_models(functions: RunningFunctions) -> None:
    for function, path, body, long in (
        ("ChatCompletionsFunction", _CHAT, _HELLO, {"messages": _LONG_CHAT}),
        ("MessagesFunction", _MESSAGES, {**_HELLO, "max_tokens": 100}, {"messages": _LONG_CHAT}),
        ("ResponsesFunction", _RESPONSES, {"input": "Hi"}, {"input": _LONG_TEXT}),
        ("OllamaFunction", _OLLAMA_CHAT, _WHOLE, {"messages": _LONG_CHAT}),
        ("SummarizeFunction", "/summarize", {"messages": ["Hi", "Ho"], "level": "daily"}, {"messages": [_LONG_TEXT]}),
        ("ExtractFunction", "/extract", {"text": "Anna"}, {"text": _LONG_TEXT}),
        ("ScoreFunction", "/score", {"text": "Anna"}, {"text": _LONG_TEXT}),
    ):
        _ask(functions, function, path, {**body, "model": "first/gpt"}, _CHAT)
        functions.request(function, path, {**body, **_ON_BEDROCK})
        limited = KeyPolicy(max_cost_per_request_usd=Decimal("0.03"))
        functions.request(function, path, {**body, **long, **_ON_BEDROCK}, policy=limited)
    for function, path, body in (
        ("ChatCompletionsFunction", _CHAT, _HELLO),
        ("MessagesFunction", _MESSAGES, {**_HELLO, "max_tokens": 100}),
        ("ResponsesFunction", _RESPONSES, {"input": "Hi"}),
        ("OllamaFunction", _OLLAMA_CHAT, _HELLO),
    ):
        assert functions.request(function, path, {**body, "stream": True, **_ON_BEDROCK}) == 200
    assert functions.request("MessagesFunction", f"{_MESSAGES}/count_tokens", {**_HELLO, **_ON_BEDROCK}) == 200


def _embed_and_search(functions: RunningFunctions) -> None:
    for function, path, body in (
        ("EmbeddingsFunction", _EMBEDDINGS, {"input": "Anna"}),
        ("EmbedFunction", "/embed", {"text": "Anna"}),
        ("OllamaFunction", _OLLAMA_EMBED, {"input": "Anna"}),
        ("SearchFunction", "/api/v1/search", {"query": "Anna"}),
    ):
        _ask(functions, function, path, {**body, "model": "first/mini"}, _EMBEDDINGS)
        functions.request(function, path, {**body, "model": f"bedrock/{TITAN}"})


def _ask(functions: RunningFunctions, function: str, path: str, body: Mapping[str, Any], asked: str) -> None:
    """Sends a request twice with one `Idempotency-Key`, one that a budget pays, and one that the provider rejects at
    its path `asked`.
    """
    once, rejected = ({"idempotency-key": f"{path}-{number}"} for number in range(2))
    for _ in range(2):
        assert functions.request(function, path, body, headers=once) == 200
    assert functions.request(function, path, body, policy=KeyPolicy(daily_usd=Decimal(5))) == 200
    functions.fake.script(asked, Reply(400))
    assert functions.request(function, path, body, headers=rejected) == 400


def _look_things_up(functions: RunningFunctions) -> None:
    bearer = {"authorization": f"Bearer {functions.key.text}"}
    question = {"task": "chat_small", "messages": _LONG_CHAT, "max_cost": float(_BY_COUNT_ONLY)}
    assert (
        functions.request("RouteFunction", "/api/v1/route", {**question, "preferred_model": f"bedrock/{CLAUDE}"}) == 200
    )
    assert functions.request("ModelsFunction", "/v1/models") == 200
    assert functions.request("HealthFunction", "/api/v1/health", headers=bearer) == 200
    assert functions.request("LandingFunction", "/", headers=bearer) == 200
    assert functions.request("LandingFunction", "/nothing", headers=bearer) == 404
    assert functions.request("UsageFunction", "/api/v1/usage") == 200
    arn = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/prod/GET/v1/models"
    answer = functions.invoke(
        "AuthorizerFunction", {"methodArn": arn, "headers": {"Authorization": bearer["authorization"]}}
    )
    assert answer["context"]["keyId"] == functions.key.key_id


def _drain(functions: RunningFunctions) -> None:
    """Leaves vectors in the queue, and a message that is none, puts the vectors back, and stores them."""
    text, other = (
        {"input": "Bob", "model": "first/mini"},
        {"text": "Bob", "collection": "others", "model": "first/mini"},
    )
    assert functions.request("EmbeddingsFunction", _EMBEDDINGS, text, chroma_url=_NOBODY_LISTENS) == 200
    assert (
        functions.request("OllamaFunction", _OLLAMA_EMBED, {**text, "input": "Eve"}, chroma_url=_NOBODY_LISTENS) == 200
    )
    assert functions.request("EmbedFunction", "/embed", other, chroma_url=_NOBODY_LISTENS) == 200
    with FakeProvider() as half_up:  # a Chroma that answers, and stores nothing
        half_up.script(_ONE_COLLECTION, Reply(body=[]))
        for path in (_ONE_COLLECTION, f"{_COLLECTIONS}/conversations", f"{_COLLECTIONS}/others"):
            half_up.always(path, Reply(503))
        assert functions.invoke("DrainFunction", {}, chroma_url=half_up.url)["left"] == 3
    functions.aws.sqs.send_message(
        QueueUrl=functions.queues.url, MessageBody="none", MessageGroupId="g", MessageDeduplicationId="1"
    )
    assert functions.invoke("DrainFunction", {})["stored"] == 3


def _run_jobs(functions: RunningFunctions) -> None:
    functions.invoke("HealthCheckFunction", {})
    collection = client_of(functions.chroma_url).create_collection("old")
    collection.add(ids=["a"], embeddings=[[1.0] * 8], documents=["x"])
    assert [one["target"] for one in functions.invoke("MigrateCollectionsFunction", {})["migrated"]] == ["old_8"]
    assert functions.invoke("UsageRecordsFunction", _delivered_lines()) == {"is_new": True}


def _delivered_lines() -> dict[str, Any]:
    """Returns the event with which CloudWatch Logs delivers the line of one request."""
    used = {"provider_id": "first", "model_id": "gpt", "requests": 1, "input_tokens": 1, "cached_input_tokens": 0}
    used |= {"output_tokens": 1, "cost_pico_usd": 1}
    line = json.dumps({"message": "request", "key_id": "k", "attempt_count": 1, "used": [used]})
    event = {"id": "1", "timestamp": 1_764_000_000_000, "message": line}
    delivered = {"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "g", "logStream": "s", "logEvents": [event]}
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(delivered).encode())).decode()}}

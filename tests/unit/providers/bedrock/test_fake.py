"""The fake, checked with botocore: it parses what the fake sends, and sends what the fake accepts."""

import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.fakes.bedrock import (
    CACHED_USAGE,
    USAGE,
    FakeBedrock,
    block_delta,
    call_start,
    converse_answer,
    converse_events,
    error,
    exception,
    message_stop,
    metadata,
    streamed,
)
from tests.fakes.provider import Reply, vector_of

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}"
MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]


def client(bedrock: FakeBedrock, service: str = "bedrock-runtime") -> Any:
    retries = Config(retries={"max_attempts": 0, "mode": "standard"})
    return boto3.client(service, region_name="eu-west-1", endpoint_url=bedrock.url, config=retries)  # type: ignore[call-overload]


def converse(bedrock: FakeBedrock, operation: str = "converse", **fields: Any) -> Any:
    ask = getattr(client(bedrock), operation)
    return ask(modelId=MODEL, messages=MESSAGES, inferenceConfig={"maxTokens": 9}, **fields)


def test_botocore_reads_the_answer_of_converse(bedrock: FakeBedrock) -> None:
    call = {"toolUse": {"toolUseId": "c", "name": "add", "input": {"a": [1, None]}}}
    thought = {"reasoningContent": {"redactedContent": "aGk="}}
    bedrock.script(f"{PATH}/converse", Reply(body=converse_answer("a", call, thought, usage=CACHED_USAGE)))
    answer = converse(bedrock)
    assert answer["output"]["message"]["content"] == [
        {"text": "a"},
        call,
        {"reasoningContent": {"redactedContent": b"hi"}},
    ]
    assert answer["usage"] == CACHED_USAGE


def test_botocore_sends_what_the_fake_accepts_to_the_same_path(bedrock: FakeBedrock) -> None:
    tool = {"toolSpec": {"name": "add", "inputSchema": {"json": {"type": "object"}}}}
    assert converse(bedrock, toolConfig={"tools": [tool]})["stopReason"] == "end_turn"
    assert bedrock.received[0].path == f"{PATH}/converse"


def test_botocore_reads_the_events_of_a_stream(bedrock: FakeBedrock) -> None:
    start, delta = call_start("c", "add", 1), block_delta({"toolUse": {"input": "{}"}}, 1)
    events = [*converse_events("a b")[:-2], start, delta, message_stop("tool_use"), metadata()]
    bedrock.script(f"{PATH}/converse-stream", streamed(*events))
    read = list(converse(bedrock, "converse_stream")["stream"])
    assert [next(iter(one)) for one in read] == [
        "messageStart",
        *["contentBlockDelta"] * 2,
        "contentBlockStop",
        "contentBlockStart",
        "contentBlockDelta",
        "messageStop",
        "metadata",
    ]
    assert read[1]["contentBlockDelta"]["delta"] == {"text": "a"}
    assert read[4]["contentBlockStart"]["start"]["toolUse"]["name"] == "add"
    assert read[-1]["metadata"]["usage"] == USAGE


def test_botocore_raises_the_exceptions_of_answers_and_streams(bedrock: FakeBedrock) -> None:
    bedrock.script(f"{PATH}/converse", error("ThrottlingException", "slow", status=429))
    with pytest.raises(ClientError, match="slow") as of_answer:
        converse(bedrock)
    assert of_answer.value.response["Error"]["Code"] == "ThrottlingException"
    bedrock.script(f"{PATH}/converse-stream", streamed(exception("modelStreamErrorException", "failed")))
    with pytest.raises(EventStreamError, match="failed"):
        list(converse(bedrock, "converse_stream")["stream"])


def test_the_fake_refuses_what_bedrock_refuses(bedrock: FakeBedrock) -> None:
    use = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]}
    document = {"document": {"name": "a", "format": "pdf", "source": {"bytes": b"x"}}}
    for messages in (
        [use],
        [*MESSAGES, *MESSAGES],
        [*MESSAGES, use],
        [{"role": "user", "content": [{"text": " "}]}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [document]}],
        [{"role": "user", "content": [document, document, {"text": "?"}]}],
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            client(bedrock).converse(modelId=MODEL, messages=messages, inferenceConfig={"maxTokens": 9})


def test_botocore_reads_the_other_answers(bedrock: FakeBedrock) -> None:
    runtime = client(bedrock)
    counted = runtime.count_tokens(modelId=MODEL, input={"converse": {"messages": MESSAGES}})
    assert counted["inputTokens"] == 42
    invoked = runtime.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "a"}))
    assert json.loads(invoked["body"].read())["embedding"] == vector_of("a", 8)
    control = client(bedrock, "bedrock")
    assert control.list_foundation_models()["modelSummaries"] == []
    assert control.get_foundation_model(modelIdentifier=MODEL)["modelDetails"]["modelId"] == MODEL
    assert bedrock.received[-1].path == f"/foundation-models/{PATH.rpartition('/')[2]}"

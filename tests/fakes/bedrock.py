"""Bedrock's runtime over real HTTP: Converse, ConverseStream, InvokeModel, CountTokens, and what is known of models.

Requests are checked against botocore's service model and against the rules of the documentation; a wrong one gets the
ValidationException of Bedrock.
"""

import base64
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.loaders
from botocore.model import OperationModel, ServiceModel
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from tests.fakes.provider import FakeProvider, Received, Reply, Stream, vector_of

EVENT_STREAM = "application/vnd.amazon.eventstream"
USAGE = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}
CACHED_USAGE = {**USAGE, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 3, "totalTokens": 26}
_MODEL_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|count-tokens)")


class FakeBedrock(FakeProvider):
    """Answers with valid default answers. Paths of scripts have the model's id as it is sent: `a%3A0` for `a:0`."""

    def _default_reply(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        if path == "/foundation-models":
            return Reply(body={"modelSummaries": []})
        if path.startswith("/foundation-models/"):
            model_id = unquote(path.rpartition("/")[2])
            arn = f"arn:aws:bedrock:eu-west-1::foundation-model/{model_id}"
            return Reply(body={"modelDetails": {"modelArn": arn, "modelId": model_id}})
        found = _MODEL_PATH.fullmatch(path)
        if found is None:
            return error("UnknownOperationException", "", status=404)
        return self._reply_of_model(unquote(found[1]), found[2], request)

    def _reply_of_model(self, model_id: str, operation: str, request: Received) -> Reply:
        match operation:
            case "converse" | "converse-stream":
                if fault := fault_of(request.body, model_id, operation):
                    return error("ValidationException", fault)
                if operation == "converse":
                    return Reply(body=converse_answer(self.text))
                return streamed(*converse_events(self.text))
            case "count-tokens":
                check_wire("CountTokens", {"modelId": model_id, **request.body})
                return Reply(body={"inputTokens": 42})
            case _:
                return embedding_reply(request.body, self.dimension)


def error(kind: str, message: str, *, status: int = 400, **fields: object) -> Reply:
    """An error answer: its type is in a header."""
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return Reply(status, {"message": message, **fields}, headers)


def converse_answer(text: str | None, *blocks: object, stop: str = "end_turn", **more: object) -> dict[str, Any]:
    """A complete answer of Converse."""
    content = ([{"text": text}] if text is not None else []) + list(blocks)
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": USAGE,
        "metrics": {"latencyMs": 3},
        **more,
    }


def converse_events(text: str, *, stop: str = "end_turn", usage: Mapping[str, int] = USAGE) -> list[bytes]:
    """The same answer as the events of ConverseStream, one for each word."""
    words = [word if n == 0 else f" {word}" for n, word in enumerate(text.split(" "))]
    return [
        event("messageStart", {"role": "assistant"}),
        *(text_delta(word) for word in words),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": stop}),
        metadata(usage),
    ]


def text_delta(text: str, block: int = 0) -> bytes:
    return block_delta({"text": text}, block)


def block_delta(delta: Mapping[str, Any], block: int = 0) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": block, "delta": delta, "p": "abcdef"})


def call_start(call_id: str, name: str, block: int = 0) -> bytes:
    start = {"toolUse": {"toolUseId": call_id, "name": name}}
    return event("contentBlockStart", {"contentBlockIndex": block, "start": start})


def block_stop(block: int = 0) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": block})


def message_stop(reason: str, **fields: object) -> bytes:
    return event("messageStop", {"stopReason": reason, **fields})


def metadata(usage: Mapping[str, int] = USAGE) -> bytes:
    return event("metadata", {"usage": usage, "metrics": {"latencyMs": 3}})


def streamed(*parts: bytes, ending: Any = "whole") -> Reply:
    """A streamed answer of these messages."""
    return Reply(stream=Stream(list(parts), ending=ending, content_type=EVENT_STREAM))


def event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """One message of a stream."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, json.dumps(payload).encode())


def exception(kind: str, message: str) -> bytes:
    """An exception inside a stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_message(headers, json.dumps({"message": message}).encode())


def encode_message(headers: Mapping[str, Any], payload: bytes) -> bytes:
    """One message in the binary framing; each header has the type of its value."""
    encoded = b"".join(_encode_header(name, value) for name, value in headers.items())
    lengths = (len(payload) + len(encoded) + 16).to_bytes(4) + len(encoded).to_bytes(4)
    message = lengths + zlib.crc32(lengths).to_bytes(4) + encoded + payload
    return message + zlib.crc32(message).to_bytes(4)


def _encode_header(name: str, value: object) -> bytes:
    start = bytes([len(name.encode())]) + name.encode()
    match value:
        case bool():
            return start + (b"\x00" if value else b"\x01")
        case int():
            return start + b"\x05" + value.to_bytes(8, signed=True)
        case str():
            return start + b"\x07" + len(value.encode()).to_bytes(2) + value.encode()
        case bytes():
            return start + b"\x06" + len(value).to_bytes(2) + value
    raise TypeError(type(value).__name__)


def embedding_reply(body: Mapping[str, Any], dimension: int) -> Reply:
    """The answer of the model whose request format this is."""
    headers = {"x-amzn-bedrock-input-token-count": "3"}
    if "texts" in body:
        vectors = [vector_of(text, dimension) for text in body["texts"]]
        answer = {"id": "1", "embeddings": {"float": vectors}, "response_type": "embeddings_by_type"}
        return Reply(body=answer, headers=headers)
    if "singleEmbeddingParams" in body:
        vector = vector_of(body["singleEmbeddingParams"]["text"]["value"], dimension)
        return Reply(body={"embeddings": [{"embeddingType": "TEXT", "embedding": vector}]}, headers=headers)
    vector = vector_of(body["inputText"], body.get("dimensions", dimension))
    return Reply(body={"embedding": vector, "inputTextTokenCount": 4, "embeddingsByType": {"float": vector}})


@cache
def service() -> ServiceModel:
    """botocore's model of bedrock-runtime."""
    loader = botocore.loaders.create_loader()
    return ServiceModel(loader.load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


def check_wire(operation: str, wire: Mapping[str, Any]) -> None:
    """Raises AssertionError unless botocore, given the same parameters, would send exactly this body."""
    model: OperationModel = service().operation_model(operation)
    shape: Any = model.input_shape
    params = _params(wire, shape)
    report = ParamValidator().validate(params, shape)
    assert not report.has_errors(), report.generate_report()
    sent = create_serializer("rest-json").serialize_to_request(params, model)
    body = {name: value for name, value in wire.items() if name != "modelId"}
    assert json.loads(sent["body"]) == body


def _params(wire: Any, shape: Any) -> Any:
    """Returns botocore's parameters for a JSON value. Raises AssertionError for an unknown member or a wrong value."""
    match shape.type_name:
        case "structure" if shape.is_document_type:
            return wire
        case "structure":
            assert wire.keys() <= shape.members.keys(), f"{shape.name}: {sorted(wire.keys() - shape.members.keys())}"
            assert not shape.metadata.get("union") or len(wire) == 1, f"{shape.name} is a union: {sorted(wire)}"
            return {name: _params(value, shape.members[name]) for name, value in wire.items()}
        case "list":
            return [_params(value, shape.member) for value in wire]
        case "blob":
            return base64.b64decode(wire, validate=True)
        case "string":
            _check_text(wire, shape)
    return wire


def _check_text(text: str, shape: Any) -> None:
    pattern = shape.metadata.get("pattern")
    assert pattern is None or re.fullmatch(pattern, text), f"{shape.name}: {text!r} is not {pattern}"
    assert not getattr(shape, "enum", None) or text in shape.enum, f"{shape.name}: {text!r}"


def fault_of(body: Mapping[str, Any], model_id: str, operation: str) -> str | None:
    """Returns what Bedrock would refuse, or None."""
    name = "Converse" if operation == "converse" else "ConverseStream"
    try:
        check_wire(name, {"modelId": model_id, **body})
    except AssertionError as exc:
        return f"Malformed input request: {exc}"
    return next(_broken_rules(body), None)


def _broken_rules(body: Mapping[str, Any]) -> Iterator[str]:
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    if roles[:1] != ["user"]:
        yield "A conversation must start with a user message. Try again with a conversation that starts so."
    if any(first == second for first, second in itertools.pairwise(roles)):
        yield "roles must alternate between user and assistant"
    names = []
    for message in messages:
        kinds = {kind for content in message["content"] for kind in content}
        if not message["content"]:
            yield "The content field in the Message object is empty."
        if kinds & {"toolUse", "toolResult"} and "toolConfig" not in body:
            yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        if "document" in kinds and "text" not in kinds:
            yield "A text block must be included when using documents."
        names += [content["document"]["name"] for content in message["content"] if "document" in content]
        if any(not content["text"].strip() for content in message["content"] if "text" in content):
            yield "The text field in the ContentBlock object is blank. Add text to the text field, and try again."
    if len(names) != len(set(names)):
        yield "Messages can not contain duplicate document names."
    if "maxTokens" not in body.get("inferenceConfig", {}):
        yield "this fake requires maxTokens"

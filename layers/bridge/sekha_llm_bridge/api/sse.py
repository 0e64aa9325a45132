"""A whole answer as the events of a stream, for callers that asked for one."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

_DONE = b"data: [DONE]\n\n"


def whole(answer: Mapping[str, Any], *, with_usage: bool) -> bytes:
    """OpenAI's chunks of a finished answer: the content, the finish reasons with the receipt, the usage if asked
    for, the end.
    """
    return b"".join(_event(chunk) for chunk in _chunks(answer, with_usage=with_usage)) + _DONE


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _chunks(answer: Mapping[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    frame = {key: answer[key] for key in ("id", "created", "model", "system_fingerprint") if key in answer}
    frame["object"] = "chat.completion.chunk"
    choices = answer["choices"]
    yield {**frame, "choices": [_first(choice) for choice in choices]}
    ends = [{"index": c["index"], "delta": {}, "finish_reason": c["finish_reason"]} for c in choices]
    if with_usage:
        yield {**frame, "choices": ends}
        yield {**frame, "choices": [], "usage": answer["usage"], "bridge": answer["bridge"]}
    else:
        yield {**frame, "choices": ends, "bridge": answer["bridge"]}


def _first(choice: Mapping[str, Any]) -> dict[str, Any]:
    first = {"index": choice["index"], "delta": _delta(choice["message"]), "finish_reason": None}
    return {**first, "logprobs": choice["logprobs"]} if choice.get("logprobs") else first


def _delta(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    delta = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**delta, "tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]} if calls else delta

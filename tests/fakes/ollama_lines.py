"""Checks a stream of Ollama's lines: their order by a state machine, and each by the types of Ollama's client.

The order is that of Ollama's documentation, "Streaming" and "Errors": lines with parts of the answer, which are not
done; then one line that is done, with the reason and the counts. An `error` ends a stream at any place, and nothing
follows either.
"""

import json
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from ollama import ChatResponse, GenerateResponse

Line = dict[str, Any]

_COUNTS = {"total_duration", "prompt_eval_count", "eval_count"}
_DURATIONS = {"load_duration", "prompt_eval_duration", "eval_duration"}
_AT_THE_END = {"done_reason", "bridge", *_COUNTS, *_DURATIONS}
_PARTS = {"model", "created_at", "done", "logprobs"}
_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z"


class State(Enum):
    """Where a stream is. `WHOLE` and `CUT` are its ends."""

    OPEN = auto()
    WHOLE = auto()
    CUT = auto()


@dataclass
class CheckedStream:
    """What the lines of a stream say."""

    state: State = State.OPEN
    text: str = ""
    thinking: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    error: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.state is State.WHOLE

    @property
    def last(self) -> Line:
        return self.lines[-1]


def read_lines(text: str) -> list[Line]:
    """The objects of a stream, which has nothing else, not even an empty line: clients parse each."""
    assert text.endswith("\n"), text[-100:]
    return [json.loads(line) for line in text[:-1].split("\n")]


def check_ollama_lines(lines: list[Line]) -> CheckedStream:
    """Returns what the lines say, after it has checked that a client can read them."""
    stream = CheckedStream(lines=lines)
    created: list[str] = []
    for line in lines:
        assert stream.state is State.OPEN, f"after the end of the stream: {line}"
        if "error" in line:
            assert line.keys() == {"error", "bridge"}, line
            assert isinstance(line["error"], str)
            stream.state, stream.error = State.CUT, line["error"]
            continue
        check_answer(line)
        created.append(line["created_at"])
        if line["done"]:
            stream.state = State.WHOLE
        else:
            assert not line.keys() & _AT_THE_END, line
        _add(stream, line)
    assert stream.state is not State.OPEN, "the stream has no end"
    assert created == sorted(created)
    return stream


def check_answer(line: Line) -> None:
    """Checks one line, or a whole answer."""
    assert re.fullmatch(_DATE, line["created_at"]), line
    if "message" in line:
        ChatResponse.model_validate(line, strict=True)
        assert line["message"]["role"] == "assistant"
        assert line["message"].keys() <= {"role", "content", "thinking", "tool_calls"}
        assert isinstance(line["message"]["content"], str)
    else:
        GenerateResponse.model_validate(line, strict=True)
        assert isinstance(line["response"], str)
    allowed = _PARTS | {"message"} if "message" in line else _PARTS | {"response", "thinking"}
    assert line.keys() <= allowed | _AT_THE_END, line
    if line["done"]:
        assert {"done_reason", "bridge"} <= line.keys(), line
        if line["done_reason"] not in {"load", "unload"}:
            assert line.keys() >= _COUNTS, line
        assert all(type(line[name]) is int and line[name] >= 0 for name in (_COUNTS | _DURATIONS) & line.keys()), line


def _add(stream: CheckedStream, line: Line) -> None:
    message = line.get("message") or {"content": line.get("response"), "thinking": line.get("thinking", "")}
    stream.text += message["content"]
    stream.thinking += message.get("thinking", "")
    stream.logprobs += line.get("logprobs", [])
    for call in message.get("tool_calls", ()):
        assert call.keys() == {"id", "function"}
        assert call["function"]["index"] == len(stream.tool_calls)
        assert isinstance(call["function"]["arguments"], dict)
        stream.tool_calls.append(call)

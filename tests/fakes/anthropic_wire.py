"""Answers in Anthropic's wire format, whole and streamed: `POST /v1/messages`, API version 2023-06-01.

Written from platform.claude.com, API reference, "Create a Message" and "Streaming Messages";
`tests/unit/providers/anthropic/test_fake.py` checks them with Anthropic's own client.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Block = dict[str, Any]
PING: dict[str, Any] = {"type": "ping"}


def text(value: str) -> Block:
    return {"type": "text", "text": value, "citations": None}


def thinking(value: str, signature: str) -> Block:
    return {"type": "thinking", "thinking": value, "signature": signature}


def redacted(data: str) -> Block:
    return {"type": "redacted_thinking", "data": data}


def tool_use(call_id: str, name: str, /, **arguments: Any) -> Block:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def usage(input_tokens: int = 11, output_tokens: int = 7, *, read: int = 0, written: int = 0) -> dict[str, Any]:
    """The token counts, with those of the cache beside them."""
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def message(*content: Block, stop_reason: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    """A complete answer."""
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-6",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage(),
        **fields,
    }


def events(answer: Mapping[str, Any], *, n_parts: int = 2) -> list[dict[str, Any]]:
    """The events of the same answer as a stream. Texts and arguments come in `n_parts` parts."""
    started = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    found: list[dict[str, Any]] = [{"type": "message_start", "message": started}, PING]
    for index, block in enumerate(answer["content"]):
        start, deltas = _parts_of(block, n_parts)
        found.append({"type": "content_block_start", "index": index, "content_block": start})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    names = ("stop_reason", "stop_sequence", "stop_details")
    ending = {name: answer[name] for name in names if name in answer}
    counts = {"output_tokens": answer["usage"]["output_tokens"]}
    return [*found, {"type": "message_delta", "delta": ending, "usage": counts}, {"type": "message_stop"}]


def _parts_of(block: Block, n_parts: int) -> tuple[Block, list[dict[str, Any]]]:
    match block["type"]:
        case "text":
            citations = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            parts = [{"type": "text_delta", "text": part} for part in _split(block["text"], n_parts)]
            return {**block, "text": "", "citations": None}, [*parts, *citations]
        case "thinking":
            parts = [{"type": "thinking_delta", "thinking": part} for part in _split(block["thinking"], n_parts)]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*parts, signature]
        case "tool_use":
            arguments = _split(json.dumps(block["input"]), n_parts) if block["input"] else []
            parts = [{"type": "input_json_delta", "partial_json": part} for part in ["", *arguments]]
            return {**block, "input": {}}, parts
        case _:
            return block, []


def _split(value: str, n_parts: int) -> Sequence[str]:
    size = max(1, -(-len(value) // n_parts))
    return [value[i : i + size] for i in range(0, len(value), size)]


def sse(event: Mapping[str, Any]) -> bytes:
    """One named server-sent event."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def stream(answer: Mapping[str, Any], *, n_parts: int = 2) -> Iterator[bytes]:
    """The bytes of a streamed answer, one part for each event."""
    return map(sse, events(answer, n_parts=n_parts))


def error(kind: str, text: str = "something") -> dict[str, Any]:
    """The body of an error answer, and the data of an error event."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_fake"}

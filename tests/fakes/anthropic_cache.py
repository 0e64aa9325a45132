"""Anthropic's prompt cache, by its published rules: what a request reads from it, writes to it, and pays for as input.

A prompt is its tools, then its system prompt, then its messages. A mark ends a beginning that is kept for five minutes,
or for an hour, and each use renews that; a mark also finds what was kept up to 20 blocks before it. A beginning of fewer
tokens than the minimum is not kept. Source: platform.claude.com, "Prompt caching".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sekha_llm_bridge.clock import Clock, SystemClock
from tests.fakes import anthropic_wire
from tests.fakes.provider import FakeProvider, Received

_LOOK_BACK = 20
_SECONDS = {"5m": 300.0, "1h": 3600.0}
BYTES_PER_TOKEN = 4


class _Block(NamedTuple):
    """One part of a prompt: what identifies it, its tokens, and for how long a mark on it keeps all up to it."""

    identity: str
    tokens: int
    lifetime_s: float | None


class CachingAnthropic(FakeProvider):
    """A provider with Anthropic's format that counts its tokens as Anthropic does, at four bytes each.

    Every answer is a call of the first tool, or a text where there is none, and has `output_tokens`.
    """

    def __init__(self, *, min_tokens: int = 1024, output_tokens: int = 100, clock: Clock | None = None) -> None:
        super().__init__()
        self._min_tokens = min_tokens
        self._output_tokens = output_tokens
        self._clock = clock or SystemClock()
        self._kept_until_s: dict[tuple[str, ...], float] = {}

    def _message(self, request: Received) -> dict[str, Any]:
        body = request.body
        content = anthropic_wire.text("Done.")
        if body.get("tools"):
            name = body["tools"][0]["name"]
            content = anthropic_wire.tool_use(
                f"toolu_{len(self.received):02}", name, path=f"src/{len(self.received)}.py"
            )
        stop_reason = "tool_use" if body.get("tools") else "end_turn"
        return anthropic_wire.message(content, model=body["model"], stop_reason=stop_reason, usage=self._usage(body))

    def _usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        blocks = list(_blocks(body))
        marks = [n for n, block in enumerate(blocks, start=1) if block.lifetime_s is not None]
        read_blocks = max((self._kept_before(blocks, mark, body["model"]) for mark in marks), default=0)
        read, total = _tokens(blocks[:read_blocks]), _tokens(blocks)
        written = {"5m": 0, "1h": 0}
        known = read_blocks
        for mark in marks:
            if mark > known and _tokens(blocks[:mark]) >= self._min_tokens:
                written["1h" if blocks[mark - 1].lifetime_s == _SECONDS["1h"] else "5m"] += _tokens(blocks[known:mark])
                known = mark
            self._keep(blocks, mark, body["model"])
        usage = anthropic_wire.usage(
            total - read - sum(written.values()), self._output_tokens, read=read, written=sum(written.values())
        )
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": written["5m"],
            "ephemeral_1h_input_tokens": written["1h"],
        }
        return usage

    def _kept_before(self, blocks: list[_Block], mark: int, model: str) -> int:
        """Returns how many blocks up to a mark are kept already."""
        places = range(mark, max(0, mark - _LOOK_BACK), -1)
        now_s = self._clock.monotonic_s()
        return next((n for n in places if self._kept_until_s.get(_key(blocks[:n], model), 0) > now_s), 0)

    def _keep(self, blocks: list[_Block], mark: int, model: str) -> None:
        lifetime_s = blocks[mark - 1].lifetime_s
        if lifetime_s is not None and _tokens(blocks[:mark]) >= self._min_tokens:
            self._kept_until_s[_key(blocks[:mark], model)] = self._clock.monotonic_s() + lifetime_s


def _key(blocks: list[_Block], model: str) -> tuple[str, ...]:
    return (model, *(block.identity for block in blocks))


def _tokens(blocks: list[_Block]) -> int:
    return sum(block.tokens for block in blocks)


def _blocks(body: Mapping[str, Any]) -> Iterator[_Block]:
    system = body.get("system") or []
    parts = [{"type": "text", "text": system}] if isinstance(system, str) else system
    yield from (_block("tool", tool) for tool in body.get("tools") or ())
    yield from (_block("system", part) for part in parts)
    for message in body["messages"]:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            yield _block(message["role"], part)


def _block(place: str, part: Mapping[str, Any]) -> _Block:
    mark = part.get("cache_control")
    text = json.dumps({name: value for name, value in part.items() if name != "cache_control"}, sort_keys=True)
    lifetime_s = None if mark is None else _SECONDS[mark.get("ttl", "5m")]
    return _Block(f"{place} {text}", len(text) // BYTES_PER_TOKEN, lifetime_s)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Returns the tokens of the whole prompt of a request, as `CachingAnthropic` counts them."""
    return _tokens(list(_blocks(body)))


def prefix_tokens(body: Mapping[str, Any]) -> int:
    """Returns the tokens of the tools and the system prompt of a request, as `CachingAnthropic` counts them."""
    return prompt_tokens({**body, "messages": []})

"""Runs one adapter on streamed answers over real HTTP, for the contract of streams."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sekha_llm_bridge import errors
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState
from sekha_llm_bridge.providers import ChatCall, Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.usage import Usage
from tests.contract.wire_formats import (
    PROMPT,
    WireFormat,
)
from tests.fakes.openai_format import chat_call, chunk_body
from tests.fakes.provider import (
    FakeProvider,
    Received,
)
from tests.fakes.unfinished_work import unfinished_work

T = TypeVar("T")
TIMEOUT_S = 10


@dataclass(frozen=True)
class StreamResult:
    """The chunks of a stream, and the error that ended it."""

    chunks: list[AnswerChunk]
    error: errors.ProviderError | None = None

    @property
    def failure(self) -> errors.Failure:
        assert self.error is not None
        return self.error.failure

    @property
    def kind(self) -> errors.FailureKind:
        return self.failure.kind

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or "" for one in self.chunks for choice in chunk_body(one)["choices"]
        )

    @property
    def usage(self) -> Usage | None:
        return next((one.usage for one in reversed(self.chunks) if one.usage is not None), None)

    @property
    def is_complete(self) -> bool:
        return self.error is None and self.chunks[-1].state is not AnswerState.OPEN


class AdapterRunner:
    """Runs the adapter under test on an event loop of its own, which must have no tasks left at the end."""

    def __init__(self, runner: asyncio.Runner, adapter: Provider) -> None:
        self._runner = runner
        self._adapter = adapter

    def run(self, what: Callable[[Provider], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(TIMEOUT_S):
                return await what(self._adapter)

        return self._runner.run(bounded())

    def read(
        self,
        *,
        cap: int | None = None,
        timeout_s: float = 5,
        on_count: Callable[[int], None] = lambda count: None,
        **request: Any,
    ) -> StreamResult:
        """Reads a whole stream. `on_count` is called with the number of chunks so far, beginning with 0."""

        async def reading(adapter: Provider) -> StreamResult:
            chunks: list[AnswerChunk] = []
            on_count(0)
            try:
                async for one in adapter.stream(call(cap, **request), timeout_s=timeout_s):
                    chunks.append(one)
                    on_count(len(chunks))
            except errors.ProviderError as exc:
                return StreamResult(chunks, exc)
            return StreamResult(chunks)

        return self.run(reading)


def call(cap: int | None = None, **request: Any) -> ChatCall:
    """A call of the model `m`."""
    return chat_call("m", {"messages": [{"role": "user", "content": PROMPT}], **request}, cap, 4096)


def run_adapter(fake: FakeProvider, wire: WireFormat) -> Iterator[AdapterRunner]:
    """Yields a runner for the adapter of a format. Nothing of its work may be left at the end."""
    http, faults = JsonHttp(SystemClock()), list[Mapping[str, Any]]()
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        yield AdapterRunner(runner, wire.make_adapter(wire.config(fake.url), http))
        assert runner.run(unfinished_work()) == []
        runner.run(http.aclose())
    gc.collect()
    assert faults == []


def sent(fake: FakeProvider, wire: WireFormat) -> Received:
    """The last streamed request."""
    return fake.calls(wire.stream_path)[-1]


def ports(fake: FakeProvider) -> list[int]:
    """The ports from which the requests came: one for each connection."""
    return [request.peer_port for request in fake.received]

"""`LlmBridge` and `AsyncLlmBridge` behind one blocking interface, so that one suite tests both.

Neither waits: `waits_s` has what it would have waited. `random` returns 0.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from sekha_llm_bridge import AsyncChatStream, AsyncLlmBridge, ChatReply, ChatStream, LlmBridge


class Stream(Protocol):
    """A streamed answer of either client."""

    @property
    def reply(self) -> ChatReply: ...

    @property
    def text(self) -> str: ...

    def __iter__(self) -> Iterator[str]: ...

    def __next__(self) -> str: ...

    def __enter__(self) -> "Stream": ...

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None: ...

    def close(self) -> None: ...


class Client(Protocol):
    """Either client. `call` calls the method of that name."""

    waits_s: list[float]
    bridge: Any

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any: ...

    def stream(self, *args: Any, **kwargs: Any) -> Stream: ...

    def close(self) -> None: ...


class BlockingClient:
    """`LlmBridge`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.waits_s: list[float] = []
        self.bridge = LlmBridge(url, **{"sleep": self.waits_s.append, "random": lambda: 0.0, **options})

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.bridge, name)(*args, **kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> ChatStream:
        return self.bridge.stream(*args, **kwargs)

    def close(self) -> None:
        self.bridge.close()


class AsyncioClient:
    """`AsyncLlmBridge`, each call in the same event loop."""

    def __init__(self, url: str, **options: Any) -> None:
        self.waits_s: list[float] = []
        self._runner = asyncio.Runner()

        async def sleep(seconds: float) -> None:
            self.waits_s.append(seconds)

        self.bridge = AsyncLlmBridge(url, **{"sleep": sleep, "random": lambda: 0.0, **options})

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        async def awaited() -> Any:
            return await getattr(self.bridge, name)(*args, **kwargs)

        return self._runner.run(awaited())

    def stream(self, *args: Any, **kwargs: Any) -> "AsyncioStream":
        return AsyncioStream(self.bridge.stream(*args, **kwargs), self._runner)

    def close(self) -> None:
        self._runner.run(self.bridge.aclose())
        self._runner.close()


class AsyncioStream:
    """`AsyncChatStream`; iterating it is `async for`, of which a `break` finalizes the iterator in the event loop."""

    def __init__(self, stream: AsyncChatStream, runner: asyncio.Runner) -> None:
        self._stream, self._runner = stream, runner

    @property
    def reply(self) -> ChatReply:
        return self._stream.reply

    @property
    def text(self) -> str:
        return self._stream.text

    def __iter__(self) -> Iterator[str]:
        async def iterator() -> AsyncIterator[str]:
            return self._stream.__aiter__()

        texts = self._runner.run(iterator())
        try:
            while True:
                try:
                    yield self._runner.run(_next(texts))
                except StopAsyncIteration:
                    return
        finally:
            del texts
            self._runner.run(asyncio.sleep(0))  # lets the loop finalize what the `del` has dropped
            self._runner.run(asyncio.sleep(0))

    def __next__(self) -> str:
        try:
            return self._runner.run(_next(self._stream))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> "AsyncioStream":
        self._runner.run(self._stream.__aenter__())
        return self

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        self.close()

    def close(self) -> None:
        self._runner.run(self._stream.aclose())


async def _next(texts: AsyncIterator[str]) -> str:
    return await anext(texts)


CLIENTS: dict[str, Callable[..., Client]] = {"blocking": BlockingClient, "asyncio": AsyncioClient}
